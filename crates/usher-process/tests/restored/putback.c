/* Puts a program back to an earlier state, in the plainest way: all of its memory and all registers
 * are written. It stands in for the platform's own put-back in the tests of the hook.
 *
 *   putback PID: `take` notes the state, `put` brings it back; each is answered by a line
 *
 * Deliberately absent: memory that was mapped, unmapped or protected in between, threads that came or
 * went, and all that the kernel knows of the program, which must be the same at both times. It
 * therefore serves for programs that do little, and little of it in more than one thread.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS_MAX = 64, RANGES_MAX = 4096, EXTENDED_MAX_BYTES = 16384, REST_MS = 100 };

struct thread {
    int id;
    struct user_regs_struct registers;
    char extended[EXTENDED_MAX_BYTES];
    size_t extended_bytes;
};

struct range {
    uint64_t from, to;
    char *bytes;
};

static int pid, memory;
static struct thread threads[THREADS_MAX];
static int thread_count;
static struct range ranges[RANGES_MAX];
static int range_count;

static void fail(const char *what) {
    printf("%s: %m\n", what);
    fflush(stdout);
    exit(1);
}

static int list(int *ids) {
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (struct dirent *entry; tasks && (entry = readdir(tasks));)
        if (entry->d_name[0] != '.' && count < THREADS_MAX)
            ids[count++] = atoi(entry->d_name);
    if (tasks)
        closedir(tasks);
    return count;
}

static bool sleeps(int id) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, id);
    FILE *stat = fopen(path, "r");
    /* A thread other than the first one may just have ended, and then the program has not rested. */
    if (!stat && id != pid)
        return false;
    if (!stat)
        fail("the state of a thread");
    bool read = fgets(text, sizeof text, stat);
    fclose(stat);
    if (!read && id != pid)
        return false;
    if (!read)
        fail("the state of a thread");
    char *name_end = strrchr(text, ')');
    if (name_end && strchr("ZX", name_end[2]) && id != pid)
        return false;
    if (!name_end || strchr("ZX", name_end[2]))
        fail("the program has ended");
    return name_end[2] == 'S';
}

/* Waits until all threads have slept for a while, so that nothing is under way. */
static void settle(void) {
    int ids[THREADS_MAX];
    for (int rested = 0; rested < REST_MS; usleep(1000)) {
        int count = list(ids);
        rested++;
        for (int i = 0; i < count; i++)
            if (!sleeps(ids[i]))
                rested = 0;
    }
}

static int stop(int *ids) {
    settle();
    int count = list(ids), status;
    for (int i = 0; i < count; i++) {
        if (ptrace(PTRACE_SEIZE, ids[i], 0, 0) != 0 || ptrace(PTRACE_INTERRUPT, ids[i], 0, 0) != 0)
            fail("a thread cannot be stopped");
        if (waitpid(ids[i], &status, __WALL) != ids[i])
            fail("a thread does not stop");
    }
    return count;
}

static void resume(const int *ids, int count) {
    for (int i = 0; i < count; i++)
        ptrace(PTRACE_DETACH, ids[i], 0, 0);
}

static void take_registers(struct thread *thread) {
    struct iovec space = {&thread->registers, sizeof thread->registers};
    struct user_regs_struct *r = &thread->registers;
    if (ptrace(PTRACE_GETREGSET, thread->id, NT_PRSTATUS, &space) != 0)
        fail("registers");
    /* A call that was interrupted is made again. */
    long answer = (long)r->rax;
    if ((long)r->orig_rax >= 0 && (answer == -4 || (answer <= -512 && answer >= -516))) {
        r->rip -= 2;
        r->rax = r->orig_rax;
    }
    r->orig_rax = (unsigned long long)-1;
    space = (struct iovec){thread->extended, sizeof thread->extended};
    if (ptrace(PTRACE_GETREGSET, thread->id, NT_X86_XSTATE, &space) != 0)
        fail("extended registers");
    thread->extended_bytes = space.iov_len;
}

static void take_memory(void) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "r");
    while (maps && fgets(line, sizeof line, maps)) {
        struct range range = {0};
        char rights[5];
        unsigned long inode;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &range.from, &range.to, rights, &inode) != 4)
            fail("the memory map");
        bool own = rights[3] == 'p' && rights[0] == 'r' && (rights[1] == 'w' || inode == 0);
        if (!own || strstr(line, "[v"))
            continue;
        size_t bytes = range.to - range.from;
        range.bytes = malloc(bytes);
        if (!range.bytes || pread(memory, range.bytes, bytes, (off_t)range.from) != (ssize_t)bytes)
            fail(line);
        if (range_count == RANGES_MAX)
            fail("too many ranges");
        ranges[range_count++] = range;
    }
    fclose(maps);
}

static void take(void) {
    int ids[THREADS_MAX];
    thread_count = stop(ids);
    for (int i = 0; i < thread_count; i++) {
        threads[i].id = ids[i];
        take_registers(&threads[i]);
    }
    take_memory();
    resume(ids, thread_count);
}

static void put(void) {
    int ids[THREADS_MAX], count = stop(ids);
    if (count != thread_count)
        fail("there are other threads");
    for (struct range *it = ranges; it < ranges + range_count; it++) {
        size_t bytes = it->to - it->from;
        if (pwrite(memory, it->bytes, bytes, (off_t)it->from) != (ssize_t)bytes)
            fail("memory has gone");
    }
    for (struct thread *it = threads; it < threads + count; it++) {
        struct iovec space = {&it->registers, sizeof it->registers};
        if (ptrace(PTRACE_SETREGSET, it->id, NT_PRSTATUS, &space) != 0)
            fail("registers");
        space = (struct iovec){it->extended, it->extended_bytes};
        if (ptrace(PTRACE_SETREGSET, it->id, NT_X86_XSTATE, &space) != 0)
            fail("extended registers");
    }
    resume(ids, count);
}

int main(int count, char **words) {
    char line[16];
    pid = count == 2 ? atoi(words[1]) : 0;
    snprintf(line, sizeof line, "/proc/%d/", pid);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    memory = open(path, O_RDWR | O_CLOEXEC);
    if (memory < 0)
        fail("its memory");
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "take\n") == 0)
            take();
        else
            put();
        puts("ok");
        fflush(stdout);
    }
    return 0;
}
