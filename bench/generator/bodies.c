/* Requests and answers with large bodies, both the same body, every byte compared. The other side is a server behind a
 * proxy, or a listener, which opens a WebSocket at the address that its control channel names for each request, reads
 * the request there as a text and a binary message, answers likewise and closes (Azure Relay). */
#include "link.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT, BEHIND, LISTENER, MOST = 2048, PARTIES = 256, ORIGIN = 1 << 20, CONTROL = 1 << 21 };
enum { FREE, DIALING, OPENING, READING, ANSWERING };

struct piece {
    const char *data;
    uint64_t size;
};

struct party {
    int fd, kind, stage, is_writing;
    char head[MOST], id[128]; /* what goes first: a request's head, an answer's */
    uint64_t head_size, sent;
    struct piece rest; /* what goes then */
    struct message message;
    struct frames frames;
    uint64_t position; /* in the body that comes */
};

struct bodies {
    int poll, port, count, origin, open, is_last;
    struct piece body, request, upgrade, before, after, answer; /* before and after the id in an answer's head */
    struct party parties[PARTIES];
    uint64_t bytes;
    struct channel control;
};

static void want(struct bodies *all, struct party *party, int is_writing) {
    struct epoll_event event = {.events = EPOLLIN | (is_writing ? EPOLLOUT : 0), .data.u64 = party - all->parties};
    if (party->is_writing != is_writing) epoll_ctl(all->poll, EPOLL_CTL_MOD, party->fd, &event);
    party->is_writing = is_writing;
}

static int put(struct bodies *all, struct party *party) {
    uint64_t total = party->head_size + party->rest.size;
    while (party->sent < total) {
        uint64_t at = party->sent, is_head = at < party->head_size;
        const char *data = is_head ? party->head + at : party->rest.data + (at - party->head_size);
        uint64_t size = is_head ? party->head_size - at : total - at;
        ssize_t sent = link_send(party->fd, data, size < MOST_SENT ? size : MOST_SENT);
        if (sent < 0) return CLOSED;
        party->sent += sent;
        if ((uint64_t)sent < size) break;
    }
    want(all, party, party->sent < total);
    return 0;
}

static int start(struct bodies *all, struct party *party, const struct piece *parts, int count, struct piece rest) {
    party->head_size = party->sent = party->position = 0;
    for (int i = 0; i < count; i++) {
        if (party->head_size + parts[i].size > MOST) return WRONG;
        memcpy(party->head + party->head_size, parts[i].data, parts[i].size);
        party->head_size += parts[i].size;
    }
    party->rest = rest;
    return put(all, party);
}

static struct party *joined(struct bodies *all, int fd, int kind, int stage, uint32_t events) {
    for (int i = 0; i < PARTIES; i++) {
        struct party *party = &all->parties[i];
        if (party->stage != FREE) continue;
        *party = (struct party){.fd = fd, .kind = kind, .stage = stage, .is_writing = events == EPOLLOUT};
        watch(all->poll, fd, events, i);
        return party;
    }
    return 0;
}

static int left(struct bodies *all, struct party *party) {
    epoll_ctl(all->poll, EPOLL_CTL_DEL, party->fd, 0);
    close(party->fd);
    party->stage = FREE;
    return 0;
}

struct bodies *bodies_open(int port, const int *clients, int count, int origin, int control,
                           const struct piece *pieces) {
    struct bodies *all = calloc(1, sizeof *all);
    *all = (struct bodies){.poll = epoll_create1(0), .port = port, .count = count, .origin = origin,
                           .control.fd = control, .body = pieces[0], .request = pieces[1], .upgrade = pieces[2],
                           .before = pieces[3], .after = pieces[4], .answer = pieces[5]};
    for (int i = 0; i < count; i++) joined(all, dup(clients[i]), CLIENT, READING, EPOLLIN);
    if (origin >= 0) watch(all->poll, origin, EPOLLIN, ORIGIN);
    if (control >= 0) watch(all->poll, control, EPOLLIN, CONTROL);
    return all;
}

void bodies_close(struct bodies *all) {
    for (int i = 0; i < PARTIES; i++)
        if (all->parties[i].stage != FREE) left(all, &all->parties[i]);
    close(all->poll);
    free(all);
}

uint64_t bodies_bytes(const struct bodies *all) { return all->bytes; }

static int ask(struct bodies *all, struct party *client) {
    all->open++;
    return start(all, client, &all->request, 1, all->body);
}

/* The whole request came: answer it. */
static int answer(struct bodies *all, struct party *party) {
    if (party->position != all->body.size) return WRONG;
    party->stage = party->kind == LISTENER ? ANSWERING : READING;
    if (party->kind == BEHIND) return start(all, party, &all->before, 1, all->body);
    char head[8] = {(char)0x81};
    uint64_t size = all->before.size + strlen(party->id) + all->after.size;
    if (size < 126) head[1] = (char)(0x80 | size);
    else head[1] = (char)0xFE, head[2] = (char)(size >> 8), head[3] = (char)size;
    struct piece parts[] = {{head, size < 126 ? 6 : 8}, all->before, {party->id, strlen(party->id)}, all->after};
    return start(all, party, parts, 4, all->answer);
}

static int compare(struct bodies *all, struct party *party, const char *data, size_t size) {
    if (party->position + size > all->body.size || memcmp(data, all->body.data + party->position, size)) return WRONG;
    party->position += size;
    all->bytes += size;
    return 0;
}

static int take_message(struct bodies *all, struct party *party, const char *data, size_t size) {
    while (size) {
        size_t payload;
        int was_head = party->message.stage == IN_HEAD || party->message.stage == ENDED;
        ssize_t taken = message_take(&party->message, data, size, &payload);
        if (taken < 0 || compare(all, party, data + taken - payload, payload)) return WRONG;
        data += taken;
        size -= taken;
        if (was_head && party->message.stage != IN_HEAD && party->kind == CLIENT &&
            memcmp(party->message.text, "HTTP/1.1 200 ", 13)) return WRONG;
        if (party->message.stage != ENDED) continue;
        if (party->kind == BEHIND) return size ? WRONG : answer(all, party);
        all->open--;
        if (size || party->position != all->body.size) return WRONG;
        return all->is_last ? 0 : ask(all, party);
    }
    return 0;
}

static int take_frames(struct bodies *all, struct party *party, const char *data, size_t size) {
    while (size && party->stage == READING) {
        size_t payload, taken = frames_take(&party->frames, (const unsigned char *)data, size, &payload);
        int opcode = party->frames.head[0] & 15;
        if (opcode == 8) return CLOSED;
        if (opcode != 1 && opcode < 8 && compare(all, party, data + taken - payload, payload)) return WRONG;
        data += taken;
        size -= taken;
        if (!frames_between(&party->frames) || opcode == 1 || opcode > 8 || !(party->frames.head[0] & 128)) continue;
        return answer(all, party);
    }
    return 0;
}

static int opened(struct bodies *all, struct party *party, const char *data, size_t size) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end || memcmp(data, "HTTP/1.1 101 ", 13)) return WRONG; /* a head comes whole */
    party->stage = READING;
    return take_frames(all, party, end + 4, data + size - (end + 4));
}

static int readable(struct bodies *all, struct party *party) {
    ssize_t got = link_receive(party->fd, scratch, SCRATCH);
    if (got < 0) return party->kind == BEHIND || party->stage == ANSWERING ? left(all, party) : CLOSED;
    if (!got || party->stage == ANSWERING) return 0;
    if (party->kind != LISTENER) return take_message(all, party, scratch, got);
    return party->stage == OPENING ? opened(all, party, scratch, got) : take_frames(all, party, scratch, got);
}

static struct piece between(const char *text, size_t size, const char *mark) {
    const char *at = memmem(text, size, mark, strlen(mark));
    if (at) at += strlen(mark);
    const char *end = at ? memchr(at, '"', text + size - at) : 0;
    return (struct piece){at, end ? end - at : 0};
}

/* A command on the control channel: a request is to be fetched. */
static int fetch(void *to, const char *text, size_t size) {
    struct bodies *all = to;
    struct piece host = between(text, size, "\"address\":\"ws://"), id = between(text, size, "\"id\":\"");
    const char *path = host.size ? memchr(host.data, '/', host.size) : 0;
    int fd = path && id.size < 128 ? link_dial(all->port) : WRONG;
    struct party *party = fd < 0 ? 0 : joined(all, fd, LISTENER, DIALING, EPOLLOUT);
    if (!party) return WRONG;
    memcpy(party->id, id.data, id.size);
    struct piece parts[] = {{"GET ", 4}, {path, host.data + host.size - path}, all->upgrade};
    for (int i = 0; i < 3; i++) {
        if (party->head_size + parts[i].size > MOST) return WRONG;
        memcpy(party->head + party->head_size, parts[i].data, parts[i].size);
        party->head_size += parts[i].size;
    }
    return 0;
}

static int called(struct bodies *all) {
    int fd = accept4(all->origin, 0, 0, SOCK_NONBLOCK), one = 1;
    if (fd < 0) return WRONG;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return joined(all, fd, BEHIND, READING, EPOLLIN) ? 0 : WRONG;
}

static int turn(struct bodies *all) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(all->poll, ready, EVENTS, 1), failure = 0;
    for (int n = 0; n < count && !failure; n++) {
        uint64_t which = ready[n].data.u64;
        if (which == ORIGIN) failure = called(all);
        else if (which == CONTROL) failure = channel_read(&all->control, fetch, all);
        else {
            struct party *party = &all->parties[which];
            if (party->stage == DIALING) party->stage = OPENING;
            if (ready[n].events & EPOLLOUT) failure = put(all, party);
            if (ready[n].events & EPOLLIN && !failure) failure = readable(all, party);
        }
    }
    return failure;
}

int bodies_run(struct bodies *all, double seconds) {
    int failure = 0;
    for (int i = 0; i < all->count && all->open < all->count && !failure; i++) failure = ask(all, &all->parties[i]);
    for (double end = now() + seconds; now() < end && !failure;) failure = turn(all);
    return failure;
}

int bodies_finish(struct bodies *all, double patience) {
    all->is_last = 1;
    for (double end = now() + patience; all->open;) {
        int failure = turn(all);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    return 0;
}
