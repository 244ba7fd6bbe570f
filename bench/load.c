/* The part of the load generator that must cost less than any server here: loops of epoll, send and recv.
 *
 * `native.py` compiles it on demand and opens every connection; here bytes are moved and counted. What comes in is read
 * and its frames and records are followed, so that a delivery counts only when the whole of it has come. A function
 * returns a negative number when a server closed, refused or sent something else. Linux only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLOSED = -1, WRONG = -2, LATE = -3, EVENTS = 256, SCRATCH = 1 << 18, MOST_SENT = 1 << 18 };

static char scratch[SCRATCH];

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void watch(int poll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

static ssize_t send_some(int fd, const char *data, size_t size) {
    ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static int send_whole(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send_some(fd, data, size);
        if (sent < 0) return CLOSED;
        data += sent;
        size -= sent;
    }
    return 0;
}

/* What comes in: WebSocket frames or a bare stream, and in them records of one size that begin with one byte. */

struct shape {
    int framed;    /* in WebSocket frames, however they are cut */
    int lead;      /* the first byte of each record; -1: any */
    uint32_t size; /* of a record */
};

struct inflow {
    uint64_t frame_left, records;
    uint32_t record_left, head_size;
    int is_control, is_other;
    unsigned char head[14];
};

static int take_records(struct inflow *in, const struct shape *shape, const unsigned char *data, uint64_t size) {
    while (size) {
        if (!in->record_left) {
            in->is_other = shape->lead >= 0 && *data != shape->lead;
            if (in->is_other && *data != 'P') return WRONG;
            in->record_left = in->is_other ? 6 : shape->size; /* "PING\r\n" of NATS */
        }
        uint64_t taken = in->record_left < size ? in->record_left : size;
        in->record_left -= taken;
        if (!in->record_left && !in->is_other) in->records++;
        data += taken;
        size -= taken;
    }
    return 0;
}

static int take(struct inflow *in, const struct shape *shape, const unsigned char *data, uint64_t size) {
    if (!shape->framed) return take_records(in, shape, data, size);
    while (size) {
        if (!in->frame_left) {
            in->head[in->head_size++] = *data++;
            size--;
            if (in->head_size < 2) continue;
            uint32_t length = in->head[1] & 127, width = length == 126 ? 2 : length == 127 ? 8 : 0;
            if (in->head_size < 2 + width + (in->head[1] & 128 ? 4 : 0)) continue;
            uint64_t frame = width ? 0 : length;
            for (uint32_t i = 0; i < width; i++) frame = frame << 8 | in->head[2 + i];
            in->is_control = (in->head[0] & 15) >= 8;
            if ((in->head[0] & 15) == 8) return CLOSED;
            in->frame_left = frame;
            in->head_size = 0;
            continue;
        }
        uint64_t taken = in->frame_left < size ? in->frame_left : size;
        if (!in->is_control && take_records(in, shape, data, taken)) return WRONG;
        in->frame_left -= taken;
        data += taken;
        size -= taken;
    }
    return 0;
}

/* One read; the records that became whole, or a failure. */
static int64_t receive(int fd, struct inflow *in, const struct shape *shape) {
    ssize_t got = recv(fd, scratch, SCRATCH, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return CLOSED;
    uint64_t before = in->records;
    int failure = take(in, shape, (unsigned char *)scratch, got);
    return failure ? failure : (int64_t)(in->records - before);
}

/* Fan-out: one publisher, many subscribers. */

struct fan {
    int poll, publisher, count;
    const int *subscribers;
    struct inflow *inflows;
    struct shape shape;
    const char *supply;   /* the frames of `events` events, one after the other, sent again and again */
    const uint64_t *ends; /* where each of them ends */
    uint32_t events, window, copies;
    uint32_t event;    /* the next one that is not wholly sent */
    uint64_t position; /* in supply */
    uint64_t sent, received;
};

struct fan *fan_open(int publisher, const int *subscribers, int count, const struct shape *shape, const char *supply,
                     const uint64_t *ends, uint32_t events, uint32_t window, uint32_t copies) {
    struct fan *fan = calloc(1, sizeof *fan);
    *fan = (struct fan){.poll = epoll_create1(0), .publisher = publisher, .count = count, .subscribers = subscribers,
                        .inflows = calloc(count, sizeof(struct inflow)), .shape = *shape, .supply = supply,
                        .ends = ends, .events = events, .window = window, .copies = copies};
    for (int i = 0; i < count; i++) watch(fan->poll, subscribers[i], EPOLLIN, i);
    watch(fan->poll, publisher, EPOLLIN, count);
    return fan;
}

void fan_close(struct fan *fan) {
    close(fan->poll);
    free(fan->inflows);
    free(fan);
}

uint64_t fan_received(const struct fan *fan) { return fan->received; }
uint64_t fan_sent(const struct fan *fan) { return fan->sent; }

static int fan_send(struct fan *fan, uint64_t size) {
    ssize_t sent = send_some(fan->publisher, fan->supply + fan->position, size);
    if (sent < 0) return CLOSED;
    fan->position += sent;
    while (fan->event < fan->events && fan->ends[fan->event] <= fan->position) fan->event++, fan->sent++;
    if (fan->event == fan->events) fan->event = 0, fan->position = 0;
    return 0;
}

static int fan_receive(struct fan *fan, int milliseconds) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(fan->poll, ready, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        uint64_t which = ready[i].data.u64;
        if (which == (uint64_t)fan->count) { /* the publisher's replies */
            if (recv(fan->publisher, scratch, SCRATCH, MSG_DONTWAIT) == 0) return CLOSED;
            continue;
        }
        int64_t records = receive(fan->subscribers[which], &fan->inflows[which], &fan->shape);
        if (records < 0) return records;
        fan->received += records;
    }
    return 0;
}

int fan_run(struct fan *fan, double seconds) {
    uint32_t refill = fan->window / 4 ? fan->window / 4 : 1;
    for (double end = now() + seconds; now() < end;) {
        int64_t room = (int64_t)fan->window - (int64_t)(fan->sent - fan->received / fan->copies);
        if (room >= refill) {
            uint64_t last = fan->event + room - 1;
            if (last >= fan->events) last = fan->events - 1;
            uint64_t size = fan->ends[last] - fan->position;
            int failure = fan_send(fan, size < MOST_SENT ? size : MOST_SENT);
            if (failure) return failure;
        }
        int failure = fan_receive(fan, 1);
        if (failure) return failure;
    }
    return 0;
}

/* End the event that has begun, then wait until everything that was sent has come. */
int fan_finish(struct fan *fan, double patience) {
    double end = now() + patience;
    int one = 1;
    for (int i = 0; i < fan->count; i++) /* until now a few deliveries were awaited at a time */
        setsockopt(fan->subscribers[i], SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    while (fan->position && (!fan->event || fan->position > fan->ends[fan->event - 1])) {
        int failure = fan_send(fan, fan->ends[fan->event] - fan->position);
        if (!failure) failure = fan_receive(fan, 1);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    while (fan->received < fan->sent * fan->copies) {
        int failure = fan_receive(fan, 50);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    return fan_receive(fan, 20) || fan->received != fan->sent * fan->copies ? WRONG : 0;
}

/* Many joined pairs, messages of one size, one way. */

struct pump {
    int poll, count;
    const int *senders, *receivers;
    struct inflow *inflows;
    uint64_t *sent; /* bytes, by pair */
    struct shape shape;
    const char *supply; /* `window` frames */
    uint32_t frame, window;
    uint64_t received;
};

struct pump *pump_open(const int *senders, const int *receivers, int count, const struct shape *shape,
                       const char *supply, uint32_t frame, uint32_t window) {
    struct pump *pump = calloc(1, sizeof *pump);
    *pump = (struct pump){.poll = epoll_create1(0), .count = count, .senders = senders, .receivers = receivers,
                          .inflows = calloc(count, sizeof(struct inflow)), .sent = calloc(count, sizeof(uint64_t)),
                          .shape = *shape, .supply = supply, .frame = frame, .window = window};
    for (int i = 0; i < count; i++) watch(pump->poll, receivers[i], EPOLLIN, i);
    return pump;
}

void pump_close(struct pump *pump) {
    close(pump->poll);
    free(pump->inflows);
    free(pump->sent);
    free(pump);
}

uint64_t pump_received(const struct pump *pump) { return pump->received; }

/* Up to the window, or only the rest of the message that has begun. */
static int pump_send(struct pump *pump, int i, int is_last) {
    uint64_t total = (uint64_t)pump->window * pump->frame, at = pump->sent[i] % total;
    int64_t size = pump->inflows[i].records * pump->frame + total - pump->sent[i];
    if (is_last) size = at % pump->frame ? pump->frame - at % pump->frame : 0;
    else if (size < (int64_t)total / 2) return 0;
    if (size > (int64_t)(total - at)) size = total - at;
    ssize_t sent = size > 0 ? send_some(pump->senders[i], pump->supply + at, size) : 0;
    if (sent < 0) return CLOSED;
    pump->sent[i] += sent;
    return 0;
}

static int pump_turn(struct pump *pump, int milliseconds, int is_last) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(pump->poll, ready, EVENTS, milliseconds);
    for (int n = 0; n < count; n++) {
        int i = ready[n].data.u64;
        int64_t records = receive(pump->receivers[i], &pump->inflows[i], &pump->shape);
        if (records < 0) return records;
        pump->received += records;
        if (pump_send(pump, i, is_last)) return CLOSED;
    }
    return 0;
}

int pump_run(struct pump *pump, double seconds) {
    for (int i = 0; i < pump->count; i++)
        if (pump_send(pump, i, 0)) return CLOSED;
    for (double end = now() + seconds; now() < end;) {
        int failure = pump_turn(pump, 1, 0);
        if (failure) return failure;
    }
    return 0;
}

int pump_finish(struct pump *pump, double patience) {
    for (double end = now() + patience; now() < end;) {
        uint64_t bytes = 0;
        for (int i = 0; i < pump->count; i++) {
            if (pump_send(pump, i, 1)) return CLOSED;
            bytes += pump->sent[i];
        }
        if (bytes == pump->received * pump->frame) return 0;
        int failure = pump_turn(pump, 1, 1);
        if (failure) return failure;
    }
    return LATE;
}

/* One message to and fro, again and again; the sockets block. Returns how many round trips (in microseconds). */

static int exchange(int from, const char *data, size_t size, int to, size_t wanted) {
    if (send(from, data, size, MSG_NOSIGNAL) != (ssize_t)size) return CLOSED;
    return recv(to, scratch, wanted, MSG_WAITALL) == (ssize_t)wanted ? 0 : CLOSED;
}

int ping_pong(int left, int right, const char *ping, int ping_size, int ping_comes, const char *pong, int pong_size,
              int pong_comes, double seconds, double *samples, int most) {
    int count = 0;
    for (double end = now() + seconds; count < most && now() < end; count++) {
        double begin = now();
        if (exchange(left, ping, ping_size, right, ping_comes)) return CLOSED;
        if (exchange(right, pong, pong_size, left, pong_comes)) return CLOSED;
        samples[count] = (now() - begin) * 1e6;
    }
    return count;
}

/* Requests: keep-alive clients, and who answers them: a listener on a WebSocket, or a server behind a proxy. */

struct web {
    int poll, count, origin, control; /* origin: a listening socket, or -1; control: a listener's socket, or -1 */
    const int *clients;
    int64_t *missing;
    const char *request;
    uint32_t request_size, answer_size;
    const char *mark, *before, *after, *body; /* of the listener: the id stands after mark; its answer's parts */
    uint32_t body_size;
    char *held;
    size_t held_size;
    uint64_t done;
    int open;
    int behind_count, behind[1024]; /* connections of the proxy */
};

enum { ORIGIN = 1 << 20, CONTROL = 1 << 21, BEHIND = 1 << 22, HELD = 1 << 22 };

struct web *web_open(const int *clients, int count, const char *request, uint32_t request_size, uint32_t answer_size,
                     int origin, int control, const char *mark, const char *before, const char *after,
                     const char *body, uint32_t body_size) {
    struct web *web = calloc(1, sizeof *web);
    *web = (struct web){.poll = epoll_create1(0), .count = count, .origin = origin, .control = control,
                        .clients = clients, .missing = calloc(count, sizeof(int64_t)), .request = request,
                        .request_size = request_size, .answer_size = answer_size, .mark = mark, .before = before,
                        .after = after, .body = body, .body_size = body_size, .held = malloc(HELD)};
    for (int i = 0; i < count; i++) watch(web->poll, clients[i], EPOLLIN, i);
    if (origin >= 0) watch(web->poll, origin, EPOLLIN, ORIGIN);
    if (control >= 0) watch(web->poll, control, EPOLLIN, CONTROL);
    return web;
}

void web_close(struct web *web) {
    close(web->poll);
    for (int i = 0; i < web->behind_count; i++) close(web->behind[i]);
    free(web->missing);
    free(web->held);
    free(web);
}

uint64_t web_done(const struct web *web) { return web->done; }

/* A connection of the proxy: one answer for each end of a head (requests have no bodies and are not split here). */
static int web_behind(struct web *web, int fd) {
    ssize_t got = recv(fd, scratch, SCRATCH, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return epoll_ctl(web->poll, EPOLL_CTL_DEL, fd, 0); /* closed with the others at the end */
    for (char *at = scratch; (at = memmem(at, scratch + got - at, "\r\n\r\n", 4)); at += 4)
        if (send_whole(fd, web->body, web->body_size)) return CLOSED;
    return 0;
}

/* The answer to one command, appended at `to`; its size. */
static size_t web_answer(struct web *web, const char *command, size_t size, char *to) {
    size_t mark = strlen(web->mark), before = strlen(web->before), after = strlen(web->after);
    const char *id = memmem(command, size, web->mark, mark);
    const char *end = id ? memchr(id + mark, '"', command + size - id - mark) : 0;
    if (!end) return 0;
    id += mark;
    size_t length = before + (end - id) + after, head = length < 126 ? 6 : 8;
    to[0] = (char)0x81;
    if (head == 6) to[1] = (char)(0x80 | length);
    else to[1] = (char)0xFE, to[2] = (char)(length >> 8), to[3] = (char)length;
    memset(to + head - 4, 0, 4); /* a mask that changes nothing */
    memcpy(to + head, web->before, before);
    memcpy(to + head + before, id, end - id);
    memcpy(to + head + before + (end - id), web->after, after);
    memcpy(to + head + length, web->body, web->body_size);
    return head + length + web->body_size;
}

static int web_control(struct web *web) {
    static char out[HELD];
    ssize_t got = recv(web->control, web->held + web->held_size, HELD - web->held_size, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : CLOSED;
    web->held_size += got;
    unsigned char *data = (unsigned char *)web->held;
    size_t at = 0, out_size = 0;
    while (web->held_size - at >= 4) {
        size_t size = data[at + 1] & 127, head = size < 126 ? 2 : 4;
        if (size == 127) return WRONG;
        if (size == 126) size = data[at + 2] << 8 | data[at + 3];
        if (web->held_size - at < head + size) break;
        if ((data[at] & 15) == 8) return CLOSED;
        if ((data[at] & 15) < 8) {
            size_t added = web_answer(web, (char *)data + at + head, size, out + out_size);
            if (!added) return WRONG;
            out_size += added;
        }
        at += head + size;
        if (out_size > HELD / 2) {
            if (send_whole(web->control, out, out_size)) return CLOSED;
            out_size = 0;
        }
    }
    memmove(data, data + at, web->held_size - at);
    web->held_size -= at;
    return send_whole(web->control, out, out_size);
}

static int web_client(struct web *web, int i, int is_last) {
    ssize_t got = recv(web->clients[i], scratch, SCRATCH, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return CLOSED;
    int is_first = web->missing[i] == web->answer_size;
    if (is_first && (got < 13 || memcmp(scratch, "HTTP/1.1 200 ", 13))) return WRONG;
    web->missing[i] -= got;
    if (web->missing[i] < 0) return WRONG;
    if (web->missing[i]) return 0;
    web->done++;
    web->open--;
    if (is_last) return 0;
    web->missing[i] = web->answer_size;
    web->open++;
    return send_whole(web->clients[i], web->request, web->request_size);
}

static int web_turn(struct web *web, int is_last) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(web->poll, ready, EVENTS, 1), failure = 0;
    for (int n = 0; n < count && !failure; n++) {
        uint64_t which = ready[n].data.u64;
        if (which == ORIGIN) {
            int fd = accept(web->origin, 0, 0), one = 1;
            if (fd < 0 || web->behind_count == 1024) return WRONG;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            web->behind[web->behind_count++] = fd;
            watch(web->poll, fd, EPOLLIN, BEHIND + fd);
        } else if (which == CONTROL) failure = web_control(web);
        else if (which >= BEHIND) failure = web_behind(web, which - BEHIND);
        else failure = web_client(web, which, is_last);
    }
    return failure;
}

int web_run(struct web *web, double seconds) {
    for (int i = 0; i < web->count; i++) {
        if (web->missing[i]) continue;
        web->missing[i] = web->answer_size;
        web->open++;
        if (send_whole(web->clients[i], web->request, web->request_size)) return CLOSED;
    }
    for (double end = now() + seconds; now() < end;) {
        int failure = web_turn(web, 0);
        if (failure) return failure;
    }
    return 0;
}

int web_finish(struct web *web, double patience) {
    for (double end = now() + patience; web->open;) {
        int failure = web_turn(web, 1);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    return 0;
}

/* Many connections, `parallel` of them on their way at a time. Each sends `first` and waits for `first_end` in what
 * comes; then, if there is a `second`, that. What comes must begin with `first_begin`. Fills `fds`. */

struct dial {
    int fd, stage;
    size_t size;
    char data[4096];
};

static int dial_start(struct dial *dial, int poll, int port, int slot) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    struct linger gone = {.l_onoff = 1, .l_linger = 0}; /* no port stays reserved after it */
    dial->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0) return CLOSED;
    setsockopt(dial->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(dial->fd, SOL_SOCKET, SO_LINGER, &gone, sizeof gone);
    dial->stage = 0;
    dial->size = 0;
    if (connect(dial->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) return CLOSED;
    watch(poll, dial->fd, EPOLLOUT, slot);
    return 0;
}

static int dial_read(struct dial *dial, const char *begin, const char *end, size_t end_size) {
    ssize_t got = recv(dial->fd, dial->data + dial->size, sizeof dial->data - dial->size, 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return CLOSED;
    dial->size += got;
    if (begin && dial->size >= strlen(begin) && memcmp(dial->data, begin, strlen(begin))) return WRONG;
    if (!memmem(dial->data, dial->size, end, end_size)) return 0;
    dial->size = 0;
    return 1;
}

int connect_many(int port, int count, int parallel, const char *first, int first_size, const char *first_begin,
                 const char *first_end, const char *second, int second_size, const char *second_end,
                 int second_end_size, double patience, int *fds) {
    struct dial *dials = calloc(parallel, sizeof *dials);
    int poll = epoll_create1(0), started = 0, done = 0, failure = 0;
    double end = now() + patience;
    for (; started < parallel && started < count && !failure; started++)
        failure = dial_start(&dials[started], poll, port, started);
    while (done < count && !failure) {
        struct epoll_event ready[EVENTS];
        int some = epoll_wait(poll, ready, EVENTS, 100);
        if (now() > end) failure = LATE;
        for (int n = 0; n < some && !failure; n++) {
            int slot = ready[n].data.u64;
            struct dial *dial = &dials[slot];
            if (dial->stage == 0) {
                struct epoll_event event = {.events = EPOLLIN, .data.u64 = slot};
                epoll_ctl(poll, EPOLL_CTL_MOD, dial->fd, &event);
                dial->stage = 1;
                failure = send_whole(dial->fd, first, first_size);
                continue;
            }
            int got = dial->stage == 1 ? dial_read(dial, first_begin, first_end, strlen(first_end))
                                       : dial_read(dial, 0, second_end, second_end_size);
            if (got < 0) failure = got;
            if (got <= 0) continue;
            if (dial->stage++ == 1 && second_size) {
                failure = send_whole(dial->fd, second, second_size);
                continue;
            }
            epoll_ctl(poll, EPOLL_CTL_DEL, dial->fd, 0);
            fds[done++] = dial->fd;
            dial->fd = -1;
            if (started < count) started++, failure = dial_start(dial, poll, port, slot);
        }
    }
    close(poll);
    for (int i = 0; failure && i < done; i++) close(fds[i]);
    free(dials);
    return failure ? failure : done;
}
