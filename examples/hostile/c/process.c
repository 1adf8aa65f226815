/* What is left of the process itself, of other processes, and of what processes share. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/membarrier.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

enum { KEY = 0x4c454654, PIDS_END = 64, LIMIT_FILES = 200, SLACK_NS = 50000 };

static uint8_t table[2][SECRET_BYTES];

/* --- Other processes. --- */

static const char *look_child(void) {
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0)
        return clean();
    return pid == 0 ? found("a child") : found("a child that left %d", WEXITSTATUS(status));
}
static const char *plant_child(const struct secret *secret) {
    memcpy(table[0], secret->bytes, SECRET_BYTES);
    pid_t pid = fork();
    while (pid == 0)
        pause();
    memset(table[0], 0, SECRET_BYTES);
    return planted(pid < 0);
}
static const char *plant_zombie(const struct secret *secret) {
    pid_t pid = fork();
    if (pid == 0)
        _exit((int)small(secret, 200));
    siginfo_t about;
    return planted(pid < 0 || waitid(P_PID, (id_t)pid, &about, WEXITED | WNOWAIT));
}
static const char *plant_grandchild(const struct secret *secret) {
    (void)secret;
    pid_t pid = fork();
    if (pid == 0) {
        pid_t other = fork();
        if (other == 0) {
            setsid();
            for (;;)
                pause();
        }
        _exit(0);
    }
    return planted(pid < 0 || waitpid(pid, NULL, 0) < 0);
}
static const char *look_grandchild(void) {
    for (pid_t pid = 2; pid < PIDS_END; pid++)
        if (pid != getpid() && kill(pid, 0) == 0 && syscall(SYS_tgkill, pid, pid, 0) == 0)
            return found("process %d", pid);
    return clean();
}

/* --- What belongs to no process. --- */

static const char *plant_memory(const struct secret *secret) {
    int id = shmget(KEY, PAGE_BYTES, IPC_CREAT | 0600);
    void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (at == (void *)-1)
        return planted(true);
    memcpy(at, secret->bytes, SECRET_BYTES);
    return planted(shmdt(at) < 0);
}
static const char *look_memory(void) {
    int id = shmget(KEY, 0, 0);
    void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
    if (at == (void *)-1)
        return clean();
    const char *answer = found_bytes(at, SECRET_BYTES);
    shmdt(at);
    return answer;
}
static const char *plant_message(const struct secret *secret) {
    struct {
        long type;
        uint8_t bytes[SECRET_BYTES];
    } message = {1, {0}};
    memcpy(message.bytes, secret->bytes, SECRET_BYTES);
    int id = msgget(KEY, IPC_CREAT | 0600);
    return planted(id < 0 || msgsnd(id, &message, SECRET_BYTES, IPC_NOWAIT) < 0);
}
static const char *look_message(void) {
    struct {
        long type;
        uint8_t bytes[SECRET_BYTES];
    } message;
    int id = msgget(KEY, 0);
    if (id < 0)
        return clean();
    return msgrcv(id, &message, SECRET_BYTES, 0, IPC_NOWAIT) < 0 ? found("a queue")
                                                                 : found_bytes(message.bytes, SECRET_BYTES);
}
static const char *plant_semaphore(const struct secret *secret) {
    int id = semget(KEY, 1, IPC_CREAT | 0600);
    struct sembuf up = {0, (short)small(secret, 30000), SEM_UNDO};
    return planted(id < 0 || semop(id, &up, 1) < 0);
}
static const char *look_semaphore(void) {
    int id = semget(KEY, 0, 0);
    return id < 0 ? clean() : found("at %d", semctl(id, 0, GETVAL));
}
static const char *plant_queue(const struct secret *secret) {
    struct mq_attr about = {.mq_maxmsg = 2, .mq_msgsize = SECRET_BYTES};
    mqd_t queue = mq_open("/left", O_CREAT | O_RDWR | O_CLOEXEC, 0600, &about);
    if (queue < 0)
        return planted(true);
    bool failed = mq_send(queue, (const char *)secret->bytes, SECRET_BYTES, 0) < 0;
    mq_close(queue);
    return planted(failed);
}
static const char *look_queue(void) {
    char left[SECRET_BYTES];
    mqd_t queue = mq_open("/left", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (queue < 0)
        return clean();
    bool empty = mq_receive(queue, left, SECRET_BYTES, NULL) < 0;
    mq_close(queue);
    return empty ? found("a queue") : found_bytes(left, SECRET_BYTES);
}

/* --- What the kernel notes of a process. --- */

static const char *plant_cwd(const struct secret *secret) {
    (void)secret;
    return planted(chdir("/tmp") < 0);
}
static const char *look_cwd(void) {
    char path[64] = {0};
    if (!getcwd(path, sizeof path))
        return found("nowhere");
    return strcmp(path, "/var/task") == 0 ? clean() : found("in %s", path);
}
static const char *plant_umask(const struct secret *secret) {
    umask(small(secret, 7) << 6 | 077);
    return planted(false);
}
static const char *look_umask(void) {
    mode_t now = umask(022);
    umask(now);
    return now == 022 ? clean() : found("%03o", now);
}
static const char *plant_limit(const struct secret *secret) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = LIMIT_FILES + small(secret, 20);
    return planted(setrlimit(RLIMIT_NOFILE, &limit) < 0);
}
static const char *look_limit(void) {
    struct rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    return now.rlim_cur == now.rlim_max ? clean() : found("%ld files", (long)now.rlim_cur);
}
/* One that can never be raised again. */
static const char *plant_hard_limit(const struct secret *secret) {
    struct rlimit less = {1 << 20, 1 << 20};
    (void)secret;
    return planted(setrlimit(RLIMIT_FSIZE, &less) < 0);
}
static const char *look_hard_limit(void) {
    struct rlimit now;
    getrlimit(RLIMIT_FSIZE, &now);
    return now.rlim_max == RLIM_INFINITY ? clean() : found("%ld bytes", (long)now.rlim_max);
}

static const char *plant_name(const struct secret *secret) {
    char name[16] = {0};
    memcpy(name, secret->hex, sizeof name - 1);
    return planted(prctl(PR_SET_NAME, name) < 0);
}
static const char *look_name(void) {
    char name[17] = {0};
    prctl(PR_GET_NAME, name);
    return strcmp(name, "server") == 0 ? clean() : found("%s", name);
}
/* As the program found them: what runs it may have asked for others. */
static int first_nice;
static unsigned long first_processors[16];
__attribute__((constructor)) static void note_share(void) {
    first_nice = getpriority(PRIO_PROCESS, 0);
    syscall(SYS_sched_getaffinity, 0, sizeof first_processors, first_processors);
}
static const char *plant_affinity(const struct secret *secret) {
    unsigned long one = first_processors[0] & -first_processors[0];
    (void)secret;
    return planted(syscall(SYS_sched_setaffinity, 0, sizeof one, &one) < 0);
}
static const char *look_affinity(void) {
    unsigned long now[16] = {0};
    syscall(SYS_sched_getaffinity, 0, sizeof now, now);
    return memcmp(now, first_processors, sizeof now) == 0 ? clean() : found("on one processor");
}
static const char *plant_nice(const struct secret *secret) {
    (void)secret;
    return planted(setpriority(PRIO_PROCESS, 0, 19) < 0);
}
static const char *look_nice(void) {
    int now = getpriority(PRIO_PROCESS, 0);
    return now == first_nice ? clean() : found("nice %d", now);
}
static const char *plant_policy(const struct secret *secret) {
    struct sched_param none = {0};
    (void)secret;
    return planted(syscall(SYS_sched_setscheduler, 0, 3 /* batch */, &none) < 0);
}
static const char *look_policy(void) {
    long now = syscall(SYS_sched_getscheduler, 0);
    return now == 0 ? clean() : found("policy %ld", now);
}
static const char *plant_io_class(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_ioprio_set, 1, 0, 3 << 13 /* idle */) < 0);
}
static const char *look_io_class(void) {
    long now = syscall(SYS_ioprio_get, 1, 0);
    return now >> 13 == 3 ? found("class %lx", now) : clean();
}
static const char *plant_memory_policy(const struct secret *secret) {
    unsigned long first = 1;
    (void)secret;
    return planted(syscall(SYS_set_mempolicy, 1 /* preferred */, &first, 8) < 0);
}
static const char *look_memory_policy(void) {
    int now = 0;
    syscall(SYS_get_mempolicy, &now, NULL, 0, NULL, 0);
    return now == 0 ? clean() : found("policy %d", now);
}
static const char *plant_session(const struct secret *secret) {
    (void)secret;
    return planted(setpgid(0, 0) < 0 && setsid() < 0);
}
static const char *look_session(void) {
    return getsid(0) == getpid() && getpgrp() == getpid() ? clean() : found("another session");
}

/* Settings that prctl keeps, by what they are asked with. */
static const char *plant_setting(int set, unsigned long value) {
    return planted(prctl(set, value, 0, 0, 0) < 0);
}
static const char *look_setting(int get, int usual) {
    int now = prctl(get, 0, 0, 0, 0);
    return now == usual ? clean() : found("%d", now);
}
static const char *plant_slack(const struct secret *secret) {
    return plant_setting(PR_SET_TIMERSLACK, SLACK_NS + small(secret, 30000));
}
static const char *look_slack(void) {
    return look_setting(PR_GET_TIMERSLACK, SLACK_NS);
}
static const char *plant_reaper(const struct secret *secret) {
    (void)secret;
    return plant_setting(PR_SET_CHILD_SUBREAPER, 1);
}
static const char *look_reaper(void) {
    int now = 0;
    prctl(PR_GET_CHILD_SUBREAPER, &now);
    return now ? found("it reaps") : clean();
}
static const char *plant_death_signal(const struct secret *secret) {
    return plant_setting(PR_SET_PDEATHSIG, SIGRTMIN + small(secret, 20));
}
static const char *look_death_signal(void) {
    int now = 0;
    prctl(PR_GET_PDEATHSIG, &now);
    return now ? found("signal %d", now) : clean();
}
static const char *plant_dumpable(const struct secret *secret) {
    (void)secret;
    return plant_setting(PR_SET_DUMPABLE, 0);
}
static const char *look_dumpable(void) {
    return look_setting(PR_GET_DUMPABLE, 1);
}
static const char *plant_keep_rights(const struct secret *secret) {
    (void)secret;
    return plant_setting(PR_SET_KEEPCAPS, 1);
}
static const char *look_keep_rights(void) {
    return look_setting(PR_GET_KEEPCAPS, 0);
}
static const char *plant_huge_off(const struct secret *secret) {
    (void)secret;
    return plant_setting(PR_SET_THP_DISABLE, 1);
}
static const char *look_huge_off(void) {
    return look_setting(PR_GET_THP_DISABLE, 0);
}
static const char *plant_speculation(const struct secret *secret) {
    (void)secret;
    return planted(prctl(PR_SET_SPECULATION_CTRL, 0, 4 /* disable */, 0, 0) < 0);
}
static const char *look_speculation(void) {
    int now = prctl(PR_GET_SPECULATION_CTRL, 0, 0, 0, 0);
    return now > 0 && now & 12 ? found("speculation %d", now) : clean();
}
/* Guesses about branches: the restriction given up, and taken on. */
static const char *plant_free_branches(const struct secret *secret) {
    (void)secret;
    return planted(prctl(PR_SET_SPECULATION_CTRL, 1 /* indirect branches */, 2 /* enable */, 0, 0) < 0);
}
static const char *plant_bound_branches(const struct secret *secret) {
    (void)secret;
    return planted(prctl(PR_SET_SPECULATION_CTRL, 1, 4 /* disable */, 0, 0) < 0);
}
static int first_branches;
__attribute__((constructor)) static void note_branches(void) {
    first_branches = prctl(PR_GET_SPECULATION_CTRL, 1, 0, 0, 0);
}
static const char *look_branches(void) {
    int now = prctl(PR_GET_SPECULATION_CTRL, 1, 0, 0, 0);
    return now == first_branches ? clean() : found("branches %d", now);
}
static const char *plant_merging(const struct secret *secret) {
    (void)secret;
    return plant_setting(67 /* PR_SET_MEMORY_MERGE */, 1);
}
static const char *look_merging(void) {
    return prctl(68 /* PR_GET_MEMORY_MERGE */, 0, 0, 0, 0) > 0 ? found("it merges memory") : clean();
}
static const char *plant_no_time(const struct secret *secret) {
    (void)secret;
    return plant_setting(PR_SET_TSC, PR_TSC_SIGSEGV);
}
static const char *look_no_time(void) {
    int now = 0;
    prctl(PR_GET_TSC, &now);
    return now == PR_TSC_ENABLE ? clean() : found("no counter of time");
}
static const char *plant_barrier(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0);
}
static const char *look_barrier(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0 ? clean() : found("a registration");
}

/* --- Addresses that the kernel keeps. --- */

static struct {
    void *next;
    long offset;
    void *pending;
} list;
static const char *plant_robust(const struct secret *secret) {
    (void)secret;
    list.next = &list.next;
    return planted(syscall(SYS_set_robust_list, &list, sizeof list) < 0);
}
static const char *look_robust(void) {
    void *head = NULL;
    size_t length;
    syscall(SYS_get_robust_list, 0, &head, &length);
    return head == &list ? found("a robust list") : clean();
}
static int cleared;
static const char *plant_tid_address(const struct secret *secret) {
    (void)secret;
    syscall(SYS_set_tid_address, &cleared);
    return planted(false);
}
static const char *look_tid_address(void) {
    int *now = NULL;
    if (prctl(40 /* PR_GET_TID_ADDRESS */, &now) < 0)
        return clean();
    return now == &cleared ? found("another address") : clean();
}
static __attribute__((aligned(32))) uint8_t restartable[32];
static const char *plant_restartable(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_rseq, restartable, sizeof restartable, 0, 0x53053053) < 0);
}
static const char *look_restartable(void) {
    /* Registering the same again is told apart from the first time. */
    if (syscall(SYS_rseq, restartable, sizeof restartable, 0, 0x53053053) < 0)
        return errno == EBUSY ? found("a registration") : clean();
    syscall(SYS_rseq, restartable, sizeof restartable, 1, 0x53053053);
    return clean();
}
static const char *plant_key(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_pkey_alloc, 0, 0) < 0);
}
static const char *look_key(void) {
    long key = syscall(SYS_pkey_alloc, 0, 0);
    if (key >= 0)
        syscall(SYS_pkey_free, key);
    return key <= 1 ? clean() : found("key %ld", key);
}

const struct channel process_channels[] = {
    {"child", NULL, plant_child, look_child},
    {"zombie", NULL, plant_zombie, look_child},
    {"grandchild", NULL, plant_grandchild, look_grandchild},
    {"sysv-shm", NULL, plant_memory, look_memory},
    {"sysv-message", NULL, plant_message, look_message},
    {"sysv-semaphore", NULL, plant_semaphore, look_semaphore},
    {"posix-queue", NULL, plant_queue, look_queue},
    {"cwd", NULL, plant_cwd, look_cwd},
    {"umask", NULL, plant_umask, look_umask},
    {"limit", NULL, plant_limit, look_limit},
    {"hard-limit", NULL, plant_hard_limit, look_hard_limit},
    {"name", NULL, plant_name, look_name},
    {"affinity", NULL, plant_affinity, look_affinity},
    {"nice", NULL, plant_nice, look_nice},
    {"policy", NULL, plant_policy, look_policy},
    {"io-class", NULL, plant_io_class, look_io_class},
    {"memory-policy", NULL, plant_memory_policy, look_memory_policy},
    {"session", NULL, plant_session, look_session},
    {"timer-slack", NULL, plant_slack, look_slack},
    {"subreaper", NULL, plant_reaper, look_reaper},
    {"death-signal", NULL, plant_death_signal, look_death_signal},
    {"dumpable", NULL, plant_dumpable, look_dumpable},
    {"keep-rights", NULL, plant_keep_rights, look_keep_rights},
    {"huge-off", NULL, plant_huge_off, look_huge_off},
    {"speculation", NULL, plant_speculation, look_speculation},
    {"branches-free", NULL, plant_free_branches, look_branches},
    {"branches-bound", NULL, plant_bound_branches, look_branches},
    {"merging", NULL, plant_merging, look_merging},
    {"time-counter", NULL, plant_no_time, look_no_time},
    {"membarrier", NULL, plant_barrier, look_barrier},
    {"robust-list", NULL, plant_robust, look_robust},
    {"tid-address", NULL, plant_tid_address, look_tid_address},
    {"rseq", NULL, plant_restartable, look_restartable},
    {"pkey", NULL, plant_key, look_key},
    {0},
};
