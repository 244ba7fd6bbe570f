/* Stamped events: one publisher, many subscribers of any transport, a window or a fixed rate, and what else goes on.
 *
 * The last thing in each payload is a stamp: which address, the how-manieth there, when it was due to be sent. It is
 * found in the bare bytes that come, whatever stands around it; where one is, the whole event has come. A server that
 * cut a stamp in two by a frame would be taken to have lost the event, and that fails.
 */
#include "link.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MARK = 6, STAMP = MARK + 4 + 8 + 16, NAME = 8, FINE = 32, BUCKETS = 40 * FINE, MOST_A_TURN = 1 << 14 };

static const char mark[] = "stamp:";
static char room_before[STAMP + SCRATCH]; /* what a reader carried over stands before what it reads */

struct event {
    uint64_t end;      /* where its frame ends in the supply */
    uint64_t stamp_at; /* where its stamp stands there */
    uint64_t name_at;  /* where a part of its address that never comes again is to be written; 0: nowhere */
    uint32_t address;
    uint32_t copies; /* deliveries it is due to become */
};

struct reader {
    uint32_t carried;
    uint32_t stride; /* from the end of a stamp to the next one, the last time */
    char carry[STAMP];
};

/* A connection that does something else meanwhile: it sends `supply` again and again, and drops what comes. */
struct side {
    int fd;
    uint32_t rate; /* bytes a second; 0: as fast as it goes */
    const char *supply;
    uint64_t size, sent;
};

struct traffic {
    int poll, publisher, count, sides_count, is_sampled;
    const int *subscribers;
    struct reader *readers;
    struct side *sides;
    char *supply;
    const struct event *plan;
    uint32_t events, addresses;
    uint32_t *numbers;    /* of the next event, by address */
    const uint8_t *reach; /* by subscriber and address: may it come? 0: nothing is checked */
    uint32_t *awaited;    /* by subscriber and address: the number that must come next */
    double window;        /* events in flight; 0: paced */
    double rate, began;   /* events a second, and since when */
    uint32_t event, stamped; /* the next event that is not wholly sent; up to where they have been stamped */
    uint64_t position;
    uint64_t offered, sent, due, received, names;
    uint64_t delays[BUCKETS];
};

struct traffic *traffic_open(int publisher, const int *subscribers, int count, char *supply, const struct event *plan,
                             uint32_t events, double window, double rate, const uint8_t *reach, uint32_t addresses,
                             int is_sampled, uint64_t first_name, struct side *sides, int sides_count) {
    struct traffic *traffic = calloc(1, sizeof *traffic);
    *traffic = (struct traffic){
        .poll = epoll_create1(0), .publisher = publisher, .count = count, .sides_count = sides_count,
        .is_sampled = is_sampled, .subscribers = subscribers, .readers = calloc(count, sizeof(struct reader)),
        .sides = sides, .supply = supply, .plan = plan, .events = events, .addresses = addresses,
        .numbers = calloc(addresses, sizeof(uint32_t)), .reach = reach,
        .awaited = calloc(reach ? (size_t)count * addresses : 1, sizeof(uint32_t)), .window = window, .rate = rate,
        .names = first_name};
    for (int i = 0; i < count; i++) watch(traffic->poll, subscribers[i], EPOLLIN, i);
    watch(traffic->poll, publisher, EPOLLIN, count);
    for (int i = 0; i < sides_count; i++) watch(traffic->poll, sides[i].fd, EPOLLIN, count + 1 + i);
    return traffic;
}

void traffic_close(struct traffic *traffic) {
    close(traffic->poll);
    free(traffic->readers);
    free(traffic->numbers);
    free(traffic->awaited);
    free(traffic);
}

uint64_t traffic_received(const struct traffic *traffic) { return traffic->received; }
uint64_t traffic_sent(const struct traffic *traffic) { return traffic->sent; }
uint64_t traffic_names(const struct traffic *traffic) { return traffic->names; }

/* Delays: buckets of 1/32 of a power of two nanoseconds. */

static uint32_t bucket_of(uint64_t delay) {
    if (delay < FINE) return delay;
    int power = 63 - __builtin_clzll(delay);
    uint32_t bucket = (power - 4) * FINE + (delay >> (power - 5)) - FINE;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

void traffic_forget_delays(struct traffic *traffic) { memset(traffic->delays, 0, sizeof traffic->delays); }

/* The delay, in nanoseconds, that this share of the deliveries did not exceed. */
double traffic_delay(const struct traffic *traffic, double share) {
    uint64_t total = 0, below = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) total += traffic->delays[i];
    for (uint32_t i = 0; i < BUCKETS; i++) {
        below += traffic->delays[i];
        if (below >= total * share && below)
            return i < FINE ? i : (double)((uint64_t)(FINE + i % FINE + 1) << (i / FINE - 1));
    }
    return 0;
}

/* Stamps. */

static void write_hex(char *to, uint64_t number, int digits) {
    while (digits--) to[digits] = "0123456789abcdef"[number & 15], number >>= 4;
}

static uint64_t read_hex(const char *from, int digits) {
    uint64_t number = 0;
    for (int i = 0; i < digits; i++) number = number << 4 | ((from[i] & 15) + (from[i] >> 6) * 9);
    return number;
}

/* The next mark behind `at`; where the last one was is looked at first. `is_behind` a stamp: so that what comes only
 * once, such as a greeting, is not taken for the way to the next stamp, which could be that to the next but one. */
static const char *next_mark(struct reader *reader, const char *at, const char *end, int is_behind) {
    uint32_t stride = reader->stride;
    if (stride && is_behind && at + stride + MARK <= end && !memcmp(at + stride, mark, MARK)) return at + stride;
    const char *found = memmem(at, end - at, mark, MARK);
    if (found && is_behind && (!stride || found - at < stride + STAMP)) reader->stride = found - at;
    return found;
}

static int take_stamp(struct traffic *traffic, int which, const char *stamp, uint64_t nanoseconds) {
    traffic->received++;
    if (traffic->is_sampled && stamp[MARK + 11] != '0') return 0;
    traffic->delays[bucket_of(nanoseconds - read_hex(stamp + MARK + 12, 16))]++;
    if (!traffic->reach) return 0;
    uint32_t address = read_hex(stamp + MARK, 4), number = read_hex(stamp + MARK + 4, 8);
    if (address >= traffic->addresses) return WRONG;
    size_t place = (size_t)which * traffic->addresses + address;
    return traffic->reach[place] && traffic->awaited[place]++ == number ? 0 : WRONG;
}

static int take_stamps(struct traffic *traffic, int which) {
    struct reader *reader = &traffic->readers[which];
    char *data = room_before + STAMP;
    ssize_t got = link_receive(traffic->subscribers[which], data, SCRATCH);
    if (got <= 0) return got;
    const char *end = data + got, *at = memcpy(data - reader->carried, reader->carry, reader->carried), *found;
    uint64_t nanoseconds = now() * 1e9;
    for (int is_behind = 0; (found = next_mark(reader, at, end, is_behind)) && found + STAMP <= end; is_behind = 1) {
        if (take_stamp(traffic, which, found, nanoseconds)) return WRONG;
        at = found + STAMP;
    }
    if (end - at >= STAMP) at = found ? found : end - STAMP + 1;
    reader->carried = end - at;
    memcpy(reader->carry, at, reader->carried);
    return 0;
}

/* Publishing. */

static void stamp_up_to(struct traffic *traffic, uint32_t last, double at) {
    for (; traffic->stamped < last; traffic->stamped++, traffic->offered++) {
        const struct event *event = &traffic->plan[traffic->stamped];
        char *stamp = traffic->supply + event->stamp_at;
        double due_at = traffic->window ? at : traffic->began + traffic->offered / traffic->rate;
        memcpy(stamp, mark, MARK);
        write_hex(stamp + MARK, event->address, 4);
        write_hex(stamp + MARK + 4, event->address < traffic->addresses ? traffic->numbers[event->address]++ : 0, 8);
        write_hex(stamp + MARK + 12, due_at * 1e9, 16);
        if (event->name_at) write_hex(traffic->supply + event->name_at, traffic->names++, NAME);
    }
}

static int publish(struct traffic *traffic, uint64_t end) {
    ssize_t sent = link_send(traffic->publisher, traffic->supply + traffic->position, end - traffic->position);
    if (sent < 0) return CLOSED;
    traffic->position += sent;
    while (traffic->event < traffic->events && traffic->plan[traffic->event].end <= traffic->position) {
        traffic->due += traffic->plan[traffic->event++].copies;
        traffic->sent++;
    }
    if (traffic->event == traffic->events) traffic->event = traffic->stamped = traffic->position = 0;
    return 0;
}

static int publish_due(struct traffic *traffic, double at, double copies) {
    int64_t room;
    if (traffic->window) {
        room = traffic->window - (traffic->due - traffic->received) / copies;
        if (room < traffic->window / 4 || room < 1) return 0;
    } else room = (int64_t)((at - traffic->began) * traffic->rate) + 1 - (int64_t)traffic->sent;
    if (room <= 0) return 0;
    uint64_t last = traffic->event + (uint64_t)room;
    if (last > traffic->events) last = traffic->events;
    while (last > traffic->event + 1 && traffic->plan[last - 1].end - traffic->position > MOST_SENT)
        last = traffic->event + (last - traffic->event) / 2;
    stamp_up_to(traffic, last, at);
    return publish(traffic, traffic->plan[last - 1].end);
}

static int feed_sides(struct traffic *traffic, double at) {
    for (int i = 0; i < traffic->sides_count; i++) {
        struct side *side = &traffic->sides[i];
        uint64_t begin = side->size ? side->sent % side->size : 0, room = side->size - begin;
        if (side->rate) {
            int64_t allowed = (int64_t)((at - traffic->began) * side->rate) - (int64_t)side->sent;
            if (allowed < (int64_t)room) room = allowed < 0 ? 0 : allowed;
        }
        if (!room) continue;
        ssize_t sent = link_send(side->fd, side->supply + begin, room < MOST_A_TURN ? room : MOST_A_TURN);
        if (sent < 0) return CLOSED;
        side->sent += sent;
    }
    return 0;
}

static int receive(struct traffic *traffic, int milliseconds) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(traffic->poll, ready, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        uint64_t which = ready[i].data.u64;
        int fd = which == (uint64_t)traffic->count ? traffic->publisher : traffic->sides[which - traffic->count - 1].fd;
        int failure = which < (uint64_t)traffic->count ? take_stamps(traffic, which)
                                                       : link_receive(fd, scratch, SCRATCH) < 0 ? CLOSED : 0;
        if (failure) return failure;
    }
    return 0;
}

/* At a fixed rate it turns without rest, so that no delay is its own. */
int traffic_run(struct traffic *traffic, double seconds) {
    double copies = 0;
    for (uint32_t i = 0; i < traffic->events; i++) copies += (double)traffic->plan[i].copies / traffic->events;
    double at = now(), end = at + seconds;
    if (!traffic->began) traffic->began = at;
    for (; at < end; at = now()) {
        int failure = publish_due(traffic, at, copies);
        if (!failure) failure = feed_sides(traffic, at);
        if (!failure) failure = receive(traffic, traffic->window && !traffic->sides_count);
        if (failure) return failure;
    }
    return 0;
}

/* End the event that has begun, then wait until everything that was sent has come, and nothing else. */
int traffic_finish(struct traffic *traffic, double patience) {
    double end = now() + patience;
    int one = 1, failure = 0;
    for (int i = 0; i < traffic->count; i++) /* until now a few deliveries may have been awaited at a time */
        setsockopt(traffic->subscribers[i], SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    for (;;) {
        uint64_t begun_at = traffic->event ? traffic->plan[traffic->event - 1].end : 0;
        int is_begun = traffic->position > begun_at;
        if (is_begun) failure = publish(traffic, traffic->plan[traffic->event].end);
        else if (traffic->received >= traffic->due) break;
        if (!failure) failure = receive(traffic, is_begun ? 1 : 50);
        if (failure) return failure;
        if (now() > end) return LATE;
    }
    failure = receive(traffic, 20);
    return failure ? failure : traffic->received != traffic->due ? WRONG : 0;
}
