/* One message to and fro, again and again; the sockets block. Returns how many round trips (in microseconds). */
#include "link.h"
#include <sys/socket.h>

static int exchange(int from, const char *data, size_t size, int to, size_t wanted) {
    if (send(from, data, size, MSG_NOSIGNAL) != (ssize_t)size) return CLOSED;
    return recv(to, scratch, wanted, MSG_WAITALL) == (ssize_t)wanted ? 0 : CLOSED;
}

int ping_pong(int left, int right, const char *ping, int ping_size, int ping_comes, const char *pong, int pong_size,
              int pong_comes, double seconds, double *samples, int most) {
    int count = 0;
    for (double end = now() + seconds; count < most && now() < end; count++) {
        double begin = now();
        if (exchange(left, ping, ping_size, right, ping_comes)) return CLOSED;
        if (exchange(right, pong, pong_size, left, pong_comes)) return CLOSED;
        samples[count] = (now() - begin) * 1e6;
    }
    return count;
}
