/* The floor: the least that any server on one core can pay for one message of the pair chat.
 *
 * It reads with one recv what came, cuts it into WebSocket frames, looks at the first letters and
 * at the id of each, and writes with one send to each of the two sockets what they get for it.
 * It routes by the number in a user's name (0 with 1, 2 with 3 ...), checks nothing, keeps nothing,
 * unmasks nothing: the load's masks are zero. No server to use: only how far down a price can go.
 *
 * build: gcc -O2 -o floor floor.c      run: ./floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 4096, /* even */ BUFFER = 1 << 16, EVENTS = 256, ID = 40 };

struct user {
    int fd, is_open;
    unsigned seat; /* by its name; the other of the pair has the seat beside it */
    size_t in_size, out_size;
    unsigned char in[BUFFER], out[2 * BUFFER];
};

static struct user *seats[MOST];
static struct user *touched[EVENTS * 2 + 2];
static int touched_count;

static void touch(struct user *user) {
    if (!user->out_size) touched[touched_count++] = user;
}

/* Put one unmasked text frame into what `user` gets at the end of this turn. */
static void put(struct user *user, const void *payload, size_t size) {
    if (user == NULL || user->out_size + size + 4 > sizeof user->out) return;
    touch(user);
    unsigned char *to = user->out + user->out_size;
    *to++ = 0x81;
    if (size < 126) {
        *to++ = (unsigned char)size;
    } else {
        *to++ = 126;
        *to++ = (unsigned char)(size >> 8);
        *to++ = (unsigned char)size;
    }
    memcpy(to, payload, size);
    user->out_size = (size_t)(to + size - user->out);
}

/* Answer and hand on one frame: `["auth"` is a login, `["action"` a message, `["Msg"` a receipt. */
static void take(struct user *user, const unsigned char *text, size_t size) {
    static const char authentic[] = "[\"auth\",{\"from\":\"backend\",\"status\":\"success\"}]";
    static const char waiting[] = "[\"q\",{\"data\":\"[[]]\",\"from\":\"backend\"}]";
    if (size < 6) return;
    if (text[2] == 'a' && text[3] == 'u') {
        const unsigned char *name = memmem(text, size, "Jid\":\"", 6);
        if (name == NULL) return;
        user->seat = (unsigned)(strtoull((const char *)name + 6, NULL, 10) % MOST);
        seats[user->seat] = user;
        put(user, authentic, sizeof authentic - 1);
        put(user, waiting, sizeof waiting - 1);
        return;
    }
    if (text[2] == 'a') {
        char ack[256], id[ID] = "";
        const unsigned char *found = memmem(text, size, "\"id\":\"", 6);
        if (found != NULL) {
            size_t n = 0, left = size - (size_t)(found + 6 - text);
            for (found += 6; n < ID - 1 && n < left && found[n] != '"'; n++) id[n] = (char)found[n];
            id[n] = 0;
        }
        int length = snprintf(ack, sizeof ack,
                              "[\"Msg\",{\"id\":\"%s\",\"ack\":1,\"cmd\":\"ack\",\"to\":\"1@c.us\","
                              "\"t\":1566970629,\"from\":\"2@c.us\"}]", id);
        put(user, ack, (size_t)length);
    }
    put(seats[user->seat ^ 1], text, size);
}

static void welcome(struct user *user) {
    static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                   "Connection: Upgrade\r\n\r\n"; /* the load checks no digest */
    unsigned char *end = memmem(user->in, user->in_size, "\r\n\r\n", 4);
    if (end == NULL) return;
    size_t used = (size_t)(end + 4 - user->in);
    memmove(user->in, user->in + used, user->in_size -= used);
    user->is_open = 1;
    touch(user);
    memcpy(user->out + user->out_size, upgraded, sizeof upgraded - 1);
    user->out_size += sizeof upgraded - 1;
}

static void cut(struct user *user) {
    size_t at = 0;
    while (user->in_size - at >= 6) {
        const unsigned char *head = user->in + at;
        size_t size = head[1] & 0x7f, begins = 6;
        if (size == 126) {
            if (user->in_size - at < 8) break;
            size = (size_t)head[2] << 8 | head[3];
            begins = 8;
        }
        if (user->in_size - at < begins + size) break;
        if ((head[0] & 0x0f) == 1) take(user, head + begins, size);
        at += begins + size;
    }
    memmove(user->in, user->in + at, user->in_size -= at);
}

static void leave(struct user *user) {
    if (seats[user->seat] == user) seats[user->seat] = NULL;
    for (int n = 0; n < touched_count; n++)
        if (touched[n] == user) touched[n--] = touched[--touched_count];
    close(user->fd);
    free(user);
}

static void arrive(int listening, int polled) {
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK), yes = 1;
    if (fd < 0) return;
    struct user *user = calloc(1, sizeof *user);
    if (user == NULL) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    user->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = user};
    epoll_ctl(polled, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **arguments) {
    if (count != 2) return fputs("usage: floor PORT\n", stderr), 2;
    int listening = socket(AF_INET, SOCK_STREAM, 0), yes = 1, polled = epoll_create1(0);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024))
        return perror("floor"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(polled, EPOLL_CTL_ADD, listening, &event);
    for (;;) {
        int ready = epoll_wait(polled, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) return perror("floor"), 1;
        for (int n = 0; n < ready; n++) {
            struct user *user = events[n].data.ptr;
            if (user == NULL) {
                arrive(listening, polled);
                continue;
            }
            ssize_t got = recv(user->fd, user->in + user->in_size, BUFFER - user->in_size, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (got <= 0) {
                leave(user);
                continue;
            }
            user->in_size += (size_t)got;
            if (!user->is_open) welcome(user);
            if (user->is_open) cut(user);
        }
        for (int n = 0; n < touched_count; n++) {
            struct user *user = touched[n];
            /* A socket that takes no more would need a queue; the load always reads. */
            if (send(user->fd, user->out, user->out_size, MSG_NOSIGNAL) != (ssize_t)user->out_size)
                fputs("floor: a socket was full; what it should have got is lost\n", stderr);
            user->out_size = 0;
        }
        touched_count = 0;
    }
}
