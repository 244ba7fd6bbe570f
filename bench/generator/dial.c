/* Many connections, `parallel` of them on their way at a time. Each sends `first` and waits for `first_end` in what
 * comes; then, if there is a `second`, that. What comes must begin with `first_begin`. Over TLS, all of it comes after
 * the handshake. Fills `fds`. */
#include "link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHAKING = -1 };

struct dial {
    int fd, stage;
    size_t size;
    char data[4096];
};

static int dial_start(struct dial *dial, int poll, int port, int slot) {
    dial->stage = 0;
    dial->size = 0;
    dial->fd = link_dial(port);
    if (dial->fd < 0) return CLOSED;
    watch(poll, dial->fd, EPOLLOUT, slot);
    return 0;
}

static int dial_read(struct dial *dial, const char *begin, const char *end, size_t end_size) {
    ssize_t got = link_receive(dial->fd, dial->data + dial->size, sizeof dial->data - dial->size);
    if (got <= 0) return got;
    dial->size += got;
    if (begin && dial->size >= strlen(begin) && memcmp(dial->data, begin, strlen(begin))) return WRONG;
    if (!memmem(dial->data, dial->size, end, end_size)) return 0;
    dial->size = 0;
    return 1;
}

int connect_many(int port, int is_secure, int count, int parallel, const char *first, int first_size,
                 const char *first_begin, const char *first_end, const char *second, int second_size,
                 const char *second_end, int second_end_size, double patience, int *fds) {
    struct dial *dials = calloc(parallel, sizeof *dials);
    int poll = epoll_create1(0), started = 0, done = 0, failure = 0;
    double end = now() + patience;
    for (; started < parallel && started < count && !failure; started++)
        failure = dial_start(&dials[started], poll, port, started);
    while (done < count && !failure) {
        struct epoll_event ready[EVENTS];
        int some = link_wait(poll, ready, 100);
        if (now() > end) failure = LATE;
        for (int n = 0; n < some && !failure; n++) {
            int slot = ready[n].data.u64;
            struct dial *dial = &dials[slot];
            if (dial->stage == 0) {
                struct epoll_event event = {.events = EPOLLIN, .data.u64 = slot};
                epoll_ctl(poll, EPOLL_CTL_MOD, dial->fd, &event);
                dial->stage = is_secure ? SHAKING : 1;
                failure = is_secure ? tls_open(dial->fd, 0) : link_send_whole(dial->fd, first, first_size);
                if (!is_secure) continue;
            }
            if (dial->stage == SHAKING) {
                int done = failure ? failure : tls_shake(dial->fd);
                if (done == 1) dial->stage = 1, failure = link_send_whole(dial->fd, first, first_size);
                if (done < 0) failure = done;
                continue;
            }
            int got = dial->stage == 1 ? dial_read(dial, first_begin, first_end, strlen(first_end))
                                       : dial_read(dial, 0, second_end, second_end_size);
            if (got < 0) failure = got;
            if (got <= 0) continue;
            if (dial->stage++ == 1 && second_size) {
                failure = link_send_whole(dial->fd, second, second_size);
                continue;
            }
            epoll_ctl(poll, EPOLL_CTL_DEL, dial->fd, 0);
            fds[done++] = dial->fd;
            dial->fd = -1;
            if (started < count) started++, failure = dial_start(dial, poll, port, slot);
        }
    }
    close(poll);
    for (int i = 0; failure && i < done; i++) link_close(fds[i]);
    free(dials);
    return failure ? failure : done;
}
