// A program that keeps a count in every kind of memory, and changes its memory in many ways. It
// reads lines `WORD NUMBER` and answers each with one line.

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define BIG (32UL << 20)
#define REGION (16 * PAGE)

static long in_data = 1;
static long in_bss;
static char half_used[64 * PAGE];
static char *big, *region, *untouched, *reserved, *locked, *wiped, *heap_end;
static long *in_heap, *in_map;
static sem_t go, done;
static volatile long from_thread;

// A page of its own, so that writing it touches nothing else.
__attribute__((aligned(4096), noinline)) static long text(void) {
    __asm__ volatile("");
    return 1;
}

static char *map(size_t len, int rights) {
    return mmap(0, len, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// As the kernel does it: not every C library lets programs move the end of the heap.
static char *move_heap(long n) {
    char *end = (char *)syscall(SYS_brk, 0);
    return (char *)syscall(SYS_brk, end + n) == end + n ? end : (char *)-1;
}

static void *thread(void *unused) {
    volatile long in_stack = 0;
    for (;;) {
        sem_wait(&go);
        from_thread = ++in_stack;
        sem_post(&done);
    }
    return unused;
}

static int patch(void *at, const void *bytes, size_t len) {
    int mem = open("/proc/self/mem", O_RDWR);
    int ok = mem >= 0 && pwrite(mem, bytes, len, (off_t)(uintptr_t)at) == (ssize_t)len;
    close(mem);
    return ok;
}

__attribute__((noinline)) static long deep(long pages) {
    volatile char here[PAGE];
    memset((char *)here, 0x5e, PAGE);
    return pages > 1 ? deep(pages - 1) + here[7] : here[9];
}

static void *vdso(void) {
    char line[512];
    unsigned long at = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "[vdso]")) at = strtoul(line, 0, 16);
    fclose(maps);
    return (void *)at;
}

// Where it sees the clean bytes of `big`: the same file from the same place on, but shared.
static char *window(void) {
    char line[512], rights[8];
    unsigned long from, to, offset, at = 0, wanted = -1UL, here = (unsigned long)big;
    for (int round = 0; round < 2; round++) {
        FILE *maps = fopen("/proc/self/maps", "r");
        while (fgets(line, sizeof line, maps)) {
            if (!strstr(line, "usher-image")) continue;
            if (sscanf(line, "%lx-%lx %7s %lx", &from, &to, rights, &offset) != 4) continue;
            if (from <= here && here < to) wanted = offset + (here - from);
            if (!strcmp(rights, "r--s") && offset <= wanted && wanted < offset + (to - from))
                at = from + (wanted - offset);
        }
        fclose(maps);
    }
    return (char *)at;
}

static long sum(const char *from, size_t len) {
    unsigned long all = 0;
    for (size_t i = 0; i < len; i++) all = all * 31 + (unsigned char)from[i];
    return (long)(all >> 1);
}

static long answer(const char *word, long n, long *in_main) {
    if (!strcmp(word, "count")) {
        sem_post(&go);
        sem_wait(&done);
        long all[] = {++*in_main, in_data++, ++in_bss, ++*in_heap, ++*in_map, from_thread, text()};
        for (size_t i = 1; i < sizeof all / sizeof *all; i++)
            if (all[i] != all[0] && i < 6) return -1000 - (long)i;
        return all[6] == 1 ? all[0] : -all[6];
    }
    if (!strcmp(word, "dirty")) {
        for (long i = 0; i < n; i += PAGE) big[i] = (char)(big[i] + 1);
        return big[0];
    }
    if (!strcmp(word, "new")) {
        char *at = map(n, PROT_READ | PROT_WRITE);
        memset(at, 0x5e, n);
        return mprotect(at, n, PROT_NONE);
    }
    if (!strcmp(word, "heap")) {
        if (move_heap(n) == (char *)-1) return -1;
        if (n > 0) memset(heap_end, 0x5e, n);
        return 0;
    }
    if (!strcmp(word, "again")) {
        munmap(region, REGION);
        char *at = mmap(region, REGION, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        memset(region, 0x5e, REGION);
        return at == region ? 0 : -1;
    }
    if (!strcmp(word, "gone")) return munmap(region, n);
    if (!strcmp(word, "gone-all-reserved")) return munmap(reserved, 1UL << 40);
    if (!strcmp(word, "gone-reserved")) return munmap(reserved + PAGE, n);
    if (!strcmp(word, "protect")) {
        memset(region, 0x5e, PAGE);
        return mprotect(region + PAGE, n, PROT_NONE) | mprotect(untouched, n, PROT_READ);
    }
    if (!strcmp(word, "move")) {
        char *at = mremap(region, REGION, REGION + n, MREMAP_MAYMOVE);
        if (at == MAP_FAILED) return -1;
        long past = 0;
        for (long i = 0; i < n; i++) past += at[REGION + i];
        memset(at, 0x5e, REGION + n);
        return past;
    }
    if (!strcmp(word, "shrink")) return mremap(region, REGION, PAGE, 0) == region ? 0 : -1;
    if (!strcmp(word, "text")) return patch((char *)text + 64, "secret", 6) ? 0 : -1;
    if (!strcmp(word, "vdso")) return patch((char *)vdso() + 4000, "secret", 6) ? 0 : -1;
    if (!strcmp(word, "reserved")) return patch(reserved + n, "secret", 6) ? 0 : -1;
    if (!strcmp(word, "swap-text")) {
        // The sum stays: one page of its own less, another one more.
        madvise(big + n, PAGE, MADV_DONTNEED);
        return patch((char *)text + 64, "secret", 6) ? 0 : -1;
    }
    if (!strcmp(word, "untouched")) memset(untouched, 0x5e, n);
    if (!strcmp(word, "bss")) memset(half_used, 0x5e, sizeof half_used);
    if (!strcmp(word, "deep")) return deep(n);
    if (!strcmp(word, "locked")) memset(locked, 0x5e, 4 * PAGE);
    if (!strcmp(word, "wiped")) memset(wiped, 0x5e, 4 * PAGE);
    if (!strcmp(word, "discard")) return madvise(region, n, MADV_DONTNEED);
    if (!strcmp(word, "advise")) return madvise(region, REGION, MADV_DONTFORK);
    if (!strcmp(word, "guard")) return madvise(region, PAGE, 102);
    if (!strcmp(word, "share")) {
        return mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
    }
    if (!strcmp(word, "grow-down")) {
        return mmap(0, n, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0) == MAP_FAILED;
    }
    if (!strcmp(word, "window")) return (long)window();
    if (!strcmp(word, "window-gone")) return munmap(window(), BIG);
    if (!strcmp(word, "window-cut")) return munmap(window() + 2 * PAGE, PAGE);
    if (!strcmp(word, "window-other")) {
        char *at = mmap(window(), BIG, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memset(at, 0x5e, 16 * PAGE);
        return mprotect(at, BIG, PROT_READ);
    }
    if (!strcmp(word, "window-own")) {
        // The same file from the same place on, but with pages of its own.
        char *at = window();
        memset(big, 0x5e, 16 * PAGE);
        if (mremap(big, BIG, BIG, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at) return -1;
        if (mmap(big, BIG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != big) return -1;
        return mprotect(at, BIG, PROT_READ);
    }
    if (!strcmp(word, "window-moved"))
        return mremap(window(), BIG, BIG, MREMAP_MAYMOVE | MREMAP_FIXED, map(BIG, 0)) ==
               MAP_FAILED;
    if (!strcmp(word, "window-double"))
        return mremap(window(), 0, BIG, MREMAP_MAYMOVE) == MAP_FAILED;
    if (!strcmp(word, "window-protect")) return mprotect(window(), BIG, (int)n);
    if (!strcmp(word, "window-write")) {
        char *at = window();
        int written = !mprotect(at, BIG, PROT_READ | PROT_WRITE);
        written |= !mprotect(at, PAGE, PROT_WRITE) | patch(at, "secret", 6);
        written |= !madvise(at, PAGE, MADV_REMOVE);
        return written | (read(open("/dev/zero", O_RDONLY), at, PAGE) > 0) | (at[0] != 1);
    }
    if (!strcmp(word, "state")) return (long)memset(map(n, PROT_READ | PROT_WRITE), 7, n);
    if (!strcmp(word, "mark")) return (long)memset(big, (int)n, 8 * PAGE);
    if (!strcmp(word, "big")) return (long)big;
    if (!strcmp(word, "region")) return (long)region;
    if (!strcmp(word, "sum")) return sum(region, REGION);
    if (!strcmp(word, "sums")) {
        return (sum(big, BIG) ^ sum(region, REGION) ^ sum(untouched, REGION) ^
                sum(half_used, sizeof half_used) ^ sum(locked, 4 * PAGE) ^
                sum(wiped, 4 * PAGE) ^ (long)move_heap(0) ^ text()) >> 1;
    }
    return 0;
}

int main(void) {
    long in_main = 0, n;
    char word[64];
    setvbuf(stdout, 0, _IONBF, 0);
    big = map(BIG, PROT_READ | PROT_WRITE);
    memset(big, 1, BIG);
    region = map(REGION, PROT_READ | PROT_WRITE);
    memset(region, 2, REGION);
    untouched = map(REGION, PROT_READ | PROT_WRITE);
    reserved = map(1UL << 40, PROT_NONE);
    locked = map(4 * PAGE, PROT_READ | PROT_WRITE);
    memset(locked, 3, 2 * PAGE);
    mlock(locked, 4 * PAGE);
    wiped = map(4 * PAGE, PROT_READ | PROT_WRITE);
    memset(wiped, 4, 2 * PAGE);
    madvise(wiped, 4 * PAGE, MADV_WIPEONFORK);
    memset(half_used, 5, 2 * PAGE);
    in_heap = calloc(1, sizeof *in_heap);
    in_map = (long *)map(PAGE, PROT_READ | PROT_WRITE);
    heap_end = move_heap(5 * PAGE + 123);
    memset(heap_end, 6, 5 * PAGE + 123);
    heap_end = move_heap(0);
    sem_init(&go, 0, 0);
    sem_init(&done, 0, 0);
    pthread_t one;
    pthread_create(&one, 0, thread, 0);
    sem_post(&go);
    sem_wait(&done);
    in_main = in_bss = *in_heap = *in_map = 1;
    in_data = 2;
    printf("%d\n", getpid());
    while (scanf("%63s %ld", word, &n) == 2) printf("%ld\n", answer(word, n, &in_main));
    return 0;
}
