/* Events at a steady pace on many streams: how long each is on its way. Each carries its number and when it was sent,
 * and must come in order. What frames the events on the way, such as HTTP's chunks, is passed over. */
#include "link.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EVENT = 64, HELD = 8192, MOST_HEAD = 32 };

static const char mark[] = "data: ";

struct stream {
    uint64_t sent, received;
    size_t held;
    char data[HELD];
};

static int send_event(int fd, struct stream *stream, const char *head, size_t head_size, const char *tail,
                      size_t tail_size) {
    char out[MOST_HEAD + EVENT + MOST_HEAD];
    memcpy(out, head, head_size);
    char *event = out + head_size;
    memset(event, '.', EVENT);
    int length = sprintf(event, "%s%016llx %020.9f", mark, (unsigned long long)stream->sent, now());
    event[length] = '.';
    event[EVENT - 1] = event[EVENT - 2] = '\n';
    memcpy(event + EVENT, tail, tail_size);
    stream->sent++;
    return link_send_whole(fd, out, head_size + EVENT + tail_size);
}

static int take_events(int fd, struct stream *stream, double *samples, int *count, int most) {
    ssize_t got = link_receive(fd, stream->data + stream->held, HELD - 1 - stream->held);
    if (got <= 0) return got;
    stream->held += got;
    char *at = stream->data, *end = at + stream->held, *event;
    *end = 0;
    while ((event = memmem(at, end - at, mark, sizeof mark - 1)) && end - event >= EVENT) {
        unsigned long long number;
        double sent_at;
        if (sscanf(event + sizeof mark - 1, "%llx %lf", &number, &sent_at) != 2) return WRONG;
        if (number != stream->received || memcmp(event + EVENT - 2, "\n\n", 2)) return WRONG;
        stream->received++;
        if (*count < most) samples[(*count)++] = (now() - sent_at) * 1e3;
        at = event + EVENT;
    }
    if (event) at = event;
    else if (end - at > (long)sizeof mark) at = end - sizeof mark;
    stream->held = end - at;
    memmove(stream->data, at, stream->held);
    return 0;
}

/* So many seconds, `period` of them between two events of a stream, the streams evenly in between. Milliseconds of
 * each event in `samples`; how many. */
int delay_run(const int *writers, const int *readers, int count, const char *head, int head_size, const char *tail,
              int tail_size, double period, double seconds, double patience, double *samples, int most) {
    struct stream *streams = calloc(count, sizeof *streams);
    int poll = epoll_create1(0), failure = 0, taken = 0;
    uint64_t sent = 0, total = (uint64_t)(seconds / period) * count, received = 0;
    for (int i = 0; i < count; i++) watch(poll, readers[i], EPOLLIN, i);
    double begin = now();
    while (received < total && !failure) {
        double due = begin + sent * period / count;
        if (sent < total && now() >= due) {
            int i = sent++ % count;
            failure = send_event(writers[i], &streams[i], head, head_size, tail, tail_size);
            continue;
        }
        if (now() > begin + seconds + patience) failure = LATE;
        struct epoll_event ready[EVENTS];
        int some = epoll_wait(poll, ready, EVENTS, 0); /* to sleep would be to come late */
        for (int n = 0; n < some && !failure; n++) {
            int i = ready[n].data.u64;
            uint64_t before = streams[i].received;
            failure = take_events(readers[i], &streams[i], samples, &taken, most);
            received += streams[i].received - before;
        }
    }
    close(poll);
    free(streams);
    return failure ? failure : taken;
}
