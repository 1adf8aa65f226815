/* A server that reads the generation page, and does to it what a hostile program would.

   /read            what the page says now, by each way to read it
   /write           tries everything that could change it, and names what it could
   /write-own       the same with a file of its own
   anything else    changes its own hold on it, for the run after */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define SCRATCH "/tmp"
static const char *path;
static int held, calls;
static const volatile unsigned char *mapped;
static unsigned char *own;
/* What the page said when the program started. */
static unsigned long long first;

static unsigned long long number(const volatile unsigned char *at) {
    unsigned long long value;
    memcpy(&value, (const void *)at, sizeof value);
    return value;
}

static int put(char *to, const char *name, const unsigned char *page) {
    int length = sprintf(to, "%s %llu %llu ", name, number(page), number(page + 8));
    for (int i = 16; i < 64; i++)
        length += sprintf(to + length, "%02x", page[i]);
    int rest = 0;
    for (int i = 64; i < PAGE; i++)
        rest |= page[i];
    return length + sprintf(to + length, " %d\n", rest);
}

static int read_all(char *to) {
    unsigned char page[PAGE];
    int length = sprintf(to, "calls %d\nfirst %llu\n", ++calls, first);
    memcpy(page, (const void *)mapped, PAGE);
    length += put(to + length, "mapped", page);
    memcpy(page, own, PAGE);
    length += put(to + length, "own", page);
    if (pread(held, page, PAGE, 0) == PAGE)
        length += put(to + length, "held", page);
    int again = open(path, O_RDONLY | O_CLOEXEC);
    if (read(again, page, PAGE) == PAGE)
        length += put(to + length, "opened", page);
    close(again);
    return length;
}

static void *map(int protection, int flags, int file) {
    void *at = mmap(NULL, PAGE, protection, flags, file, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Names what succeeded; nothing of this may. */
static int write_all(char *to) {
    int length = sprintf(to, "could:");
#define TRY(name, done) \
    if (done) length += sprintf(to + length, " %s", name)
    char byte = 1;
    struct iovec piece = {&byte, 1};
    struct iovec there = {(void *)mapped, 1};
    TRY("open-write", open(path, O_RDWR) >= 0);
    TRY("open-append", open(path, O_WRONLY | O_APPEND) >= 0);
    TRY("open-truncate", open(path, O_RDONLY | O_TRUNC) >= 0);
    TRY("reopen", open("/proc/self/fd/9", O_RDWR) >= 0);
    TRY("truncate", truncate(path, 0) == 0);
    TRY("ftruncate", ftruncate(held, 0) == 0);
    TRY("punch", fallocate(held, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0);
    TRY("pwrite", pwrite(held, &byte, 1, 0) == 1);
    TRY("map-write", map(PROT_READ | PROT_WRITE, MAP_SHARED, held) != NULL);
    TRY("protect", mprotect((void *)mapped, PAGE, PROT_READ | PROT_WRITE) == 0);
    TRY("execute", mprotect((void *)mapped, PAGE, PROT_READ | PROT_EXEC) == 0);
    TRY("remove", madvise((void *)mapped, PAGE, MADV_REMOVE) == 0);
    TRY("poke", process_vm_writev(getpid(), &piece, 1, &there, 1, 0) == 1);
    int memory = open("/proc/self/mem", O_RDWR);
    TRY("memory", memory >= 0 && pwrite(memory, &byte, 1, (off_t)mapped) == 1);
    close(memory);
    TRY("chmod", chmod(path, 0666) == 0);
    TRY("fchmod", fchmod(held, 0666) == 0);
    TRY("chown", chown(path, getuid(), getgid()) == 0);
    TRY("times", utimes(path, NULL) == 0);
    TRY("unlink", unlink(path) == 0);
    TRY("rename", rename(SCRATCH "/other", path) == 0);
    TRY("link", link(path, SCRATCH "/link") == 0);
    TRY("cover", mount("none", path, NULL, MS_BIND, NULL) == 0);
    TRY("uncover", umount(path) == 0);
    TRY("seal", fcntl(held, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    TRY("lease", fcntl(held, F_SETLEASE, F_RDLCK) == 0);
#undef TRY
    return length + sprintf(to + length, "\n");
}

static int write_own(char *to) {
    path = SCRATCH "/own";
    held = dup2(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), 9);
    if (ftruncate(held, PAGE) != 0)
        return 0;
    mapped = map(PROT_READ, MAP_SHARED, held);
    return write_all(to);
}

static int answer(const char *what, char *to) {
    if (strcmp(what, "read") == 0)
        return read_all(to);
    if (strcmp(what, "write") == 0)
        return write_all(to);
    if (strcmp(what, "write-own") == 0)
        return write_own(to);
    int well = 1;
    void *at = (void *)mapped;
    if (strcmp(what, "unmap") == 0)
        well = munmap(at, PAGE) == 0;
    else if (strcmp(what, "remap") == 0) {
        well = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at;
        memset(at, 7, PAGE);
    } else if (strcmp(what, "moved") == 0)
        well = mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)at + 64 * PAGE) != MAP_FAILED;
    else if (strcmp(what, "shut") == 0)
        well = mprotect(at, PAGE, PROT_NONE) == 0;
    else if (strcmp(what, "private") == 0) {
        /* A copy of its own in the place of the real one. */
        well = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, held, 0) == at;
        memset(at, 7, PAGE);
    } else if (strcmp(what, "dropped") == 0)
        well = madvise(at, PAGE, MADV_DONTNEED) == 0;
    else if (strcmp(what, "open") == 0) {
        int more = open(path, O_RDONLY);
        well = more >= 0 && dup(more) >= 0 && map(PROT_READ, MAP_SHARED, more) != NULL;
    } else if (strcmp(what, "locked") == 0)
        well = flock(held, LOCK_SH) == 0;
    else if (strcmp(what, "offset") == 0)
        well = lseek(held, 100, SEEK_SET) == 100;
    else if (strcmp(what, "exchanged") == 0)
        well = dup2(open("/dev/zero", O_RDONLY | O_CLOEXEC), held) == held;
    else if (strcmp(what, "child") == 0) {
        pid_t child = fork();
        while (child == 0)
            pause();
        well = child > 0;
    } else
        well = 0;
    return sprintf(to, "%s\n", well ? "done" : strerror(errno));
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(getenv("PORT")))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    path = getenv("USHER_GENERATION") ? getenv("USHER_GENERATION") : "/opt/usher/generation";
    held = fcntl(open(path, O_RDONLY), F_DUPFD, 9);
    mapped = map(PROT_READ, MAP_SHARED, held);
    own = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, held);
    if (mapped == NULL || own == NULL)
        return 3;
    first = number(mapped);
    if (getenv("COPY") != NULL)
        own[PAGE - 1] = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) != 0 || listen(listener, 16) != 0)
        return 4;
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        char request[4096], what[64] = "", body[8192], head[128];
        ssize_t length = recv(connection, request, sizeof request - 1, 0);
        if (length > 0) {
            request[length] = 0;
            sscanf(request, "%*s /%63s", what);
            int bytes = answer(what, body);
            int heading = sprintf(head, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n", bytes);
            send(connection, head, heading, MSG_NOSIGNAL | MSG_MORE);
            send(connection, body, bytes, MSG_NOSIGNAL);
        }
        close(connection);
    }
}
