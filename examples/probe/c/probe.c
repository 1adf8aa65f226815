/* Plants a marker in every kind of state that a program has, or looks for one in all that it can reach.
 *
 * - `?plant=HEX` (32 digits) writes the marker to a static, the heap (held and freed), the stack, a new mapping, the
 *   environment, a register, a file in /tmp and one in shared memory, a pipe, the process's name.
 * - `?seek=HEX` counts the marker in all memory that can be read, and in those other places.
 *
 * Both answer JSON. What is planted is the marker with each byte XORed by MASK; that form stands in no request, so what
 * is found was planted. It runs on any platform for programs that listen on $PORT. One connection is served at a time,
 * and ends with its reply.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MASK = 0xa5, MARKER_BYTES = 16, PLACE_BYTES = 64, FREED_BYTES = 1008, DEEP_BYTES = 128 * 1024, PIPE = 100 };

#define FOLDER "/tmp"
#define SCRATCH FOLDER "/left-behind"
#define SHARED "/dev/shm/left-behind"

typedef struct {
    uint8_t sent[MARKER_BYTES];
} marker_t;

static uint8_t static_place[PLACE_BYTES];
static unsigned calls;
static char request[8192];

static bool parse(const char *text, const char *verb, marker_t *marker) {
    const char *at = strstr(text, verb);
    if (!at || strspn(at + strlen(verb), "0123456789abcdef") < 2 * MARKER_BYTES)
        return false;
    for (int byte = 0; byte < MARKER_BYTES; byte++)
        sscanf(at + strlen(verb) + 2 * byte, "%2hhx", &marker->sent[byte]);
    return true;
}

/* Volatile, so that no write is found to be useless. */
static void fill(const marker_t *marker, volatile uint8_t *place, size_t length) {
    for (size_t at = 0; at < length; at++)
        place[at] = marker->sent[at % MARKER_BYTES] ^ MASK;
}

static unsigned count(const marker_t *marker, const volatile uint8_t *place, size_t length) {
    unsigned found = 0;
    for (size_t at = 0; at + MARKER_BYTES <= length; at++) {
        size_t same = 0;
        while (same < MARKER_BYTES && (place[at + same] ^ MASK) == marker->sent[same])
            same++;
        found += same == MARKER_BYTES;
    }
    return found;
}

/* A frame that has returned: what it held stays below the stack pointer. */
static __attribute__((noinline)) void plant_stack(const marker_t *marker) {
    volatile uint8_t frame[DEEP_BYTES];
    fill(marker, frame, PLACE_BYTES);
}

static void plant_heap(const marker_t *marker) {
    uint8_t *held = malloc(PLACE_BYTES), *freed = malloc(FREED_BYTES);
    if (!held || !freed)
        abort();
    fill(marker, held, PLACE_BYTES);
    fill(marker, freed, FREED_BYTES);
    free(freed);
}

static void plant_map(const marker_t *marker) {
    uint8_t *at = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED)
        fill(marker, at, PLACE_BYTES);
}

static void plant_file(const char *path, const uint8_t *planted) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd >= 0 && write(fd, planted, MARKER_BYTES) < 0)
        unlink(path);
    close(fd);
}

static void plant(const marker_t *marker) {
    uint8_t planted[MARKER_BYTES];
    char hex[2 * MARKER_BYTES + 1];
    int ends[2];
    fill(marker, planted, MARKER_BYTES);
    for (int at = 0; at < MARKER_BYTES; at++)
        sprintf(hex + 2 * at, "%02x", planted[at]);
    fill(marker, static_place, PLACE_BYTES);
    plant_heap(marker);
    plant_stack(marker);
    plant_map(marker);
    plant_file(SCRATCH, planted);
    plant_file(SHARED, planted);
    setenv("LEFT_BEHIND", hex, 1);
    prctl(PR_SET_NAME, hex);
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0 && dup2(ends[0], PIPE) == PIPE && write(ends[1], planted, 16) < 0)
        abort();
    __asm__ volatile("movdqu (%0), %%xmm15" : : "r"(planted));
}

/* All memory that can be read, but for this function's own few bytes, which have the form that was sent. */
static unsigned in_memory(const marker_t *marker) {
    char line[256];
    unsigned found = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char readable;
        /* The kernel's own pages hold clocks. */
        if (sscanf(line, "%lx-%lx %c", &from, &to, &readable) == 3 && readable == 'r' && !strstr(line, "[v"))
            found += count(marker, (const volatile uint8_t *)from, to - from);
    }
    if (maps)
        fclose(maps);
    return found;
}

static unsigned in_file(const marker_t *marker, const char *path) {
    uint8_t bytes[MARKER_BYTES];
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : PIPE;
    unsigned found = fd >= 0 && read(fd, bytes, sizeof bytes) == sizeof bytes && count(marker, bytes, sizeof bytes);
    if (path && fd >= 0)
        close(fd);
    explicit_bzero(bytes, sizeof bytes);
    return found;
}

static unsigned hits(const marker_t *marker) {
    uint8_t in_register[MARKER_BYTES];
    char name[17] = {0};
    __asm__ volatile("movdqu %%xmm15, (%0)" : : "r"(in_register) : "memory");
    unsigned found = count(marker, in_register, sizeof in_register);
    explicit_bzero(in_register, sizeof in_register);
    prctl(PR_GET_NAME, name);
    found += in_memory(marker) + in_file(marker, SCRATCH) + in_file(marker, SHARED) + in_file(marker, NULL);
    return found + (getenv("LEFT_BEHIND") != NULL) + (strlen(name) == 15);
}

static void answer(int fd, const char *status, const char *body) {
    char head[256];
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n",
                          status, strlen(body));
    /* A caller that has gone gets nothing. */
    if (send(fd, head, (size_t)length, MSG_NOSIGNAL) == length)
        send(fd, body, strlen(body), MSG_NOSIGNAL);
}

static void serve(int fd) {
    size_t used = 0;
    while (used < sizeof request - 1 && !strstr(request, "\r\n\r\n")) {
        ssize_t got = recv(fd, request + used, sizeof request - 1 - used, 0);
        if (got <= 0)
            return;
        used += (size_t)got;
        request[used] = 0;
    }
    marker_t marker;
    char json[128];
    bool planting = parse(request, "?plant=", &marker);
    if (!planting && !parse(request, "?seek=", &marker))
        return answer(fd, "400 Bad Request", "say ?plant=HEX or ?seek=HEX with 32 hexadecimal digits\n");
    calls++;
    if (planting)
        plant(&marker);
    snprintf(json, sizeof json, "{\"planted\":%s,\"hits\":%u,\"counter\":%u}\n", planting ? "true" : "false",
             hits(&marker), calls);
    answer(fd, "200 OK", json);
}

/* Without this the first process of a sandbox would not hear SIGTERM. */
static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(port ? atoi(port) : 8080))};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    signal(SIGTERM, end);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 64)) {
        perror("the probe cannot listen at $PORT");
        return 1;
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        serve(fd);
        memset(request, 0, sizeof request);
        close(fd);
    }
}
