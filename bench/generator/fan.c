/* Fan-out: one publisher, many subscribers. */
#include "link.h"
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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
    ssize_t sent = link_send(fan->publisher, fan->supply + fan->position, size);
    if (sent < 0) return CLOSED;
    fan->position += sent;
    while (fan->event < fan->events && fan->ends[fan->event] <= fan->position) fan->event++, fan->sent++;
    if (fan->event == fan->events) fan->event = 0, fan->position = 0;
    return 0;
}

static int fan_receive(struct fan *fan, int milliseconds) {
    struct epoll_event ready[EVENTS];
    int count = link_wait(fan->poll, ready, milliseconds);
    for (int i = 0; i < count; i++) {
        uint64_t which = ready[i].data.u64;
        if (which == (uint64_t)fan->count) { /* the publisher's replies */
            if (link_receive(fan->publisher, scratch, SCRATCH) < 0) return CLOSED;
            continue;
        }
        int64_t records = inflow_read(&fan->inflows[which], fan->subscribers[which], &fan->shape);
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
