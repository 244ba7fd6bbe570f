/* Rendezvous: two ends open a WebSocket each, are joined, and close; many at a time, again and again.
 *
 * Either a listener waits on a control channel and comes where it is told to for each sender (Azure Relay), or it opens
 * its end first, under a name that the sender then asks for. The sender begins the close; an end is done when the Close
 * frame of the other came through and the server has closed the connection.
 */
#include "link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IDLE, DIALING, OPENING, OPEN, CLOSING, NAME = 8, SPARE = 4, CONTROL = 1 << 20, MOST = 2048 };

struct end {
    int fd, stage;
    size_t size, head_size;
    char head[MOST], data[MOST];
};

struct opening { /* a request head; the name goes to name_at, if any */
    const char *head;
    uint32_t size;
    int32_t name_at;
};

struct meetings {
    int poll, port, parallel;
    struct channel control; /* none when ends are joined by name */
    struct opening sender, listener;   /* with a control channel: what follows "GET " and the address */
    struct end *ends;                  /* senders, then SPARE times as many listeners */
    uint64_t number, done, met;
    int open, is_last;
};

struct meetings *meetings_open(int port, int parallel, int control, const struct opening *sender,
                               const struct opening *listener) {
    struct meetings *all = calloc(1, sizeof *all);
    *all = (struct meetings){.poll = epoll_create1(0), .port = port, .parallel = parallel, .control.fd = control,
                             .sender = *sender, .listener = *listener,
                             .ends = calloc(parallel * (1 + SPARE), sizeof(struct end))};
    if (control >= 0) watch(all->poll, control, EPOLLIN, CONTROL);
    return all;
}

void meetings_close(struct meetings *all) {
    close(all->poll);
    for (int i = 0; i < all->parallel * (1 + SPARE); i++)
        if (all->ends[i].stage) close(all->ends[i].fd);
    free(all->ends);
    free(all);
}

uint64_t meetings_done(const struct meetings *all) { return all->done; }

static int dial(struct meetings *all, int which, const char *head, size_t size) {
    struct end *end = &all->ends[which];
    end->fd = link_dial(all->port);
    if (end->fd < 0 || size > MOST) return CLOSED;
    end->stage = DIALING;
    end->size = 0;
    end->head_size = size;
    memmove(end->head, head, size);
    watch(all->poll, end->fd, EPOLLOUT, which);
    return 0;
}

static int dial_named(struct meetings *all, int which, const struct opening *opening, const char *name) {
    char head[MOST];
    memcpy(head, opening->head, opening->size);
    if (opening->name_at >= 0) memcpy(head + opening->name_at, name, NAME);
    return dial(all, which, head, opening->size);
}

/* The next meeting, of this sender. */
static int begin(struct meetings *all, int sender) {
    char name[NAME];
    uint64_t number = all->number++;
    all->open++;
    for (int i = 0; i < NAME; i++) name[i] = "0123456789abcdef"[number >> 4 * i & 15];
    if (all->control.fd >= 0) return dial_named(all, sender, &all->sender, name);
    int listener = all->parallel + sender; /* first a half, then, when the sender was quick, another */
    for (int i = 0; i < SPARE && all->ends[listener].stage; i++) listener += all->parallel;
    if (listener >= all->parallel * (1 + SPARE)) return WRONG;
    return dial_named(all, listener, &all->listener, name);
}

/* A text on the control channel: somebody is to be met at an address. */
static int summoned(void *to, const char *text, size_t size) {
    struct meetings *all = to;
    static const char mark[] = "\"address\":\"ws://";
    const char *host = memmem(text, size, mark, sizeof mark - 1);
    const char *path = host ? memchr(host + sizeof mark - 1, '/', text + size - host - (sizeof mark - 1)) : 0;
    const char *end = path ? memchr(path, '"', text + size - path) : 0;
    if (!end || (size_t)(end - path) + all->listener.size + 4 > MOST) return WRONG;
    int which = all->parallel;
    while (which < all->parallel * (1 + SPARE) && all->ends[which].stage) which++;
    if (which == all->parallel * (1 + SPARE)) return WRONG;
    char head[MOST];
    size_t length = end - path;
    memcpy(head, "GET ", 4);
    memcpy(head + 4, path, length);
    memcpy(head + 4 + length, all->listener.head, all->listener.size);
    return dial(all, which, head, 4 + length + all->listener.size);
}

static int close_frame(struct end *end) {
    static const char frame[] = {(char)0x88, (char)0x82, 0, 0, 0, 0, 0x03, (char)0xE8}; /* 1000 */
    return link_send_whole(end->fd, frame, sizeof frame);
}

static int ended(struct meetings *all, int which) {
    struct end *end = &all->ends[which];
    close(end->fd);
    end->stage = IDLE;
    if (which >= all->parallel) return all->met++, 0;
    all->done++;
    all->open--;
    return all->is_last ? 0 : begin(all, which);
}

/* The 101 came: a sender closes, a listener that waits under a name is asked for. */
static int opened(struct meetings *all, int which) {
    struct end *end = &all->ends[which];
    end->stage = OPEN;
    if (which < all->parallel) return close_frame(end);
    if (all->control.fd >= 0) return 0;
    return dial_named(all, which % all->parallel, &all->sender, end->head + all->listener.name_at);
}

static int go_on(struct meetings *all, int which) {
    struct end *end = &all->ends[which];
    if (end->stage == DIALING) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = which};
        epoll_ctl(all->poll, EPOLL_CTL_MOD, end->fd, &event);
        end->stage = OPENING;
        return link_send_whole(end->fd, end->head, end->head_size);
    }
    ssize_t got = link_receive(end->fd, end->data + end->size, MOST - end->size);
    if (got < 0) return end->stage == CLOSING ? ended(all, which) : CLOSED;
    end->size += got;
    if (end->stage == OPENING) {
        if (end->size >= 13 && memcmp(end->data, "HTTP/1.1 101 ", 13)) return WRONG;
        char *body = memmem(end->data, end->size, "\r\n\r\n", 4);
        if (!body) return 0;
        end->size -= body + 4 - end->data;
        memmove(end->data, body + 4, end->size);
        int failure = opened(all, which);
        if (failure) return failure;
    }
    if (end->stage != OPEN || end->size < 4) return 0;
    if (end->data[0] != (char)0x88 || memcmp(end->data + 2, "\x03\xE8", 2)) return WRONG; /* the code came through */
    end->stage = CLOSING;
    return which < all->parallel ? 0 : close_frame(end);
}

static int turn(struct meetings *all) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(all->poll, ready, EVENTS, 1), failure = 0;
    for (int n = 0; n < count && !failure; n++)
        failure = ready[n].data.u64 == CONTROL ? channel_read(&all->control, summoned, all)
                                               : go_on(all, ready[n].data.u64);
    return failure;
}

int meetings_run(struct meetings *all, double seconds) {
    int failure = 0;
    if (!all->number)
        for (int i = 0; i < all->parallel && !failure; i++) failure = begin(all, i);
    for (double end = now() + seconds; now() < end && !failure;) failure = turn(all);
    return failure;
}

/* Every sender met a listener. */
int meetings_finish(struct meetings *all, double patience) {
    all->is_last = 1;
    for (double end = now() + patience; all->open || all->met != all->done;) {
        int failure = turn(all);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    return 0;
}
