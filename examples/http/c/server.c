/* A static HTTP/1.1 server without dependencies: the smallest program on $PORT.
 *
 *   main ─► accept ─► a thread for each connection: head ─► guest ─► body ─┐
 *                                       ▲                                  │
 *                                       └────────── keep-alive ◄───────────┘
 *
 * Which guest answers is named by the path (`/counter`), or for `/` by the variable GUEST. It listens
 * at all addresses, or at the one that BIND names. Its random numbers are its own (`/random`), so it
 * has itself told when it was put back to an earlier state (docs/restored.md). Deliberately absent:
 * TLS, HTTP/2, files.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_MAX_BYTES = 32 * 1024,
    HEADERS_MAX = 128,
    PIECE_MAX_BYTES = 16 * 1024,
    STACK_BYTES = 256 * 1024,
    SLOW_S = 120,
    HOG_PIECE_BYTES = 1024 * 1024,
    STREAM_PIECES = 5,
    STREAM_PAUSE_MS = 20,
};

struct header {
    const char *name;
    const char *value;
};

/* A connection and the request on it. Texts point into `head`. */
struct request {
    int socket;
    const char *method;
    const char *path;
    struct header headers[HEADERS_MAX];
    size_t header_count;
    bool close;          /* The connection ends behind the reply. */
    bool chunked;        /* The body comes in chunks, */
    bool last_chunk;     /* of which the last one was seen, */
    unsigned long long left; /* and this much is left of the chunk, or of the whole body. */
    bool expects;        /* The caller waits for a 100 before it sends the body. */
    char head[HEAD_MAX_BYTES + 1];
    char buffer[HEAD_MAX_BYTES];
    size_t begin, end;   /* What of the buffer was not used yet. */
};

static atomic_ulong counter;

/* A generator in user space (SplitMix64), which would go on from the same place after a put-back. */
static atomic_ullong random_state;

static unsigned long long next_random(void) {
    unsigned long long z = atomic_fetch_add(&random_state, 0x9e3779b97f4a7c15) + 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* Seeds it, and declares that this is done again after each put-back. The descriptor, or -1. */
static int restored_begin(void) {
    const char *number = getenv("USHER_RESTORED_FD");
    unsigned long long seed = 0;
    getrandom(&seed, sizeof seed, 0);
    atomic_store(&random_state, seed);
    if (!number || send(atoi(number), "USHER-1H", 8, MSG_NOSIGNAL) != 8)
        return -1;
    return atoi(number);
}

/* Reads that this program was put back, seeds it anew, and answers. False when nobody is there. */
static bool restored(int descriptor) {
    struct {
        char head[8];
        unsigned long long generation, entropy[6];
    } told;
    if (recv(descriptor, &told, sizeof told, MSG_WAITALL) != sizeof told)
        return false;
    atomic_store(&random_state, told.entropy[0] ^ told.entropy[1]);
    memcpy(told.head, "USHER-1A", 8);
    return send(descriptor, &told, 16, MSG_NOSIGNAL) == 16;
}

/* Everything or nothing: false where the caller is gone. */
static bool send_all(int socket, const void *bytes, size_t length) {
    const char *next = bytes;
    while (length > 0) {
        ssize_t sent = send(socket, next, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        next += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool send_text(int socket, const char *text) {
    return send_all(socket, text, strlen(text));
}

/* Fills the buffer; false at the end of the connection. */
static bool fill(struct request *r) {
    if (r->begin == r->end)
        r->begin = r->end = 0;
    if (r->end == sizeof r->buffer) {
        memmove(r->buffer, r->buffer + r->begin, r->end - r->begin);
        r->end -= r->begin;
        r->begin = 0;
        if (r->end == sizeof r->buffer)
            return false;
    }
    for (;;) {
        ssize_t got = recv(r->socket, r->buffer + r->end, sizeof r->buffer - r->end, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        r->end += (size_t)got;
        return true;
    }
}

/* The next line without its end, copied; -1 where there is none, or it is too long. */
static int read_line(struct request *r, char *line, size_t room) {
    size_t length = 0;
    for (;;) {
        while (r->begin < r->end) {
            char byte = r->buffer[r->begin++];
            if (byte == '\n') {
                if (length > 0 && line[length - 1] == '\r')
                    length--;
                line[length] = 0;
                return (int)length;
            }
            if (length + 1 >= room || byte == 0)
                return -1;
            line[length++] = byte;
        }
        if (!fill(r))
            return -1;
    }
}

/* The last header of a name, and how many there are. */
static size_t find(const struct request *r, const char *name, const char **value) {
    size_t count = 0;
    *value = NULL;
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) {
            *value = r->headers[i].value;
            count++;
        }
    return count;
}

/* A number of digits only, in base 10 or 16; false for anything else and for what is too large. */
static bool number(const char *text, int base, unsigned long long *value) {
    const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
    size_t length = strspn(text, digits);
    if (length == 0 || length > 15 || (text[length] != 0 && !(base == 16 && text[length] == ';')))
        return false;
    *value = strtoull(text, NULL, base);
    return true;
}

/* What the head says about the body and the connection; false where it contradicts itself. */
static bool frame(struct request *r, const char *version) {
    const char *length, *coding, *connection, *expect;
    size_t framings = find(r, "content-length", &length) + find(r, "transfer-encoding", &coding);
    find(r, "connection", &connection);
    find(r, "expect", &expect);
    bool old = strcmp(version, "HTTP/1.1") != 0;
    r->close = old || (connection && strcasestr(connection, "close"));
    r->chunked = coding != NULL;
    r->last_chunk = false;
    r->left = 0;
    r->expects = expect && strcasecmp(expect, "100-continue") == 0;
    if (framings > 1 || (coding && (old || strcasecmp(coding, "chunked") != 0)))
        return false;
    return !length || number(length, 10, &r->left);
}

/* Reads a head. 0: the connection ended between two requests; else the status that is to be said. */
static int read_head(struct request *r) {
    size_t used = 0;
    char *line = r->head;
    int length;
    do { /* Blank lines before a request are passed over (RFC 9112, 2.2), but not for ever. */
        if (++used > 8)
            return 400;
        length = read_line(r, line, sizeof r->head);
    } while (length == 0);
    if (length < 0)
        return 0;
    char *place = NULL;
    r->method = strtok_r(line, " ", &place);
    r->path = strtok_r(NULL, " ", &place);
    const char *version = strtok_r(NULL, " ", &place);
    if (!r->method || !r->path || !version || strncmp(version, "HTTP/1.", 7) != 0)
        return 400;
    used = (size_t)length + 1;
    r->header_count = 0;
    for (;;) {
        line = r->head + used;
        length = read_line(r, line, sizeof r->head - used);
        if (length == 0)
            return frame(r, version) ? 200 : 400;
        if (length < 0 || r->header_count == HEADERS_MAX)
            return 431;
        char *colon = strchr(line, ':');
        if (!colon || colon == line || strchr(" \t", colon[-1]))
            return 400;
        *colon = 0;
        r->headers[r->header_count].name = line;
        r->headers[r->header_count++].value = colon + 1 + strspn(colon + 1, " \t");
        used += (size_t)length + 1;
    }
}

/* The next piece of a body that the caller sends: its length, 0 at its end, -1 where it breaks off. */
static long read_body(struct request *r, char *piece, size_t room) {
    char line[256];
    if (r->left == 0 && r->chunked && !r->last_chunk) {
        if (read_line(r, line, sizeof line) < 0 || !number(line, 16, &r->left))
            return -1;
        if (r->left == 0) {
            int length;
            while ((length = read_line(r, line, sizeof line)) > 0)
                ; /* Trailers. */
            if (length < 0)
                return -1;
            r->last_chunk = true;
        }
    }
    if (r->left == 0)
        return 0;
    if (r->begin == r->end && !fill(r))
        return -1;
    size_t length = r->end - r->begin;
    if (length > room)
        length = room;
    if (length > r->left)
        length = (size_t)r->left;
    memcpy(piece, r->buffer + r->begin, length);
    r->begin += length;
    r->left -= length;
    if (r->chunked && r->left == 0 && (read_line(r, line, sizeof line) != 0))
        return -1;
    return (long)length;
}

static bool reply(struct request *r, const char *status, const char *type, const char *body) {
    char head[512];
    bool bodiless = r->method && strcmp(r->method, "HEAD") == 0;
    size_t bytes = strlen(body);
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n%s\r\n",
                          status, type, bytes, r->close ? "connection: close\r\n" : "");
    if (bodiless)
        return send_all(r->socket, head, (size_t)length);
    /* Small replies go out in one piece. */
    if ((size_t)length + bytes <= sizeof head) {
        memcpy(head + length, body, bytes);
        return send_all(r->socket, head, (size_t)length + bytes);
    }
    return send_all(r->socket, head, (size_t)length) && send_all(r->socket, body, bytes);
}

static bool send_chunk(int socket, const char *piece, size_t length) {
    char size[32];
    int digits = snprintf(size, sizeof size, "%zx\r\n", length);
    return send_all(socket, size, (size_t)digits) && send_all(socket, piece, length) &&
           send_text(socket, "\r\n");
}

static bool chunked_head(struct request *r) {
    return send_text(r->socket, "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
                                "transfer-encoding: chunked\r\n") &&
           send_text(r->socket, r->close ? "connection: close\r\n\r\n" : "\r\n");
}

/* Sends the body back, piece by piece as it comes, the head before all of it. */
static bool echo(struct request *r) {
    char piece[PIECE_MAX_BYTES];
    long length;
    if (strcmp(r->method, "HEAD") == 0)
        return reply(r, "200 OK", "text/plain", "");
    /* The head of the reply must not come before this. */
    if (r->expects && !send_text(r->socket, "HTTP/1.1 100 Continue\r\n\r\n"))
        return false;
    r->expects = false;
    if (!chunked_head(r))
        return false;
    while ((length = read_body(r, piece, sizeof piece)) > 0)
        if (!send_chunk(r->socket, piece, (size_t)length))
            return false;
    return length == 0 && send_text(r->socket, "0\r\n\r\n");
}

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

static bool stream(struct request *r) {
    char piece[32];
    if (!chunked_head(r))
        return false;
    for (int i = 0; i < STREAM_PIECES; i++) {
        int length = snprintf(piece, sizeof piece, "piece %d\n", i);
        if (!send_chunk(r->socket, piece, (size_t)length))
            return false;
        pause_ms(STREAM_PAUSE_MS);
    }
    return send_text(r->socket, "0\r\n\r\n");
}

static size_t quote(char *to, const char *text) {
    size_t length = 0;
    to[length++] = '"';
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\' || byte < ' ' || byte > '~')
            length += (size_t)sprintf(to + length, "\\u%04x", byte);
        else
            to[length++] = (char)byte;
    }
    to[length++] = '"';
    to[length] = 0;
    return length;
}

static bool headers(struct request *r) {
    /* Six characters for each byte of the head, at most, and some between them. */
    char *json = malloc(6 * HEAD_MAX_BYTES + 8 * HEADERS_MAX + 8);
    size_t length = 0;
    if (!json)
        return false;
    json[length++] = '{';
    for (size_t i = 0; i < r->header_count; i++) {
        if (i > 0)
            json[length++] = ',';
        length += quote(json + length, r->headers[i].name);
        json[length++] = ':';
        length += quote(json + length, r->headers[i].value);
    }
    json[length++] = '}';
    json[length] = 0;
    bool sent = reply(r, "200 OK", "application/json", json);
    free(json);
    return sent;
}

/* Takes memory and writes to it until there is none, or the system puts an end to it. */
static void hog(void) {
    for (;;) {
        void *piece = mmap(NULL, HOG_PIECE_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (piece == MAP_FAILED)
            abort();
        memset(piece, 0x55, HOG_PIECE_BYTES);
    }
}

static bool is(const char *guest, const char *name) {
    size_t length = strcspn(guest, "?");
    return strlen(name) == length && strncmp(guest, name, length) == 0;
}

static bool answer(struct request *r) {
    char text[32];
    const char *guest = r->path[0] == '/' ? r->path + 1 : r->path;
    if (is(guest, "")) {
        guest = getenv("GUEST");
        if (!guest || !*guest)
            guest = "hello";
    }
    if (is(guest, "hello"))
        return reply(r, "200 OK", "text/plain", "hello from C\n");
    if (is(guest, "counter")) {
        snprintf(text, sizeof text, "%lu", atomic_fetch_add(&counter, 1) + 1);
        return reply(r, "200 OK", "text/plain", text);
    }
    if (is(guest, "random")) {
        snprintf(text, sizeof text, "%016llx", next_random());
        return reply(r, "200 OK", "text/plain", text);
    }
    if (is(guest, "echo"))
        return echo(r);
    if (is(guest, "stream"))
        return stream(r);
    if (is(guest, "headers"))
        return headers(r);
    if (is(guest, "slow")) {
        puts("begun");
        fflush(stdout);
        pause_ms(SLOW_S * 1000L);
        return reply(r, "200 OK", "text/plain", "at last\n");
    }
    if (is(guest, "trap") || is(guest, "crash"))
        abort();
    if (is(guest, "exit"))
        _exit(3);
    if (is(guest, "hog"))
        hog();
    if (is(guest, "spin"))
        for (volatile unsigned long turns = 0;; turns++)
            ;
    return reply(r, "404 Not Found", "text/plain", "no such guest\n");
}

static void *serve(void *given) {
    struct request *r = given;
    char piece[PIECE_MAX_BYTES];
    int status;
    while ((status = read_head(r)) == 200) {
        if (!answer(r))
            break;
        long length = 0;
        /* A body that nobody wanted lies between this request and the next. Where the caller waits
         * for a 100 it has not been sent. */
        if (r->expects)
            break;
        while ((length = read_body(r, piece, sizeof piece)) > 0)
            ;
        if (length < 0 || r->close)
            break;
    }
    if (status == 400 || status == 431) {
        r->method = NULL;
        r->close = true;
        reply(r, status == 400 ? "400 Bad Request" : "431 Request Header Fields Too Large",
              "text/plain", "this is not a request\n");
    }
    shutdown(r->socket, SHUT_WR);
    close(r->socket);
    free(r);
    return NULL;
}

static int listen_at(const char *address, int port) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    bool old = inet_pton(AF_INET, address, &four.sin_addr) == 1;
    if (!old && inet_pton(AF_INET6, address, &six.sin6_addr) != 1)
        return -1;
    int on = 1, listener = socket(old ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if ((old ? bind(listener, (struct sockaddr *)&four, sizeof four)
             : bind(listener, (struct sockaddr *)&six, sizeof six)) != 0 ||
        listen(listener, SOMAXCONN) != 0) {
        close(listener);
        return -1;
    }
    return listener;
}

/* Without this a first process of a sandbox would not hear SIGTERM. */
static void end(int signal) {
    (void)signal;
    _exit(0);
}

int main(void) {
    const char *port = getenv("PORT"), *address = getenv("BIND");
    signal(SIGTERM, end);
    int listener = listen_at(address ? address : "0.0.0.0", port ? atoi(port) : 8080);
    if (listener < 0) {
        perror("this server cannot listen at $BIND and $PORT");
        return 1;
    }
    /* A negative descriptor is one that is not looked at. */
    struct pollfd ready[] = {{.fd = listener, .events = POLLIN},
                             {.fd = restored_begin(), .events = POLLIN}};
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (;;) {
        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[1].revents && !restored(ready[1].fd))
            ready[1].fd = -1;
        if (!ready[0].revents)
            continue;
        int on = 1, accepted = accept(listener, NULL, NULL);
        if (accepted < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
                pause_ms(STREAM_PAUSE_MS);
            continue;
        }
        setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct request *r = calloc(1, sizeof *r);
        pthread_t thread;
        if (!r) {
            close(accepted);
            continue;
        }
        r->socket = accepted;
        if (pthread_create(&thread, &attributes, serve, r) != 0) {
            close(accepted);
            free(r);
        }
    }
}
