/* What is left in memory, and in how memory is mapped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile.h"

#define PAGE __attribute__((aligned(PAGE_BYTES)))
#define FIXED(at) ((void *)(at))
#define NEW_MAP FIXED(0x110000000000)
#define OLD_MAP FIXED(0x120000000000)
#define FAR_MAP FIXED(0x130000000000)
#define SHARED_MAP FIXED(0x140000000000)
#define MEMFD_MAP FIXED(0x150000000000)
#define GROWING_MAP FIXED(0x160000000000)
#define MARK 0x6b

enum { ADVISE_GUARD = 102, SET_MAP = 0x53564d41, MAP_NAME = 0, PAGES = 256, OLD_PAGES = 16, WRITTEN_MAX_KIB = 16 * 1024, DEEP_BYTES = 192 * 1024, FREED_BYTES = 1008, FREED_COUNT = 6 };

static uint8_t *kept;
static uint8_t fixed[SECRET_BYTES];
static _Thread_local uint8_t local[SECRET_BYTES];
static uintptr_t first_break;
static PAGE uint8_t pages[PAGES][PAGE_BYTES], guarded[3][PAGE_BYTES], locked[2][PAGE_BYTES], advised[2][PAGE_BYTES],
    sealed[2][PAGE_BYTES], shut[2][PAGE_BYTES];

static void *map_at(void *at, size_t length, int flags, int fd) {
    return mmap(at, length, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd, 0);
}

static const char *put(void *at, const struct secret *secret) {
    if (at == MAP_FAILED)
        return planted(true);
    memcpy(at, secret->bytes, SECRET_BYTES);
    return planted(false);
}

static const char *at_address(const void *at) {
    return is_mapped(at) ? found_bytes(at, SECRET_BYTES) : clean();
}

/* --- What programs have without asking. --- */

static const char *plant_heap(const struct secret *secret) {
    kept = malloc(SECRET_BYTES);
    return put(kept ? kept : MAP_FAILED, secret);
}
static const char *look_heap(void) {
    return kept ? seen(kept) : clean();
}

/* Blocks of one size, more in a look than a plant has freed, so that one of those comes again. */
static const char *plant_freed(const struct secret *secret) {
    uint8_t *block[FREED_COUNT];
    for (int at = 0; at < FREED_COUNT; at++) {
        block[at] = malloc(FREED_BYTES);
        if (!block[at])
            return planted(true);
        memcpy(block[at] + 512, secret->bytes, SECRET_BYTES);
    }
    /* The first one stays, so that its neighbours are not given back to the kernel. */
    for (int at = 1; at < FREED_COUNT; at++)
        free(block[at]);
    return planted(false);
}
static const char *look_freed(void) {
    uint8_t *block[4 * FREED_COUNT], left[SECRET_BYTES] = {0};
    for (int at = 0; at < 4 * FREED_COUNT; at++) {
        block[at] = malloc(FREED_BYTES);
        /* The allocator lays a block somewhere in its slot, at multiples of 16. */
        for (int byte = 16; block[at] && byte < FREED_BYTES - SECRET_BYTES; byte += 16)
            if (block[at][byte] || block[at][byte + 1])
                memcpy(left, block[at] + byte, SECRET_BYTES);
    }
    for (int at = 0; at < 4 * FREED_COUNT; at++)
        free(block[at]);
    return seen(left);
}

static const char *plant_static(const struct secret *secret) {
    return put(fixed, secret);
}
static const char *look_static(void) {
    return seen(fixed);
}

/* A frame far below all others: what it held stays below the stack pointer. */
static __attribute__((noinline)) void deep(const struct secret *secret, uint8_t *left) {
    volatile uint8_t frame[DEEP_BYTES];
    for (int at = 0; at < SECRET_BYTES; at++) {
        if (secret)
            frame[1024 + at] = secret->bytes[at];
        else
            left[at] = frame[1024 + at];
    }
}
/* One function for both, so that the frame below it lies at the same place. */
static __attribute__((noinline)) const char *stack(const struct secret *secret) {
    uint8_t left[SECRET_BYTES];
    deep(secret, left);
    return secret ? planted(false) : seen(left);
}
static const char *plant_stack(const struct secret *secret) {
    return stack(secret);
}
static const char *look_stack(void) {
    return stack(NULL);
}

static const char *plant_local(const struct secret *secret) {
    return put(local, secret);
}
static const char *look_local(void) {
    return seen(local);
}

static const char *plant_setenv(const struct secret *secret) {
    return planted(setenv("LEFT", secret->hex, 1) != 0);
}
static const char *look_setenv(void) {
    const char *left = getenv("LEFT");
    return left ? found("%s", left) : clean();
}

/* The bytes that the kernel laid there when the program began. */
static const char *plant_environ(const struct secret *secret) {
    char *room = getenv("ROOM");
    if (!room || strlen(room) < 2 * SECRET_BYTES)
        return errno = ENOENT, planted(true);
    memcpy(room, secret->hex, 2 * SECRET_BYTES);
    return planted(false);
}
static const char *look_environ(void) {
    const char *room = getenv("ROOM");
    return !room || strspn(room, ".") == strlen(room) ? clean() : found("%s", room);
}

static const char *plant_break(const struct secret *secret) {
    uintptr_t now = (uintptr_t)syscall(SYS_brk, 0), more = now + 2 * PAGE_BYTES + small(secret, 4000);
    if ((uintptr_t)syscall(SYS_brk, more) != more)
        return errno = ENOMEM, planted(true);
    return put((void *)now, secret);
}
static const char *look_break(void) {
    uintptr_t now = (uintptr_t)syscall(SYS_brk, 0);
    return now == first_break ? clean() : found("%+ld bytes", (long)(now - first_break));
}
__attribute__((constructor)) static void note_break(void) {
    /* Some memory of its own there, so that a shrunk break is seen as well. */
    uintptr_t now = (uintptr_t)syscall(SYS_brk, 0);
    first_break = (uintptr_t)syscall(SYS_brk, now + 3 * PAGE_BYTES);
    if (first_break != now)
        memset((void *)(first_break - 2 * PAGE_BYTES), MARK, 2 * PAGE_BYTES);
    memset(pages, MARK, sizeof pages);
    memset(shut, MARK, sizeof shut);
}
static const char *plant_shrunk(const struct secret *secret) {
    (void)secret;
    uintptr_t less = first_break - 2 * PAGE_BYTES;
    errno = ENOMEM;
    return planted((uintptr_t)syscall(SYS_brk, less) != less || (uintptr_t)syscall(SYS_brk, first_break) != first_break);
}
static const char *look_shrunk(void) {
    const uint8_t *last = (const uint8_t *)first_break - PAGE_BYTES;
    if ((uintptr_t)syscall(SYS_brk, 0) != first_break)
        return found("another break");
    return *last == MARK ? clean() : found("%02x", *last);
}

/* --- Mappings. --- */

static const char *plant_map(const struct secret *secret) {
    return put(map_at(NEW_MAP, 4 * PAGE_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1), secret);
}
static const char *look_map(void) {
    return at_address(NEW_MAP);
}

static void before_moved(void) {
    if (map_at(OLD_MAP, OLD_PAGES * PAGE_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1) != OLD_MAP)
        abort();
    memset(OLD_MAP, MARK, OLD_PAGES * PAGE_BYTES);
}
static const char *plant_moved(const struct secret *secret) {
    if (!is_mapped(OLD_MAP))
        before_moved();
    uint8_t *far = mremap(OLD_MAP, OLD_PAGES * PAGE_BYTES, 2 * OLD_PAGES * PAGE_BYTES,
                          MREMAP_MAYMOVE | MREMAP_FIXED, FAR_MAP);
    return put(far == MAP_FAILED ? far : far + OLD_PAGES * PAGE_BYTES, secret);
}
static const char *look_moved(void) {
    if (is_mapped(FAR_MAP))
        return found_bytes((uint8_t *)FAR_MAP + OLD_PAGES * PAGE_BYTES, SECRET_BYTES);
    if (was_before("moved") && (!is_mapped(OLD_MAP) || *(uint8_t *)OLD_MAP != MARK))
        return found("nothing where it was");
    return clean();
}

static const char *plant_unmapped(const struct secret *secret) {
    (void)secret;
    return planted(munmap(shut[0], PAGE_BYTES) != 0);
}
static const char *look_unmapped(void) {
    return is_mapped(shut[0]) ? clean() : found("a hole");
}

static const char *plant_remapped(const struct secret *secret) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return put(mmap(shut[1], PAGE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0), secret);
}
static const char *look_remapped(void) {
    return shut[1][0] == MARK && shut[1][100] == MARK ? clean() : found_bytes(shut[1], SECRET_BYTES);
}

/* Whether a page can be read, without a signal if not. */
static bool is_readable(const void *page) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        abort();
    bool is = write(ends[1], page, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return is;
}
static const char *plant_shut(const struct secret *secret) {
    (void)secret;
    return planted(mprotect(shut[0], PAGE_BYTES, PROT_NONE) != 0);
}
static const char *look_shut(void) {
    return is_readable(shut[0]) ? clean() : found("a page that is shut");
}

static const char *plant_guard(const struct secret *secret) {
    (void)secret;
    guarded[1][0] = 0;
    return planted(madvise(guarded[1], PAGE_BYTES, ADVISE_GUARD) != 0);
}
static const char *look_guard(void) {
    return is_readable(guarded[1]) ? clean() : found("a guard page");
}

/* A page that every run writes is dropped and one that no run writes is written: the count of both stays. */
static const char *plant_cold(const struct secret *secret) {
    if (madvise(pages[3], PAGE_BYTES, MADV_DONTNEED))
        return planted(true);
    return put(pages[200] + 64, secret);
}
static const char *look_cold(void) {
    pages[3][0] = MARK;
    if (pages[200][64] != MARK || pages[200][70] != MARK)
        return found_bytes(pages[200] + 64, SECRET_BYTES);
    return pages[3][100] == MARK ? clean() : found("a dropped page");
}

static const char *plant_lazily_freed(const struct secret *secret) {
    memcpy(pages[100], secret->bytes, SECRET_BYTES);
    return planted(madvise(pages[100], PAGE_BYTES, MADV_FREE) != 0);
}
static const char *look_lazily_freed(void) {
    return pages[100][0] == MARK && pages[100][5] == MARK ? clean() : found_bytes(pages[100], SECRET_BYTES);
}

static void before_shared(void) {
    if (map_at(SHARED_MAP, 4 * PAGE_BYTES, MAP_SHARED | MAP_ANONYMOUS, -1) != SHARED_MAP)
        abort();
    memset(SHARED_MAP, 0, 4 * PAGE_BYTES);
}
static const char *plant_shared(const struct secret *secret) {
    if (!is_mapped(SHARED_MAP))
        before_shared();
    return put((uint8_t *)SHARED_MAP + PAGE_BYTES, secret);
}
static const char *look_shared(void) {
    if (!is_mapped(SHARED_MAP))
        return was_before("shared") ? found("nothing where it was") : clean();
    return seen((uint8_t *)SHARED_MAP + PAGE_BYTES);
}

/* A file in memory that no descriptor names any more. */
static const char *plant_memfd_map(const struct secret *secret) {
    int fd = memfd_create("left", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, PAGE_BYTES))
        return planted(true);
    void *at = map_at(MEMFD_MAP, PAGE_BYTES, MAP_SHARED, fd);
    close(fd);
    return put(at, secret);
}
static const char *look_memfd_map(void) {
    return at_address(MEMFD_MAP);
}

static const char *plant_growing(const struct secret *secret) {
    uint8_t *at = mmap(GROWING_MAP, PAGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
    if (at == MAP_FAILED)
        return planted(true);
    /* The page below comes into being by this. */
    return put(at - PAGE_BYTES, secret);
}
static const char *look_growing(void) {
    return at_address((uint8_t *)GROWING_MAP - PAGE_BYTES);
}

static const char *plant_locked(const struct secret *secret) {
    (void)secret;
    return planted(mlock(locked, sizeof locked) != 0);
}
static const char *look_locked(void) {
    long kib = atol(line_of("/proc/self/status", "VmLck"));
    return kib == 0 ? clean() : found("%ld KiB locked", kib);
}

/* What is mapped from now on is locked. */
static const char *plant_locking(const struct secret *secret) {
    (void)secret;
    return planted(mlockall(MCL_FUTURE | MCL_ONFAULT) != 0);
}
static const char *look_locking(void) {
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const char *answer = look_locked();
    if (at != MAP_FAILED)
        munmap(at, PAGE_BYTES);
    return answer;
}

/* The flags of the mapping that holds an address. */
static bool has_flag(const void *address, const char *flag) {
    char line[256];
    bool here = false, has = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    if (maps)
        fclose(maps);
    return has;
}
static const char *plant_advised(const struct secret *secret) {
    (void)secret;
    return planted(madvise(advised[0], PAGE_BYTES, MADV_DONTFORK) != 0);
}
static const char *look_advised(void) {
    return has_flag(advised[0], " dc") ? found("memory that a child does not get") : clean();
}
static const char *plant_wiped(const struct secret *secret) {
    (void)secret;
    return planted(madvise(advised[1], PAGE_BYTES, MADV_WIPEONFORK) != 0);
}
static const char *look_wiped(void) {
    return has_flag(advised[1], " wf") ? found("memory that is wiped for a child") : clean();
}

static const char *plant_named(const struct secret *secret) {
    return planted(prctl(SET_MAP, MAP_NAME, pages[8], PAGE_BYTES, secret->hex) != 0);
}
static const char *look_named(void) {
    char line[256];
    bool has = false;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps))
        has |= strstr(line, "[anon:") != NULL;
    if (maps)
        fclose(maps);
    return has ? found("a name of a mapping") : clean();
}

static const char *plant_sealed(const struct secret *secret) {
    (void)secret;
    return planted(syscall(462, sealed[0], PAGE_BYTES, 0) != 0);
}
static const char *look_sealed(void) {
    if (mprotect(sealed[0], PAGE_BYTES, PROT_READ) == 0) {
        mprotect(sealed[0], PAGE_BYTES, PROT_READ | PROT_WRITE);
        return clean();
    }
    return found("a sealed mapping");
}

/* Writes to that much memory, page by page; answers where it is. */
const char *write_pages(size_t kib) {
    static PAGE uint8_t written[WRITTEN_MAX_KIB][1024];
    static char told[32];
    for (size_t at = 0; at < kib && at < WRITTEN_MAX_KIB; at += PAGE_BYTES / 1024)
        written[at][0]++;
    snprintf(told, sizeof told, "at %lx", (unsigned long)written);
    return told;
}

/* --- The program's own code. --- */

/* On a page of its own, so that nothing else stands where it is written over. */
__attribute__((section(".text.own"), aligned(PAGE_BYTES), noinline)) static int own_code(void) {
    __asm__ volatile(".skip 64, 0x90");
    return 1;
}
static const char *plant_text(const struct secret *secret) {
    void *page = (void *)((uintptr_t)own_code & ~(uintptr_t)(PAGE_BYTES - 1));
    if (mprotect(page, PAGE_BYTES, PROT_READ | PROT_WRITE))
        return planted(true);
    memcpy((uint8_t *)own_code + 24, "\xe9\x1b\x00\x00\x00", 5);
    memcpy((uint8_t *)own_code + 30, secret->bytes, SECRET_BYTES);
    return planted(mprotect(page, PAGE_BYTES, PROT_READ | PROT_EXEC) != 0);
}
static const char *look_text(void) {
    const uint8_t *code = (const uint8_t *)own_code;
    return code[30] == 0x90 && code[31] == 0x90 ? clean() : found_bytes(code + 30, SECRET_BYTES);
}
static const char *plant_forced_text(const struct secret *secret) {
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return planted(true);
    bool failed = pwrite(fd, secret->bytes, SECRET_BYTES, (off_t)(uintptr_t)own_code + 30) != SECRET_BYTES;
    close(fd);
    return planted(failed);
}

const struct channel memory_channels[] = {
    {"heap", NULL, plant_heap, look_heap},
    {"freed", NULL, plant_freed, look_freed},
    {"static", NULL, plant_static, look_static},
    {"stack", NULL, plant_stack, look_stack},
    {"thread-local", NULL, plant_local, look_local},
    {"setenv", NULL, plant_setenv, look_setenv},
    {"environ", NULL, plant_environ, look_environ},
    {"brk", NULL, plant_break, look_break},
    {"brk-shrunk", NULL, plant_shrunk, look_shrunk},
    {"mmap", NULL, plant_map, look_map},
    {"moved", before_moved, plant_moved, look_moved},
    {"unmapped", NULL, plant_unmapped, look_unmapped},
    {"remapped", NULL, plant_remapped, look_remapped},
    {"shut", NULL, plant_shut, look_shut},
    {"guard", NULL, plant_guard, look_guard},
    {"cold-for-hot", NULL, plant_cold, look_cold},
    {"lazily-freed", NULL, plant_lazily_freed, look_lazily_freed},
    {"shared", before_shared, plant_shared, look_shared},
    {"memfd-map", NULL, plant_memfd_map, look_memfd_map},
    {"growsdown", NULL, plant_growing, look_growing},
    {"mlock", NULL, plant_locked, look_locked},
    {"mlockall", NULL, plant_locking, look_locking},
    {"dont-fork", NULL, plant_advised, look_advised},
    {"wipe-on-fork", NULL, plant_wiped, look_wiped},
    {"map-name", NULL, plant_named, look_named},
    {"mseal", NULL, plant_sealed, look_sealed},
    {"text", NULL, plant_text, look_text},
    {"text-forced", NULL, plant_forced_text, look_text},
    {0},
};
