/* What is left of signals and timers. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

enum { TIMERS_END = 8, SOON_MS = 60, WAIT_MAX_MS = 500 };

static void handle(int number) {
    (void)number;
}

static const char *plant_handler(const struct secret *secret) {
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART | SA_NODEFER};
    return planted(sigaction(SIGRTMIN + (int)small(secret, 20), &action, NULL) < 0);
}
static const char *look_handler(void) {
    struct sigaction now;
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_DFL)
            return found("a handler of %d", number);
    return clean();
}
/* Another handler where there was one already: the kernel's list of handled signals stays the same. */
static const char *plant_other_handler(const struct secret *secret) {
    struct sigaction action = {.sa_handler = handle};
    sigaddset(&action.sa_mask, SIGRTMIN + (int)small(secret, 20));
    return planted(sigaction(SIGTERM, &action, NULL) < 0);
}
static const char *look_other_handler(void) {
    struct sigaction now;
    sigaction(SIGTERM, NULL, &now);
    return now.sa_handler == handle ? found("another handler") : clean();
}
static const char *plant_ignored(const struct secret *secret) {
    (void)secret;
    return planted(signal(SIGUSR1, SIG_IGN) == SIG_ERR);
}
static const char *look_ignored(void) {
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    return now.sa_handler == SIG_IGN ? found("ignored") : clean();
}

static int block(int number) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    return sigprocmask(SIG_BLOCK, &one, NULL);
}
static const char *plant_blocked(const struct secret *secret) {
    return planted(block(SIGRTMIN + (int)small(secret, 20)) < 0);
}
static const char *look_blocked(void) {
    sigset_t now;
    sigprocmask(SIG_BLOCK, NULL, &now);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        if (sigismember(&now, number))
            return found("%d is blocked", number);
    return clean();
}

static const char *pending(int number) {
    sigset_t all;
    siginfo_t about;
    struct timespec none = {0};
    sigemptyset(&all);
    sigaddset(&all, number);
    if (sigtimedwait(&all, &about, &none) < 0)
        return clean();
    uint64_t value = (uint64_t)(uintptr_t)about.si_value.sival_ptr;
    return found_bytes(&value, sizeof value);
}
static const char *plant_pending(const struct secret *secret) {
    union sigval value;
    memcpy(&value, secret->bytes, sizeof value);
    return planted(block(SIGUSR2) < 0 || sigqueue(getpid(), SIGUSR2, value) < 0);
}
static const char *look_pending(void) {
    return pending(SIGUSR2);
}
/* For one thread, and not for the process: dropped when its action is put back, which ignores it. */
static const char *plant_thread_pending(const struct secret *secret) {
    (void)secret;
    return planted(block(SIGURG) < 0 || syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGURG) < 0);
}
static const char *look_thread_pending(void) {
    return pending(SIGURG);
}

/* With no room in the queue the kernel notes the signal, and nothing about it. */
static const char *plant_without_room(int number) {
    struct rlimit then, none;
    if (getrlimit(RLIMIT_SIGPENDING, &then) < 0)
        return planted(true);
    none = then;
    none.rlim_cur = 0;
    bool failed = block(number) < 0 || setrlimit(RLIMIT_SIGPENDING, &none) < 0 ||
                  syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number) < 0 ||
                  setrlimit(RLIMIT_SIGPENDING, &then) < 0;
    return planted(failed);
}
static void before_unqueued(void) {
    block(SIGUSR1);
}
static const char *plant_unqueued(const struct secret *secret) {
    (void)secret;
    return plant_without_room(SIGUSR1);
}
static const char *look_unqueued(void) {
    return pending(SIGUSR1);
}
/* The signal that a tracer's own traps come by. */
static void before_trap(void) {
    block(SIGTRAP);
}
static const char *plant_trap(const struct secret *secret) {
    (void)secret;
    return plant_without_room(SIGTRAP);
}
static const char *look_trap(void) {
    return pending(SIGTRAP);
}

static uint8_t other_stack[4 * PAGE_BYTES];
static const char *plant_stack(const struct secret *secret) {
    stack_t stack = {.ss_sp = other_stack + small(secret, PAGE_BYTES), .ss_size = 2 * PAGE_BYTES};
    return planted(sigaltstack(&stack, NULL) < 0);
}
static const char *look_stack(void) {
    stack_t now;
    sigaltstack(NULL, &now);
    return now.ss_flags & SS_DISABLE ? clean() : found("%ld bytes", (long)now.ss_size);
}

/* --- Timers. --- */

static const char *plant_interval(const struct secret *secret) {
    struct itimerval far = {{small(secret, 9000), 0}, {1000 + small(secret, 9000), 0}};
    return planted(setitimer(ITIMER_REAL, &far, NULL) < 0);
}
static const char *interval(int which) {
    struct itimerval now;
    getitimer(which, &now);
    return now.it_value.tv_sec == 0 && now.it_value.tv_usec == 0
               ? clean()
               : found("armed, every %lld s", (long long)now.it_interval.tv_sec);
}
static const char *look_interval(void) {
    return interval(ITIMER_REAL);
}
static const char *plant_virtual(const struct secret *secret) {
    struct itimerval far = {{small(secret, 9000), 0}, {1000 + small(secret, 9000), 0}};
    return planted(setitimer(ITIMER_PROF, &far, NULL) < 0 || setitimer(ITIMER_VIRTUAL, &far, NULL) < 0);
}
static const char *look_virtual(void) {
    const char *answer = interval(ITIMER_PROF);
    return strcmp(answer, clean()) ? answer : interval(ITIMER_VIRTUAL);
}

/* Goes off in the next run, and ends it: nobody handles it. */
static const char *plant_alarm(const struct secret *secret) {
    (void)secret;
    struct itimerval soon = {{0, 0}, {0, SOON_MS * 1000}};
    return planted(setitimer(ITIMER_REAL, &soon, NULL) < 0);
}
static const char *look_alarm(void) {
    /* A run that lives as long as the alarm would take. */
    poll(NULL, 0, 2 * SOON_MS);
    return clean();
}

static timer_t made(const struct secret *secret, int first_ms) {
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCHLD};
    memcpy(&event.sigev_value, secret->bytes, sizeof event.sigev_value);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer))
        return (timer_t)-1;
    struct itimerspec times = {.it_value = {first_ms / 1000, first_ms % 1000 * 1000000L}};
    timer_settime(timer, 0, &times, NULL);
    return timer;
}
static const char *plant_posix_timer(const struct secret *secret) {
    return planted(made(secret, 5000000) == (timer_t)-1);
}
static const char *look_posix_timer(void) {
    struct itimerspec now;
    for (int timer = 0; timer < TIMERS_END; timer++)
        if (syscall(SYS_timer_gettime, timer, &now) == 0)
            return found("timer %d", timer);
    return clean();
}
/* Its signal, with the secret in it, is blocked and comes in the next run. */
static const char *plant_timer_signal(const struct secret *secret) {
    return planted(block(SIGCHLD) < 0 || made(secret, SOON_MS) == (timer_t)-1);
}
static const char *look_timer_signal(void) {
    sigset_t one;
    siginfo_t about;
    struct timespec wait = {0, 2L * SOON_MS * 1000000};
    sigemptyset(&one);
    sigaddset(&one, SIGCHLD);
    if (sigtimedwait(&one, &about, &wait) < 0)
        return clean();
    uint64_t value = (uint64_t)(uintptr_t)about.si_value.sival_ptr;
    return found_bytes(&value, sizeof value);
}

const struct channel signal_channels[] = {
    {"handler", NULL, plant_handler, look_handler},
    {"other-handler", NULL, plant_other_handler, look_other_handler},
    {"ignored", NULL, plant_ignored, look_ignored},
    {"blocked", NULL, plant_blocked, look_blocked},
    {"pending", NULL, plant_pending, look_pending},
    {"thread-pending", NULL, plant_thread_pending, look_thread_pending},
    {"unqueued", before_unqueued, plant_unqueued, look_unqueued},
    {"unqueued-trap", before_trap, plant_trap, look_trap},
    {"alternate-stack", NULL, plant_stack, look_stack},
    {"itimer", NULL, plant_interval, look_interval},
    {"itimer-cpu", NULL, plant_virtual, look_virtual},
    {"alarm", NULL, plant_alarm, look_alarm},
    {"posix-timer", NULL, plant_posix_timer, look_posix_timer},
    {"timer-signal", NULL, plant_timer_signal, look_timer_signal},
    {0},
};
