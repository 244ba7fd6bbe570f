/* Requests: keep-alive clients, and who answers them: a listener on a WebSocket, or a server behind a proxy. */
#include "link.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ORIGIN = 1 << 20, CONTROL = 1 << 21, BEHIND = 1 << 22, OUT = 1 << 22 };

struct web {
    int poll, count, origin, is_secure; /* origin: a listening socket, or -1, whose connections may be over TLS */
    const int *clients;
    int64_t *missing;
    const char *request;
    uint32_t request_size, answer_size;
    const char *mark, *before, *after, *body; /* of the listener: the id stands after mark; its answer's parts */
    uint32_t body_size;
    struct channel control; /* of the listener, if any */
    size_t out_size;
    char out[OUT]; /* the answers of a turn */
    uint64_t done;
    int open;
    int behind_count, behind[1024]; /* connections of the proxy */
};

struct web *web_open(const int *clients, int count, const char *request, uint32_t request_size, uint32_t answer_size,
                     int origin, int is_secure, int control, const char *mark, const char *before,
                     const char *after, const char *body, uint32_t body_size) {
    struct web *web = calloc(1, sizeof *web);
    *web = (struct web){.poll = epoll_create1(0), .count = count, .origin = origin, .is_secure = is_secure,
                        .control.fd = control,
                        .clients = clients, .missing = calloc(count, sizeof(int64_t)), .request = request,
                        .request_size = request_size, .answer_size = answer_size, .mark = mark, .before = before,
                        .after = after, .body = body, .body_size = body_size};
    for (int i = 0; i < count; i++) watch(web->poll, clients[i], EPOLLIN, i);
    if (origin >= 0) watch(web->poll, origin, EPOLLIN, ORIGIN);
    if (control >= 0) watch(web->poll, control, EPOLLIN, CONTROL);
    return web;
}

void web_close(struct web *web) {
    close(web->poll);
    for (int i = 0; i < web->behind_count; i++) link_close(web->behind[i]);
    free(web->missing);
    free(web);
}

uint64_t web_done(const struct web *web) { return web->done; }

/* A connection of the proxy: one answer for each end of a head (requests have no bodies and are not split here). */
static int web_behind(struct web *web, int fd) {
    ssize_t got = link_receive(fd, scratch, SCRATCH);
    if (got < 0) return epoll_ctl(web->poll, EPOLL_CTL_DEL, fd, 0); /* closed with the others at the end */
    for (char *at = scratch; (at = memmem(at, scratch + got - at, "\r\n\r\n", 4)); at += 4)
        if (link_send_whole(fd, web->body, web->body_size)) return CLOSED;
    return 0;
}

/* The answer to one command, behind the others of this turn. */
static int web_answer(void *to, const char *command, size_t size) {
    struct web *web = to;
    size_t mark = strlen(web->mark), before = strlen(web->before), after = strlen(web->after);
    const char *id = memmem(command, size, web->mark, mark);
    const char *end = id ? memchr(id + mark, '"', command + size - id - mark) : 0;
    if (!end) return WRONG;
    id += mark;
    size_t length = before + (end - id) + after, head = length < 126 ? 6 : 8;
    if (web->out_size + head + length + web->body_size > OUT) {
        if (link_send_whole(web->control.fd, web->out, web->out_size)) return CLOSED;
        web->out_size = 0;
    }
    char *out = web->out + web->out_size;
    out[0] = (char)0x81;
    if (head == 6) out[1] = (char)(0x80 | length);
    else out[1] = (char)0xFE, out[2] = (char)(length >> 8), out[3] = (char)length;
    memset(out + head - 4, 0, 4); /* a mask that changes nothing */
    memcpy(out + head, web->before, before);
    memcpy(out + head + before, id, end - id);
    memcpy(out + head + before + (end - id), web->after, after);
    memcpy(out + head + length, web->body, web->body_size);
    web->out_size += head + length + web->body_size;
    return 0;
}

static int web_control(struct web *web) {
    web->out_size = 0;
    int failure = channel_read(&web->control, web_answer, web);
    return failure ? failure : link_send_whole(web->control.fd, web->out, web->out_size);
}

static int web_client(struct web *web, int i, int is_last) {
    ssize_t got = link_receive(web->clients[i], scratch, SCRATCH);
    if (got <= 0) return got;
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
    return link_send_whole(web->clients[i], web->request, web->request_size);
}

static int web_turn(struct web *web, int is_last) {
    struct epoll_event ready[EVENTS];
    int count = link_wait(web->poll, ready, 1), failure = 0;
    for (int n = 0; n < count && !failure; n++) {
        uint64_t which = ready[n].data.u64;
        if (which == ORIGIN) {
            int fd = accept(web->origin, 0, 0), one = 1;
            if (fd < 0 || web->behind_count == 1024) return WRONG;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            web->behind[web->behind_count++] = fd;
            watch(web->poll, fd, EPOLLIN, BEHIND + fd);
            if (web->is_secure && tls_open(fd, 1)) return WRONG;
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
        if (link_send_whole(web->clients[i], web->request, web->request_size)) return CLOSED;
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
