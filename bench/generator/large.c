/* One long flow through a joined pair: a head once, then a cycle of bytes again and again. What comes is compared byte
 * by byte with a cycle of its own, whatever frames it comes in. */
#include "link.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>

struct flow {
    int sender, receiver;
    const char *head, *cycle, *due;
    uint64_t head_size, cycle_size, due_size, sent, received; /* received: payload */
    struct frames frames;
};

struct flow *flow_open(int sender, int receiver, const char *head, uint64_t head_size, const char *cycle,
                       uint64_t cycle_size, const char *due, uint64_t due_size) {
    struct flow *flow = calloc(1, sizeof *flow);
    *flow = (struct flow){.sender = sender, .receiver = receiver, .head = head, .cycle = cycle, .due = due,
                          .head_size = head_size, .cycle_size = cycle_size, .due_size = due_size};
    return flow;
}

void flow_close(struct flow *flow) { free(flow); }
uint64_t flow_sent(const struct flow *flow) { return flow->sent; }

static int flow_send(struct flow *flow, uint64_t until) {
    while (flow->sent < until) {
        uint64_t at = (flow->sent - flow->head_size) % flow->cycle_size, size = flow->cycle_size - at;
        const char *data = flow->cycle + at;
        if (flow->sent < flow->head_size) data = flow->head + flow->sent, size = flow->head_size - flow->sent;
        if (size > until - flow->sent) size = until - flow->sent;
        ssize_t sent = link_send(flow->sender, data, size);
        if (sent < 0) return CLOSED;
        flow->sent += sent;
        if ((uint64_t)sent < size) return 0;
    }
    return 0;
}

static int flow_receive(struct flow *flow) {
    ssize_t got = link_receive(flow->receiver, scratch, SCRATCH);
    if (got < 0) return CLOSED;
    const char *data = scratch;
    while (got) {
        size_t payload, taken = frames_take(&flow->frames, (const unsigned char *)data, got, &payload);
        int opcode = flow->frames.head[0] & 15;
        if (opcode == 8) return CLOSED;
        data += taken;
        got -= taken;
        if (opcode > 8) continue;
        for (const char *at = data - payload; payload;) {
            uint64_t place = flow->received % flow->due_size, size = flow->due_size - place;
            if (size > payload) size = payload;
            if (memcmp(at, flow->due + place, size)) return WRONG;
            flow->received += size;
            payload -= size;
            at += size;
        }
    }
    return 0;
}

/* Send on while nobody reads. */
int flow_pause(struct flow *flow, double seconds) {
    for (double end = now() + seconds; now() < end;) {
        struct pollfd sender = {.fd = flow->sender, .events = POLLOUT};
        if (poll(&sender, 1, 100) > 0 && flow_send(flow, UINT64_MAX)) return CLOSED;
    }
    return 0;
}

/* Until so many bytes were sent, and so many of payload have come. */
int flow_pass(struct flow *flow, uint64_t sent, uint64_t received, double patience) {
    for (double end = now() + patience; flow->sent < sent || flow->received < received;) {
        struct pollfd ends[] = {{.fd = flow->receiver, .events = POLLIN},
                                {.fd = flow->sender, .events = flow->sent < sent ? POLLOUT : 0}};
        if (poll(ends, 2, 100) > 0) {
            if (ends[1].revents && flow_send(flow, sent)) return CLOSED;
            int failure = ends[0].revents ? flow_receive(flow) : 0;
            if (failure) return failure;
        }
        if (now() > end) return LATE;
    }
    return flow->received == received ? 0 : WRONG;
}
