/* What is left in registers, of the thread that serves and of one that waits. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

enum { SET_GS = 0x1001, GET_GS = 0x1004, TURNS_MAX = 2000 };

/* Nothing in this program, built without vectors, uses these. */
static const char *plant_xmm(const struct secret *secret) {
    __asm__ volatile("movdqu (%0), %%xmm15" : : "r"(secret->bytes));
    return planted(false);
}
static const char *look_xmm(void) {
    uint8_t left[SECRET_BYTES];
    __asm__ volatile("movdqu %%xmm15, (%0)" : : "r"(left) : "memory");
    return seen(left);
}

static bool has_ymm(void) {
    unsigned a = 1, b, c = 0, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (c >> 28 & 1) && (c >> 27 & 1);
}
static const char *plant_ymm(const struct secret *secret) {
    if (!has_ymm())
        return errno = ENOSYS, planted(true);
    __asm__ volatile("vbroadcastf128 (%0), %%ymm14" : : "r"(secret->bytes));
    return planted(false);
}
static const char *look_ymm(void) {
    uint8_t left[SECRET_BYTES] = {0};
    if (has_ymm())
        __asm__ volatile("vextractf128 $1, %%ymm14, (%0)" : : "r"(left) : "memory");
    return seen(left);
}

static const char *plant_rounding(const struct secret *secret) {
    (void)secret;
    uint32_t up = 0x5f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(up));
    return planted(false);
}
static const char *look_rounding(void) {
    uint32_t now;
    __asm__ volatile("stmxcsr %0" : "=m"(now));
    return (now & 0xe040) == 0 ? clean() : found("rounding %x", now);
}

static const char *plant_x87(const struct secret *secret) {
    uint64_t bits;
    memcpy(&bits, secret->bytes, sizeof bits);
    __asm__ volatile("fildll %0" : : "m"(bits));
    return planted(false);
}
static const char *look_x87(void) {
    uint16_t status;
    __asm__ volatile("fnstsw %0" : "=m"(status));
    return (status >> 11 & 7) == 0 ? clean() : found("%u on the stack of floats", 8u - (status >> 11 & 7));
}

static const char *plant_gs(const struct secret *secret) {
    uint64_t base;
    memcpy(&base, secret->bytes, sizeof base);
    return planted(syscall(SYS_arch_prctl, SET_GS, base >> 20) != 0);
}
static const char *look_gs(void) {
    uint64_t base = 0;
    syscall(SYS_arch_prctl, GET_GS, &base);
    return base == 0 ? clean() : found("gs at %llx", (unsigned long long)base);
}

/* --- A thread that holds what it is given in registers only. --- */

struct parked {
    uint64_t in[2], out[4];
    volatile int word, loaded, dumped;
};

static struct parked early, late;

static void *park(void *given) {
    struct parked *p = given;
    sigset_t all;
    /* Signals of the process are for the other thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (;;) {
        int seen = p->word;
        __asm__ volatile(
            "movq 0(%[p]), %%r12\n\tmovq 8(%[p]), %%r13\n\tmovdqu 0(%[p]), %%xmm15\n\t"
            "movq $0, 0(%[p])\n\tmovq $0, 8(%[p])\n\tmovl %[seen], 52(%[p])\n\t"
            "1: leaq 48(%[p]), %%rdi\n\tmovl $128, %%esi\n\tmovl %[seen], %%edx\n\txorl %%r10d, %%r10d\n\t"
            "movl $202, %%eax\n\tsyscall\n\tcmpl %[seen], 48(%[p])\n\tje 1b\n\t"
            "movq %%r12, 16(%[p])\n\tmovq %%r13, 24(%[p])\n\tmovdqu %%xmm15, 32(%[p])\n\t"
            "movl 48(%[p]), %%eax\n\tmovl %%eax, 56(%[p])\n\t"
            :
            : [p] "r"(p), [seen] "r"(seen)
            : "rax", "rcx", "rdx", "rsi", "rdi", "r10", "r11", "r12", "r13", "xmm15", "memory");
    }
    return NULL;
}

_Static_assert(offsetof(struct parked, word) == 48 && offsetof(struct parked, dumped) == 56, "as the code has it");

static void turn(struct parked *p) {
    p->word++;
    syscall(SYS_futex, &p->word, 129 /* wake, private */, 1);
}

static bool comes(volatile int *place, int wanted) {
    struct timespec pause = {0, 100000};
    for (int at = 0; at < TURNS_MAX && *place != wanted; at++)
        nanosleep(&pause, NULL);
    return *place == wanted;
}

static bool start(struct parked *p) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    p->loaded = -1;
    errno = pthread_create(&thread, &attributes, park, p);
    return errno == 0 && comes(&p->loaded, p->word);
}

static void before_parked(void) {
    if (!start(&early))
        abort();
}
static const char *plant_parked(const struct secret *secret) {
    if (!was_before("parked"))
        return errno = ENOENT, planted(true);
    memcpy(early.in, secret->bytes, SECRET_BYTES);
    turn(&early);
    bool is = comes(&early.loaded, early.word);
    memset(early.out, 0, sizeof early.out);
    return errno = EBUSY, planted(!is);
}
static const char *look_parked(void) {
    if (!was_before("parked"))
        return clean();
    turn(&early);
    if (!comes(&early.dumped, early.word))
        return found("a thread that does not answer");
    uint64_t out[4];
    memcpy(out, early.out, sizeof out);
    comes(&early.loaded, early.word);
    return out[0] | out[1] | out[2] | out[3] ? found_bytes(out, SECRET_BYTES) : clean();
}

static const char *plant_thread(const struct secret *secret) {
    memcpy(late.in, secret->bytes, SECRET_BYTES);
    return planted(!start(&late));
}
static const char *look_thread(void) {
    int threads = atoi(line_of("/proc/self/status", "Threads"));
    int before = 1 + was_before("parked");
    return threads == before ? clean() : found("%d threads", threads);
}

/* --- A thread that goes on writing what it was given. --- */

static __attribute__((aligned(16))) uint8_t given[SECRET_BYTES], written[SECRET_BYTES];

static void *write_on(void *nothing) {
    uint8_t own[SECRET_BYTES];
    (void)nothing;
    memcpy(own, given, SECRET_BYTES);
    memset(given, 0, SECRET_BYTES);
    for (;;) {
        for (int at = 0; at < SECRET_BYTES; at++)
            ((volatile uint8_t *)written)[at] = own[at];
        sched_yield();
    }
    return NULL;
}
static const char *plant_writer(const struct secret *secret) {
    pthread_t thread;
    memcpy(given, secret->bytes, SECRET_BYTES);
    errno = pthread_create(&thread, NULL, write_on, NULL);
    return planted(errno != 0 || !comes((volatile int *)written, *(const int *)secret->bytes));
}
static const char *look_writer(void) {
    struct timespec pause = {0, 2000000};
    /* Time for one that is still there. */
    nanosleep(&pause, NULL);
    return seen(written);
}

const struct channel register_channels[] = {
    {"xmm", NULL, plant_xmm, look_xmm},
    {"ymm", NULL, plant_ymm, look_ymm},
    {"rounding", NULL, plant_rounding, look_rounding},
    {"x87", NULL, plant_x87, look_x87},
    {"gs-base", NULL, plant_gs, look_gs},
    {"parked", before_parked, plant_parked, look_parked},
    {"thread", NULL, plant_thread, look_thread},
    {"writing-thread", NULL, plant_writer, look_writer},
    {0},
};
