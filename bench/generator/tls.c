/* TLS beneath link_send and link_receive, in memory: what is read from a socket in one go is decrypted in one go, so
 * that epoll tells the truth. Compiled only where OpenSSL's headers are. One version and one cipher, so that all
 * servers do the same work; certificates are not verified. */
#include "link.h"
#include <openssl/ssl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CIPHER "TLS_AES_128_GCM_SHA256" /* of TLS 1.3 */

enum { MOST_RECORD = 1 << 15, MOST_FILES = 1 << 16, MOST_OWING = 4096, MOST_WAITING = 256 };

struct layer {
    SSL *ssl;
    BIO *in, *out;
    char *owed; /* ciphertext that the socket did not take */
    size_t owed_size;
};

static SSL_CTX *contexts[2]; /* of a client, of a server */
static struct layer *layers[MOST_FILES];
static int owing[MOST_OWING], owing_count;

int tls_setup(const char *certificate, const char *key) {
    for (int is_server = 0; is_server < 2; is_server++) {
        SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
        contexts[is_server] = context;
        if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
            !SSL_CTX_set_ciphersuites(context, CIPHER)) return WRONG;
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, 0);
    }
    return SSL_CTX_use_certificate_chain_file(contexts[1], certificate) == 1 &&
                   SSL_CTX_use_PrivateKey_file(contexts[1], key, SSL_FILETYPE_PEM) == 1 ? 0 : WRONG;
}

int tls_open(int fd, int is_server) {
    if (fd >= MOST_FILES) return WRONG;
    struct layer *layer = calloc(1, sizeof *layer);
    *layer = (struct layer){.ssl = SSL_new(contexts[is_server]), .in = BIO_new(BIO_s_mem()),
                            .out = BIO_new(BIO_s_mem())};
    BIO_set_mem_eof_return(layer->in, -1); /* empty: come again */
    SSL_set_bio(layer->ssl, layer->in, layer->out);
    if (is_server) SSL_set_accept_state(layer->ssl);
    else SSL_set_connect_state(layer->ssl);
    layers[fd] = layer;
    return 0;
}

void tls_close(int fd) {
    struct layer *layer = fd < MOST_FILES ? layers[fd] : 0;
    if (!layer) return;
    SSL_free(layer->ssl); /* and what it reads from and writes to */
    free(layer->owed);
    free(layer);
    layers[fd] = 0;
    for (int i = 0; i < owing_count; i++)
        if (owing[i] == fd) owing[i--] = owing[--owing_count];
}

int tls_is_open(int fd) { return fd >= 0 && fd < MOST_FILES && layers[fd]; }

/* What is encrypted goes to the socket, as far as it takes it. */
static int flush(struct layer *layer, int fd) {
    static char out[MOST_SENT + MOST_RECORD];
    while (layer->owed_size || BIO_ctrl_pending(layer->out)) {
        int is_owed = layer->owed_size > 0;
        int size = is_owed ? (int)layer->owed_size : BIO_read(layer->out, out, sizeof out);
        char *data = is_owed ? layer->owed : out;
        ssize_t sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return CLOSED;
        if (sent < 0) sent = 0;
        if (sent == size) {
            layer->owed_size = 0;
            continue;
        }
        if (!is_owed) {
            layer->owed = realloc(layer->owed, size - sent);
            if (owing_count == MOST_OWING) return WRONG;
            owing[owing_count++] = fd;
        }
        memmove(layer->owed, data + sent, size - sent);
        layer->owed_size = size - sent;
        return 0;
    }
    return 0;
}

/* What earlier calls left to be sent. */
void tls_flush(void) {
    for (int i = 0; i < owing_count; i++) {
        int fd = owing[i];
        if (flush(layers[fd], fd) || !layers[fd]->owed_size) owing[i--] = owing[--owing_count];
    }
}

/* Wait also for the sockets that did not take all; how long it may take then until something comes. */
int tls_wait(int poll_fd, int milliseconds) {
    struct pollfd waiting[MOST_WAITING] = {{.fd = poll_fd, .events = POLLIN}};
    int count = 1;
    tls_flush();
    if (!owing_count) return milliseconds;
    for (; count < MOST_WAITING && count <= owing_count; count++)
        waiting[count] = (struct pollfd){.fd = owing[count - 1], .events = POLLOUT};
    poll(waiting, count, milliseconds);
    tls_flush();
    return 0;
}

ssize_t tls_send(int fd, const char *data, size_t size) {
    struct layer *layer = layers[fd];
    size_t written = 0, total = 0;
    if (layer->owed_size) tls_flush();
    if (layer->owed_size) return 0;
    size = size < MOST_SENT ? size : MOST_SENT;
    while (total < size && SSL_write_ex(layer->ssl, data + total, size - total, &written)) total += written;
    if (!total && SSL_get_error(layer->ssl, 0) != SSL_ERROR_WANT_READ) return CLOSED;
    return flush(layer, fd) ? CLOSED : (ssize_t)total;
}

static ssize_t decrypted(struct layer *layer, char *data, size_t size) {
    size_t got = 0, total = 0;
    while (total < size && SSL_read_ex(layer->ssl, data + total, size - total, &got)) total += got;
    if (total) return total;
    return SSL_get_error(layer->ssl, 0) == SSL_ERROR_WANT_READ ? 0 : CLOSED;
}

static int fetch(struct layer *layer, int fd, size_t size) {
    static char in[1 << 20];
    ssize_t got = recv(fd, in, size < sizeof in ? size : sizeof in, MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : CLOSED;
    return BIO_write(layer->in, in, got) == got ? 1 : WRONG;
}

ssize_t tls_receive(int fd, char *data, size_t size) {
    struct layer *layer = layers[fd];
    ssize_t got = size > 2 * MOST_RECORD ? 0 : decrypted(layer, data, size); /* left by a reader of little */
    if (got) return got;
    int fetched = fetch(layer, fd, size > 2 * MOST_RECORD ? size - MOST_RECORD : MOST_RECORD);
    if (fetched <= 0) return fetched;
    got = decrypted(layer, data, size);
    return flush(layer, fd) ? CLOSED : got;
}

/* What has come and stays; 0: nothing yet. */
ssize_t tls_peek(int fd, char *data, size_t size) {
    struct layer *layer = layers[fd];
    size_t got = 0;
    if (SSL_peek_ex(layer->ssl, data, size, &got)) return got;
    int fetched = fetch(layer, fd, MOST_RECORD);
    if (fetched <= 0) return fetched;
    if (SSL_peek_ex(layer->ssl, data, size, &got)) return flush(layer, fd) ? CLOSED : (ssize_t)got;
    return flush(layer, fd) || SSL_get_error(layer->ssl, 0) != SSL_ERROR_WANT_READ ? CLOSED : 0;
}

/* Go on with the handshake: 1 when it is done, with the cipher that was meant. */
int tls_shake(int fd) {
    struct layer *layer = layers[fd];
    int fetched = 1, done = SSL_do_handshake(layer->ssl);
    if (done != 1 && !BIO_ctrl_pending(layer->out)) {
        fetched = fetch(layer, fd, MOST_RECORD);
        done = fetched > 0 ? SSL_do_handshake(layer->ssl) : done;
    }
    int failure = done == 1 ? 0 : SSL_get_error(layer->ssl, done);
    if (flush(layer, fd) || fetched < 0 || (failure && failure != SSL_ERROR_WANT_READ)) return CLOSED;
    if (done != 1) return 0;
    return strcmp(SSL_get_cipher_name(layer->ssl), CIPHER) ? WRONG : 1;
}
