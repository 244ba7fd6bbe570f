/* The part of the load generator that must cost less than any server here: loops of epoll, send and recv.
 *
 * `library.py` compiles all of this folder on demand; Python opens the connections, here bytes are moved and counted.
 * What comes in is read and its frames and records are followed, so that a delivery counts only when the whole of it
 * has come. A function that fails returns one of CLOSED, WRONG and LATE. Linux only.
 */
#ifndef LINK_H
#define LINK_H
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

enum { CLOSED = -1, WRONG = -2, LATE = -3, EVENTS = 256, SCRATCH = 1 << 18, MOST_SENT = 1 << 18 };

extern char scratch[SCRATCH]; /* what was read last */

double now(void); /* seconds */
void watch(int poll, int fd, uint32_t events, uint64_t data);

/* Where OpenSSL is: a connection becomes one over TLS, and what link_send leaves over is sent by link_wait. */
__attribute__((weak)) int tls_open(int fd, int is_server);
__attribute__((weak)) int tls_is_open(int fd);
__attribute__((weak)) int tls_shake(int fd);
__attribute__((weak)) void tls_close(int fd);
__attribute__((weak)) void tls_flush(void);
__attribute__((weak)) int tls_wait(int poll, int milliseconds);
__attribute__((weak)) ssize_t tls_send(int fd, const char *data, size_t size);
__attribute__((weak)) ssize_t tls_receive(int fd, char *data, size_t size);

int link_wait(int poll, struct epoll_event *ready, int milliseconds);
void link_close(int fd);

/* Neither waits: the bytes that went or came, 0 when none could. */
ssize_t link_send(int fd, const char *data, size_t size);
ssize_t link_receive(int fd, char *data, size_t size);
int link_send_whole(int fd, const char *data, size_t size); /* turns until all has gone */

int link_dial(int port); /* begins to connect to this machine; CLOSED when it cannot */

/* WebSocket frames (RFC 6455, 5.2), however they are cut. */

struct frames {
    uint64_t left; /* of the payload of the frame that head[0] begins */
    uint32_t head_size;
    unsigned char head[14];
};

/* How much of `data` was taken: some of a head, or `*payload` bytes of payload. */
size_t frames_take(struct frames *frames, const unsigned char *data, size_t size, size_t *payload);
int frames_between(const struct frames *frames); /* whether the frame that head[0] begins has ended */

/* A WebSocket on which short text messages come. */

struct channel {
    int fd; /* -1: none */
    size_t held;
    char data[1 << 20];
};

/* One read; `told` gets every whole text and may fail. */
int channel_read(struct channel *channel, int (*told)(void *to, const char *text, size_t size), void *to);

/* HTTP/1.1 messages with a body of known length, or in chunks. */

struct message {
    enum { IN_HEAD, IN_LENGTH, IN_CHUNK_SIZE, IN_CHUNK, IN_LAST_CHUNK, ENDED } stage;
    uint64_t left;
    size_t size;
    char text[4096]; /* the head, or the line that is being read */
};

/* How much of `data` was taken, `*payload` bytes of it the last, body. CLOSED when it is no such message. */
ssize_t message_take(struct message *message, const char *data, size_t size, size_t *payload);

/* What comes in: WebSocket frames or a bare stream, and in them records of one size that begin with one byte. */

struct shape {
    int framed;    /* in WebSocket frames, however they are cut */
    int lead;      /* the first byte of each record; -1: any */
    uint32_t size; /* of a record */
};

struct inflow {
    struct frames frames;
    uint64_t records;
    uint32_t record_left;
    int is_other;
};

/* One read; the records that became whole, or a failure. */
int64_t inflow_read(struct inflow *in, int fd, const struct shape *shape);

#endif
