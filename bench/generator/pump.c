/* Many joined pairs, messages of one size, one way. */
#include "link.h"
#include <stdlib.h>
#include <unistd.h>

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
    ssize_t sent = size > 0 ? link_send(pump->senders[i], pump->supply + at, size) : 0;
    if (sent < 0) return CLOSED;
    pump->sent[i] += sent;
    return 0;
}

static int pump_turn(struct pump *pump, int milliseconds, int is_last) {
    struct epoll_event ready[EVENTS];
    int count = link_wait(pump->poll, ready, milliseconds);
    for (int n = 0; n < count; n++) {
        int i = ready[n].data.u64;
        int64_t records = inflow_read(&pump->inflows[i], pump->receivers[i], &pump->shape);
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
