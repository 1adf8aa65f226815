// A program to be stopped. It is started as `guest MODE [NUMBER]`, forks once, so that whoever
// stops it is not its parent, tells its number, and then answers one line for each line that it
// reads. Its parent ends as it ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_long woken, spins, wrong, ended;
static atomic_int over, started;

static void die(const char *why) {
    perror(why);
    _exit(99);
}

static void start(void *(*run)(void *), void *with) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &small, run, with)) die("pthread_create");
}

// Waits for ever in one of several ways; counts each time it finds itself awake.
static void *resting(void *with) {
    int word = 0;
    struct timespec long_time = {100000, 0};
    int epoll = epoll_create1(0), event = eventfd(0, 0);
    struct epoll_event wanted = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted);
    struct pollfd polled = {.fd = event, .events = POLLIN};
    started++;
    for (;;) {
        switch ((long)with % 5) {
        case 0: nanosleep(&long_time, NULL); break;
        case 1: syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL); break;
        case 2: epoll_wait(epoll, &wanted, 1, -1); break;
        case 3: poll(&polled, 1, 100000000); break;
        default:
            for (;;) spins++;
        }
        woken++;
    }
    return NULL;
}

static void *spinning(void *with) {
    started++;
    for (;;) spins++;
    return NULL;
}

static void *paused(void *with) {
    started++;
    for (;;) pause();
    return NULL;
}

static void *counted(void *with) {
    return (void *)((long)with + 1);
}

static void *churning(void *with) {
    while (!over) {
        pthread_t thread;
        void *answer;
        if (pthread_create(&thread, NULL, counted, (void *)41)) die("pthread_create");
        if (pthread_join(thread, &answer)) die("pthread_join");
        if ((long)answer != 42) wrong++;
        ended++;
    }
    return NULL;
}

// Signals with numbers, of which none may be lost, doubled or out of order.
static atomic_long sent, taken;
static atomic_int closed;
static pthread_t taker;

static void take(int signal, siginfo_t *info, void *context) {
    if (info->si_value.sival_int != (int)taken) wrong++;
    taken++;
}

static void *sending(void *with) {
    while (!over) {
        if (sent - taken > 8) {
            sched_yield();
            continue;
        }
        union sigval value = {.sival_int = (int)sent};
        if (pthread_sigqueue(taker, SIGRTMIN, value) == 0) sent++;
    }
    closed = 1;
    return NULL;
}

static atomic_long alarms;

static void alarmed(int signal) {
    alarms++;
}

// Each wait must end by a signal, and by nothing else.
static void *taking(void *with) {
    struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN, &action, NULL);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int epoll = epoll_create1(0);
    struct epoll_event event;
    struct pollfd nothing;
    taker = pthread_self();
    started++;
    long turn = 0;
    while (!over) {
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        long before = taken + alarms;
        if (over) break;
        switch (turn++ % 3) {
        case 0: sigsuspend(&none); break;
        case 1: ppoll(&nothing, 0, NULL, &none); break;
        default: epoll_pwait(epoll, &event, 1, -1, &none);
        }
        if (taken + alarms == before && !over) woken++;
    }
    while (!closed) sched_yield();
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    while (taken < sent) sched_yield();
    return NULL;
}

static atomic_int let_off;

// Holds marks in registers for as long as they are right.
// What is held is looked at once more after it was let off: whoever was stopped has not looked since.
static void *holding(void *with) {
    static unsigned char mark[32] = "thirty-two bytes to be held here";
    if (__builtin_cpu_supports("avx2"))
        asm volatile("vmovdqu (%0), %%ymm7\n mov $0x5157, %%r13\n lock incl (%3)\n"
                     "1: mov (%1), %%ecx\n vpcmpeqb (%0), %%ymm7, %%ymm8\n vpmovmskb %%ymm8, %%eax\n"
                     "cmp $-1, %%eax\n jne 2f\n cmp $0x5157, %%r13\n jne 2f\n"
                     "test %%ecx, %%ecx\n je 1b\n jmp 3f\n 2: lock incq (%2)\n 3: vzeroupper"
                     :: "r"(mark), "r"(&let_off), "r"(&wrong), "r"(&started)
                     : "rax", "rcx", "r13", "xmm7", "xmm8", "memory", "cc");
    else
        asm volatile("movdqu (%0), %%xmm7\n mov $0x5157, %%r13\n lock incl (%3)\n"
                     "1: mov (%1), %%ecx\n movdqu (%0), %%xmm8\n pcmpeqb %%xmm7, %%xmm8\n pmovmskb %%xmm8, %%eax\n"
                     "cmp $0xffff, %%eax\n jne 2f\n cmp $0x5157, %%r13\n jne 2f\n"
                     "test %%ecx, %%ecx\n je 1b\n jmp 3f\n 2: lock incq (%2)\n 3:"
                     :: "r"(mark), "r"(&let_off), "r"(&wrong), "r"(&started)
                     : "rax", "rcx", "r13", "xmm7", "xmm8", "memory", "cc");
    ended++;
    return NULL;
}

// Spins in 32-bit code.
static void *narrow(void *with) {
    unsigned char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED) die("mmap");
    low[0] = 0xeb;
    low[1] = 0xfe;
    started++;
    asm volatile("pushq $0x23\n pushq %0\n lretq" :: "r"((unsigned long)low) : "memory");
    return NULL;
}

// Counts, by restartable sequences, on whatever processor it is. The second word of a thread's area
// says which sequence it is in; its abort begins anew.
static void *sequenced(void *with) {
    static struct { uint32_t version, flags; uint64_t start, len, abort; } sequence
        __attribute__((aligned(32)));
    extern const ptrdiff_t __rseq_offset;
    extern const unsigned int __rseq_size;
    if (!__rseq_size) die("rseq");
    char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
    asm volatile("lea 1f(%%rip), %%rax\n mov %%rax, 8(%0)\n lea 2f(%%rip), %%rcx\n"
                 "sub %%rax, %%rcx\n mov %%rcx, 16(%0)\n lea 3f(%%rip), %%rax\n mov %%rax, 24(%0)"
                 :: "r"(&sequence) : "rax", "rcx", "memory");
    started++;
    // In the sequence it waits for a word that only the abort leaves.
    asm volatile("4: mov %1, 8(%0)\n 1: pause\n jmp 1b\n 2: nop\n jmp 4b\n"
                 ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
                 "3: lock incq (%2)\n cmpl $0, (%3)\n je 4b"
                 :: "r"(area), "r"(&sequence), "r"(&ended), "r"(&let_off) : "memory", "cc");
    wrong++;
    for (;;) pause();
}

// Waits for a child that shares its memory and never ends: no signal but the last wakes it.
static void *parked(void *with) {
    started++;
    if (vfork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) syscall(SYS_pause);
    }
    return NULL;
}

static void through_procfs(unsigned long at, const char *bytes, size_t count) {
    int memory = open("/proc/self/mem", O_RDWR);
    if (memory < 0 || pwrite(memory, bytes, count, (off_t)at) < 0) die("mem");
    close(memory);
}

static long summed(unsigned long at, unsigned long len) {
    long sum = 0;
    for (unsigned long i = 0; i < len; i++) sum += ((unsigned char *)at)[i];
    return sum;
}

static int readable(int epoll) {
    struct epoll_event event;
    int count;
    while ((count = epoll_wait(epoll, &event, 1, -1)) < 0 && errno == EINTR) woken++;
    return count;
}

static void answer(int epoll) {
    char line[256], word[32];
    unsigned long a = 0, b = 0;
    for (;;) {
        if (epoll >= 0 && readable(epoll) < 0) die("epoll_wait");
        ssize_t len = read(0, line, sizeof line - 1);
        if (len < 0 && errno == EINTR) {
            woken++;
            continue;
        }
        if (len <= 0) _exit(0);
        line[len] = 0;
        if (sscanf(line, "%31s %lx %lx", word, &a, &b) < 1) continue;
        long said = 0;
        if (!strcmp(word, "woken")) said = woken;
        else if (!strcmp(word, "wrong")) said = wrong;
        else if (!strcmp(word, "ended")) said = ended;
        else if (!strcmp(word, "taken")) said = taken;
        else if (!strcmp(word, "unsent")) said = sent - taken;
        else if (!strcmp(word, "let-off")) let_off = 1;
        else if (!strcmp(word, "over")) over = 1;
        else if (!strcmp(word, "spin")) start(spinning, NULL);
        else if (!strcmp(word, "pause")) start(paused, NULL);
        else if (!strcmp(word, "started")) said = started;
        else if (!strcmp(word, "unmap")) said = munmap((void *)a, b);
        else if (!strcmp(word, "protect")) said = mprotect((void *)a, b, PROT_READ);
        else if (!strcmp(word, "share"))
            said = mmap((void *)a, b, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0) == MAP_FAILED;
        else if (!strcmp(word, "patch")) through_procfs(a, "\xcc\xcc\xcc\xcc", 4);
        else if (!strcmp(word, "stash")) memset((void *)a, 'S', b), through_procfs(a - 64, "SSSS", 4);
        else if (!strcmp(word, "sum")) said = summed(a, b);
        else if (!strcmp(word, "stop")) raise(SIGSTOP);
        else if (!strcmp(word, "leave")) pthread_exit(NULL);
        else if (!strcmp(word, "park")) start(parked, NULL);
        else if (!strcmp(word, "narrow")) start(narrow, NULL);
        else if (!strcmp(word, "sequence")) start(sequenced, NULL);
        else if (!strcmp(word, "trap")) signal(SIGTRAP, alarmed);
        dprintf(1, "%ld\n", said);
    }
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
    long number = count > 2 ? atol(words[2]) : 0;
    int status;
    pid_t child = fork();
    if (child) {
        while (waitpid(child, &status, 0) < 0) {}
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int epoll = -1;
    if (!strcmp(mode, "rest")) {
        for (long i = 0; i < number; i++) start(resting, (void *)i);
        while (started < number) sched_yield();
    } else if (!strcmp(mode, "echo")) {
        struct epoll_event wanted = {.events = EPOLLIN};
        epoll = epoll_create1(0);
        epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &wanted);
    } else if (!strcmp(mode, "churn")) {
        start(churning, NULL);
    } else if (!strcmp(mode, "signals")) {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        struct sigaction action = {.sa_handler = alarmed};
        sigaction(SIGALRM, &action, NULL);
        start(taking, NULL);
        while (!started) sched_yield();
        start(sending, NULL);
        struct itimerval often = {{0, 1000}, {0, 1000}};
        setitimer(ITIMER_REAL, &often, NULL);
    } else if (!strcmp(mode, "hold")) {
        for (long i = 0; i < number; i++) start(holding, NULL);
        while (started < number) sched_yield();
    }
    dprintf(1, "%d\n", getpid());
    answer(epoll);
}
