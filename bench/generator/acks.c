/* Acknowledged publishing: every client has one publish under way, and sends the next when its answer has come. */
#include "link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_MARK = 32 };

static char room_before[MOST_MARK + SCRATCH]; /* what a client carried over stands before what it reads */

struct client {
    int is_waiting;
    uint32_t carried;
    char carry[MOST_MARK];
};

struct acks {
    int poll, count;
    const int *fds;
    const char *frames, *mark; /* what each client sends, all of one size; what stands once in each answer */
    uint32_t frame_size, mark_size;
    struct client *clients;
    uint64_t done;
    int open;
};

struct acks *acks_open(const int *fds, int count, const char *frames, uint32_t frame_size, const char *mark,
                       uint32_t mark_size) {
    struct acks *acks = calloc(1, sizeof *acks);
    *acks = (struct acks){.poll = epoll_create1(0), .count = count, .fds = fds, .frames = frames, .mark = mark,
                          .frame_size = frame_size, .mark_size = mark_size,
                          .clients = calloc(count, sizeof(struct client))};
    for (int i = 0; i < count; i++) watch(acks->poll, fds[i], EPOLLIN, i);
    return acks;
}

void acks_close(struct acks *acks) {
    close(acks->poll);
    free(acks->clients);
    free(acks);
}

uint64_t acks_done(const struct acks *acks) { return acks->done; }

static int acks_send(struct acks *acks, int i) {
    acks->clients[i].is_waiting = 1;
    acks->open++;
    return link_send_whole(acks->fds[i], acks->frames + (size_t)i * acks->frame_size, acks->frame_size);
}

/* One read; whether an answer has come whole enough to be known. */
static int acks_receive(struct acks *acks, int i) {
    struct client *client = &acks->clients[i];
    char *data = room_before + MOST_MARK;
    ssize_t got = link_receive(acks->fds[i], data, SCRATCH);
    if (got <= 0) return got;
    char *at = memcpy(data - client->carried, client->carry, client->carried), *end = data + got;
    int found = 0;
    for (char *next; (next = memmem(at, end - at, acks->mark, acks->mark_size)); at = next + acks->mark_size) found++;
    if (found > client->is_waiting) return WRONG;
    size_t rest = end - at < acks->mark_size ? end - at : acks->mark_size - 1;
    memcpy(client->carry, end - rest, client->carried = rest);
    return found;
}

static int acks_turn(struct acks *acks, int is_last) {
    struct epoll_event ready[EVENTS];
    int count = link_wait(acks->poll, ready, 1);
    for (int n = 0; n < count; n++) {
        int i = ready[n].data.u64, found = acks_receive(acks, i);
        if (found < 0) return found;
        if (!found) continue;
        acks->clients[i].is_waiting = 0;
        acks->open--;
        acks->done++;
        if (!is_last && acks_send(acks, i)) return CLOSED;
    }
    return 0;
}

int acks_run(struct acks *acks, double seconds) {
    for (int i = 0; i < acks->count; i++)
        if (!acks->clients[i].is_waiting && acks_send(acks, i)) return CLOSED;
    for (double end = now() + seconds; now() < end;) {
        int failure = acks_turn(acks, 0);
        if (failure) return failure;
    }
    return 0;
}

int acks_finish(struct acks *acks, double patience) {
    for (double end = now() + patience; acks->open;) {
        int failure = acks_turn(acks, 1);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    return 0;
}
