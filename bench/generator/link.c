/* Reading and writing, and following frames and records in what was read. */
#include "link.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

char scratch[SCRATCH];

double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

void watch(int poll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

int link_wait(int poll, struct epoll_event *ready, int milliseconds) {
    if (tls_wait) milliseconds = tls_wait(poll, milliseconds);
    return epoll_wait(poll, ready, EVENTS, milliseconds);
}

void link_close(int fd) {
    if (tls_close) tls_close(fd);
    close(fd);
}

ssize_t link_send(int fd, const char *data, size_t size) {
    if (tls_is_open && tls_is_open(fd)) return tls_send(fd, data, size);
    ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN ? 0 : CLOSED;
}

ssize_t link_receive(int fd, char *data, size_t size) {
    if (tls_is_open && tls_is_open(fd)) return tls_receive(fd, data, size);
    ssize_t got = recv(fd, data, size, MSG_DONTWAIT);
    return got > 0 ? got : got < 0 && errno == EAGAIN ? 0 : CLOSED;
}

int link_send_whole(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = link_send(fd, data, size);
        if (sent < 0) return CLOSED;
        data += sent;
        size -= sent;
    }
    return 0;
}

int link_dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct linger gone = {.l_onoff = 1, .l_linger = 0}; /* no port stays reserved after it */
    if (fd < 0) return CLOSED;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &gone, sizeof gone);
    if (!connect(fd, (struct sockaddr *)&to, sizeof to) || errno == EINPROGRESS) return fd;
    close(fd);
    return CLOSED;
}

size_t frames_take(struct frames *frames, const unsigned char *data, size_t size, size_t *payload) {
    *payload = frames->left < size ? frames->left : size;
    frames->left -= *payload;
    if (*payload) return *payload;
    size_t taken = 0;
    while (taken < size) {
        frames->head[frames->head_size++] = data[taken++];
        if (frames->head_size < 2) continue;
        uint32_t length = frames->head[1] & 127, width = length == 126 ? 2 : length == 127 ? 8 : 0;
        if (frames->head_size < 2 + width + (frames->head[1] & 128 ? 4 : 0)) continue;
        frames->left = width ? 0 : length;
        for (uint32_t i = 0; i < width; i++) frames->left = frames->left << 8 | frames->head[2 + i];
        frames->head_size = 0;
        break;
    }
    return taken;
}

int frames_between(const struct frames *frames) { return !frames->left && !frames->head_size; }

int channel_read(struct channel *channel, int (*told)(void *to, const char *text, size_t size), void *to) {
    ssize_t got = link_receive(channel->fd, channel->data + channel->held, sizeof channel->data - channel->held);
    if (got <= 0) return got;
    channel->held += got;
    size_t at = 0;
    while (channel->held - at >= 4) {
        unsigned char *frame = (unsigned char *)channel->data + at;
        size_t size = frame[1] & 127, head = size < 126 ? 2 : 4;
        if (size == 127) return WRONG;
        if (size == 126) size = frame[2] << 8 | frame[3];
        if (channel->held - at < head + size) break;
        if ((frame[0] & 15) == 8) return CLOSED;
        int failure = (frame[0] & 15) == 1 ? told(to, (char *)frame + head, size) : 0;
        if (failure) return failure;
        at += head + size;
    }
    memmove(channel->data, channel->data + at, channel->held - at);
    channel->held -= at;
    return 0;
}

/* The line or head that ends with `end` is whole: 1. Takes from `data`. */
static int message_line(struct message *message, const char *data, size_t size, const char *end, size_t *taken) {
    size_t width = strlen(end);
    for (*taken = 0; *taken < size && message->size < sizeof message->text - 1;) {
        message->text[message->size++] = data[(*taken)++];
        if (message->size < width || memcmp(message->text + message->size - width, end, width)) continue;
        message->text[message->size] = 0;
        message->size = 0;
        return 1;
    }
    return 0;
}

ssize_t message_take(struct message *message, const char *data, size_t size, size_t *payload) {
    size_t taken = 0;
    *payload = 0;
    if (message->stage == IN_LENGTH || message->stage == IN_CHUNK) {
        *payload = message->left < size ? message->left : size;
        message->left -= *payload;
        if (!message->left) message->stage = message->stage == IN_LENGTH ? ENDED : IN_CHUNK_SIZE;
        return *payload;
    }
    if (message->stage == ENDED) message->stage = IN_HEAD;
    if (message->stage == IN_HEAD) {
        if (!message_line(message, data, size, "\r\n\r\n", &taken))
            return message->size < sizeof message->text - 1 ? (ssize_t)taken : CLOSED;
        const char *length = strcasestr(message->text, "\r\ncontent-length:");
        message->left = length ? strtoull(length + 17, 0, 10) : 0;
        message->stage = strcasestr(message->text, "\r\ntransfer-encoding: chunked") ? IN_CHUNK_SIZE
                         : message->left ? IN_LENGTH : ENDED;
    } else if (message_line(message, data, size, "\r\n", &taken)) {
        if (message->text[0] == '\r') { /* after a chunk, or after the last of them */
            if (message->stage == IN_LAST_CHUNK) message->stage = ENDED;
            return taken;
        }
        message->left = strtoull(message->text, 0, 16);
        message->stage = message->left ? IN_CHUNK : IN_LAST_CHUNK;
    }
    return taken;
}

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

static int take(struct inflow *in, const struct shape *shape, const unsigned char *data, size_t size) {
    if (!shape->framed) return take_records(in, shape, data, size);
    while (size) {
        if (size >= 128 && data[1] < 126 && (*data & 15) < 8 && frames_between(&in->frames)) { /* short and whole */
            in->frames.head[0] = *data;
            if (take_records(in, shape, data + 2, data[1])) return WRONG;
            size -= 2 + data[1];
            data += 2 + data[1];
            continue;
        }
        size_t payload, taken = frames_take(&in->frames, data, size, &payload);
        if ((in->frames.head[0] & 15) == 8) return CLOSED;
        if (payload && (in->frames.head[0] & 15) < 8 && take_records(in, shape, data, payload)) return WRONG;
        data += taken;
        size -= taken;
    }
    return 0;
}

int64_t inflow_read(struct inflow *in, int fd, const struct shape *shape) {
    ssize_t got = link_receive(fd, scratch, SCRATCH);
    if (got <= 0) return got;
    uint64_t before = in->records;
    int failure = take(in, shape, (unsigned char *)scratch, got);
    return failure ? failure : (int64_t)(in->records - before);
}
