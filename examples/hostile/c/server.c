/* A hostile program on $PORT: what one run can leave to the next, a channel for each way.
 *
 *   /plant/CHANNEL?secret=HEX   leaves the secret there, or says what denied it
 *   /look/CHANNEL               tells whether a program that runs now sees anything
 *   /answer                     checks that the program still works
 *   /write?kib=N                writes to N KiB of memory, and tells where they are
 *   /stream?mib=N               a reply of N MiB whose every byte is known
 *   /crash                      has a child crash, and tells whether its memory was dumped
 *   /end                        crashes
 *
 *   main ─► before ─► wait ─► head ─► plant or look ─► reply ─┐
 *                      ▲                                      │
 *                      └──────────────── keep-alive ◄─────────┘
 *
 * It has one thread, and the buffers of requests are static, so that a frame far down the stack is nobody else's.
 * $BEFORE names channels whose things are to be there before any run. Deliberately absent: everything that does not
 * serve an attack.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

enum { CONNECTIONS = 16, HEAD_MAX_BYTES = 16 * 1024, BACKLOG = 64, HOLD_MS = 300, STREAM_PIECE_BYTES = 64 * 1024 };

const char *dial_own_port(const struct secret *secret);
const char *write_pages(size_t kib);
const char *crash_child(void);
void crash(void);

struct connection {
    int fd; /* 0: none. */
    size_t used, body_left;
    char bytes[HEAD_MAX_BYTES + 1];
};

static struct connection connections[CONNECTIONS];
static const struct channel *const tables[] = {
    memory_channels, register_channels, file_channels, socket_channels, process_channels, signal_channels,
    sealed_channels,
};
static unsigned calls;
static bool holding;
int listener, current;
bool smuggled;

bool was_before(const char *name) {
    const char *before = getenv("BEFORE"), *at = before;
    size_t length = strlen(name);
    while (at && (at = strstr(at, name))) {
        if ((at == before || at[-1] == ',') && (at[length] == ',' || at[length] == 0))
            return true;
        at += length;
    }
    return false;
}

static const struct channel *channel(const char *name) {
    for (size_t table = 0; table < sizeof tables / sizeof *tables; table++)
        for (const struct channel *one = tables[table]; one->name; one++)
            if (strcmp(one->name, name) == 0)
                return one;
    return NULL;
}

static bool send_all(int fd, const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t sent = send(fd, next, length, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (sent <= 0)
            return false;
        next += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool last; /* The caller is to use this connection no more. */

static bool reply(int fd, int status, const char *told) {
    static char text[1024], body[512];
    int length = snprintf(body, sizeof body, "{\"pid\":%d,\"calls\":%u,\"told\":\"%s\"}\n", getpid(), calls, told);
    int whole = snprintf(text, sizeof text,
                         "HTTP/1.1 %d x\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s", status,
                         last ? "connection: close\r\n" : "", length, body);
    last = false;
    return send_all(fd, text, (size_t)whole);
}

static bool parse(const char *query, struct secret *secret) {
    const char *at = query ? strstr(query, "secret=") : NULL;
    if (!at || strspn(at + 7, "0123456789abcdef") < 2 * SECRET_BYTES)
        return false;
    memcpy(secret->hex, at + 7, 2 * SECRET_BYTES);
    secret->hex[2 * SECRET_BYTES] = 0;
    for (int byte = 0; byte < SECRET_BYTES; byte++)
        sscanf(secret->hex + 2 * byte, "%2hhx", &secret->bytes[byte]);
    return true;
}

/* A channel of replies rather than of state: what the caller reads next is not its own. */
static bool plant_reply(struct connection *c, const char *name, const struct secret *secret) {
    char text[64];
    snprintf(text, sizeof text, "smuggled %s", secret->hex);
    if (strcmp(name, "late-reply") == 0)
        return reply(c->fd, 200, "planted") && reply(c->fd, 200, text);
    if (strcmp(name, "late-bytes") == 0)
        return reply(c->fd, 200, "planted") && send_all(c->fd, text, strlen(text));
    if (strcmp(name, "smuggled") == 0) {
        /* The request's body is the next request, says this server. */
        c->body_left = 0;
        return reply(c->fd, 200, "planted");
    }
    if (strcmp(name, "output") == 0) {
        /* A line that does not end. */
        bool failed = write(1, secret->hex, 2 * SECRET_BYTES) < 0;
        return reply(c->fd, 200, planted(failed));
    }
    return reply(c->fd, 404, "no such channel");
}

static bool plant(struct connection *c, const char *name, const char *query) {
    static struct secret secret;
    if (!parse(query, &secret))
        return reply(c->fd, 400, "say ?secret= with 32 hexadecimal digits");
    const struct channel *one = channel(name);
    last = strcmp(name, "half-read") == 0;
    bool sent = one ? reply(c->fd, 200, one->plant(&secret)) : plant_reply(c, name, &secret);
    if (strcmp(name, "own-backlog") == 0) {
        dial_own_port(&secret);
        holding = true;
    }
    if (strcmp(name, "half-read") == 0)
        c->fd = 0; /* Open, and forgotten. */
    explicit_bzero(&secret, sizeof secret);
    return sent;
}

static bool look(struct connection *c, const char *name) {
    const struct channel *one = channel(name);
    if (one)
        return reply(c->fd, 200, one->look());
    return reply(c->fd, 200, clean());
}

static bool stream(int fd, const char *query) {
    static uint8_t piece[STREAM_PIECE_BYTES];
    size_t length = (size_t)atoi(query ? query + strlen("mib=") : "1") << 20, at = 0;
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 x\r\ncontent-length: %zu\r\n\r\n", length);
    if (!send_all(fd, head, strlen(head)))
        return false;
    for (; at < length; at += sizeof piece) {
        for (size_t byte = 0; byte < sizeof piece; byte++)
            piece[byte] = (uint8_t)((at + byte) * 2654435761u >> 24);
        if (!send_all(fd, piece, sizeof piece))
            return false;
    }
    return true;
}

/* Memory, files, time and signals, as any program uses them. */
static const char *works(void) {
    char *block = malloc(300000);
    int fd = open(SCRATCH "/works", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), pair[2];
    bool well = block && fd >= 0 && write(fd, "works", 5) == 5 && pipe2(pair, O_CLOEXEC) == 0;
    if (block)
        memset(block, 7, 300000);
    free(block);
    if (fd >= 0)
        close(fd);
    if (well) {
        close(pair[0]);
        close(pair[1]);
    }
    unlink(SCRATCH "/works");
    return well ? "works" : "broken";
}

static bool answer(struct connection *c, char *path) {
    char *query = strchr(path, '?');
    if (query)
        *query++ = 0;
    calls++;
    current = c->fd;
    if (strncmp(path, "/plant/", 7) == 0)
        return plant(c, path + 7, query);
    if (strncmp(path, "/look/", 6) == 0)
        return look(c, path + 6);
    if (strcmp(path, "/stream") == 0)
        return stream(c->fd, query);
    if (strcmp(path, "/crash") == 0)
        return reply(c->fd, 200, crash_child());
    if (strcmp(path, "/end") == 0)
        crash();
    if (strcmp(path, "/write") == 0)
        return reply(c->fd, 200, write_pages((size_t)atoi(query ? query + strlen("kib=") : "4")));
    if (strcmp(path, "/smuggled") == 0) {
        smuggled = true;
        return reply(c->fd, 200, query ? query : "smuggled");
    }
    return reply(c->fd, 200, strcmp(path, "/answer") == 0 ? works() : "no such path");
}

static void drop(struct connection *c) {
    close(c->fd);
    c->fd = 0;
    c->used = c->body_left = 0;
}

/* Answers whole requests of what was read; false where the connection is to end. */
static bool advance(struct connection *c) {
    while (c->fd != 0) {
        size_t skipped = c->body_left < c->used ? c->body_left : c->used;
        memmove(c->bytes, c->bytes + skipped, c->used - skipped);
        c->used -= skipped;
        c->body_left -= skipped;
        c->bytes[c->used] = 0;
        char *end = strstr(c->bytes, "\r\n\r\n");
        if (!end || c->body_left > 0)
            return c->used < HEAD_MAX_BYTES;
        *end = 0;
        static char path[512];
        char *length = strcasestr(c->bytes, "\r\ncontent-length:");
        c->body_left = length ? strtoull(length + 17, NULL, 10) : 0;
        if (sscanf(c->bytes, "%*s %511s", path) != 1)
            return false;
        size_t head = (size_t)(end + 4 - c->bytes);
        memmove(c->bytes, c->bytes + head, c->used - head);
        c->used -= head;
        bool chunked = strcasestr(c->bytes, "transfer-encoding") != NULL;
        if (!answer(c, path) || chunked)
            return false;
    }
    return true;
}

static void serve(struct connection *c) {
    ssize_t got = recv(c->fd, c->bytes + c->used, HEAD_MAX_BYTES - c->used, 0);
    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0)
        return drop(c);
    c->used += (size_t)got;
    if (!advance(c))
        drop(c);
}

static void take(void) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int at = 0; at < CONNECTIONS; at++)
        if (connections[at].fd == 0) {
            connections[at].fd = fd;
            connections[at].used = connections[at].body_left = 0;
            return;
        }
    close(fd);
}

static void bind_to(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at)) {
        perror("this server cannot have $PORT");
        exit(1);
    }
}

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(int count, char **argument) {
    const char *port = getenv("PORT");
    /* Outside of any sandbox, as a control. */
    if (count > 1 && strcmp(argument[1], "crash") == 0)
        crash();
    signal(SIGTERM, end);
    bind_to(port ? atoi(port) : 8080);
    for (size_t table = 0; table < sizeof tables / sizeof *tables; table++)
        for (const struct channel *one = tables[table]; one->name; one++)
            if (one->before && was_before(one->name))
                one->before();
    /* Last, since it says that the program is ready. */
    if (listen(listener, BACKLOG))
        return 1;
    for (;;) {
        struct pollfd ready[CONNECTIONS + 1] = {{.fd = holding ? -1 : listener, .events = POLLIN}};
        for (int at = 0; at < CONNECTIONS; at++)
            ready[at + 1] = (struct pollfd){.fd = connections[at].fd ? connections[at].fd : -1, .events = POLLIN};
        int count = poll(ready, CONNECTIONS + 1, holding ? HOLD_MS : -1);
        holding = holding && count != 0;
        if (count <= 0)
            continue;
        for (int at = 0; at < CONNECTIONS; at++)
            if (ready[at + 1].revents)
                serve(&connections[at]);
        if (ready[0].revents)
            take();
    }
}
