/* A program that changes one piece of its state in the kernel for each word that it reads, and has
 * some of each kind to begin with. It is the second process of namespaces of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int self_pipe[2], byte_pipe[2], counter, pulse, clocked, signals, set, once, listener, near, far, pair[2];
static int datagrams, file, folder, unused;
static struct sockaddr_in address;
static pthread_t other;
static int order[2], answer[2];
static char stacks[4][65536] __attribute__((aligned(4096)));

static void must(const char *what, long done) {
    if (done < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        _exit(3);
    }
}
#define MUST(call) must(#call, (long)(call))

static void handled(int signal) { (void)signal; }
static void handled_too(int signal) { (void)signal; }

static int alternate(char *at) {
    stack_t stack = {.ss_sp = at, .ss_size = 65536};
    return sigaltstack(&stack, NULL);
}

/* The other thread does what only a thread can do to itself. */
static void *thread(void *unused) {
    char what;
    (void)unused;
    MUST(alternate(stacks[1]));
    MUST(prctl(PR_SET_NAME, "other"));
    MUST(write(answer[1], "r", 1));
    while (read(order[0], &what, 1) == 1) {
        if (what == 's')
            MUST(alternate(stacks[3]));
        if (what == 'n')
            MUST(prctl(PR_SET_NAME, "secret"));
        if (what == 'p')
            MUST(setpriority(PRIO_PROCESS, gettid(), 7));
        MUST(write(answer[1], "r", 1));
    }
    return NULL;
}

static void by_other(char what) {
    char done;
    MUST(write(order[1], &what, 1));
    MUST(read(answer[0], &done, 1));
}

static void loopback(void) {
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(request.ifr_name, "lo");
    MUST(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void watch(int set, int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event));
}

static void apart(void) {
    MUST(mount("none", "/", "", MS_REC | MS_PRIVATE, ""));
    MUST(mount("none", "/tmp", "tmpfs", 0, "size=16m,nr_inodes=1000,mode=1777"));
    MUST(mount("proc", "/proc", "proc", 0, ""));
    /* All names below are names of files in there. */
    MUST(chdir("/tmp"));
    loopback();
}

/* What an interpreter that serves requests has: a connection, an epoll set, a counter. */
static void prepare_plain(void) {
    socklen_t len = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MUST(bind(listener, (void *)&address, sizeof address));
    MUST(listen(listener, 16));
    MUST(getsockname(listener, (void *)&address, &len));
    counter = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    set = epoll_create1(EPOLL_CLOEXEC);
    watch(set, counter, EPOLLIN | EPOLLET);
    watch(set, listener, EPOLLIN);
    MUST(pipe(self_pipe));
    for (int i = 0; i < 4; i++)
        MUST(open("/dev/null", O_RDWR));
}

static void prepare(void) {
    socklen_t len = sizeof address;
    sigset_t mask;
    char done;
    MUST(pipe(self_pipe));
    MUST(pipe(byte_pipe));
    MUST(write(byte_pipe[1], "*", 1));
    counter = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pulse = eventfd(5, 0);
    clocked = timerfd_create(CLOCK_MONOTONIC, 0);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    signals = signalfd(-1, &mask, 0);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MUST(bind(listener, (void *)&address, sizeof address));
    MUST(listen(listener, 16));
    MUST(getsockname(listener, (void *)&address, &len));
    near = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(near, (void *)&address, sizeof address));
    MUST(far = accept(listener, NULL, NULL));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in own = address;
    own.sin_port = htons(999);
    MUST(bind(datagrams, (void *)&own, sizeof own));
    set = epoll_create1(EPOLL_CLOEXEC);
    watch(set, self_pipe[0], EPOLLIN);
    watch(set, counter, EPOLLIN | EPOLLET);
    watch(set, listener, EPOLLIN);
    once = epoll_create1(0);
    watch(once, self_pipe[0], EPOLLIN | EPOLLONESHOT);
    MUST(file = open("kept", O_RDWR | O_CREAT, 0640));
    MUST(write(file, "kept content", 12));
    MUST(lseek(file, 4, SEEK_SET));
    MUST(mkdir("sub", 0755));
    MUST(close(open("sub/more", O_RDWR | O_CREAT, 0600)));
    MUST(symlink("/etc/passwd", "link"));
    MUST(folder = open("sub", O_RDONLY | O_DIRECTORY));
    MUST(unused = open("/dev/null", O_RDWR));
    signal(SIGUSR1, handled);
    signal(SIGPIPE, SIG_IGN);
    MUST(alternate(stacks[0]));
    MUST(pipe(order));
    MUST(pipe(answer));
    pthread_create(&other, NULL, thread, NULL);
    MUST(read(answer[0], &done, 1));
}

static void lock(int fd, int command) {
    struct flock all = {.l_type = F_RDLCK};
    MUST(fcntl(fd, command, &all));
}

static int spare_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(fd, (void *)&address, sizeof address));
    return fd;
}

static void child(int ends) {
    pid_t made = fork();
    if (made == 0) {
        if (ends)
            _exit(0);
        for (;;)
            pause();
    }
    if (ends) {
        siginfo_t info;
        MUST(waitid(P_PID, made, &info, WEXITED | WNOWAIT));
    }
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    MUST(fd);
    MUST(write(fd, text, strlen(text)));
    close(fd);
}

static void limit(int which) {
    struct rlimit few = {100, 200};
    MUST(setrlimit(which, &few));
}

static int descriptors(const char *what) {
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = 0x736563726574};
    struct itimerspec soon = {.it_value = {1000, 0}};
    unsigned long long count = 3;
    sigset_t mask;
    char bytes[16];
#define IS(name) (strcmp(what, name) == 0)
    if (IS("open"))
        MUST(open("/dev/null", O_RDWR));
    else if (IS("open-many"))
        for (int i = 0; i < 90; i++)
            MUST(dup(unused));
    else if (IS("dup-over"))
        MUST(dup2(unused, self_pipe[0]));
    else if (IS("close"))
        MUST(close(unused));
    else if (IS("close-and-open"))
        MUST(close(unused) | open("/dev/null", O_RDWR));
    else if (IS("blocking"))
        MUST(fcntl(counter, F_SETFL, 0));
    else if (IS("append"))
        MUST(fcntl(file, F_SETFL, O_APPEND));
    else if (IS("close-on-exec"))
        MUST(fcntl(self_pipe[0], F_SETFD, FD_CLOEXEC));
    else if (IS("open-on-exec"))
        MUST(fcntl(counter, F_SETFD, 0));
    else if (IS("owner"))
        MUST(fcntl(near, F_SETOWN, getpid()));
    else if (IS("offset"))
        MUST(lseek(file, 9, SEEK_SET));
    else if (IS("listing")) {
        char list[64];
        MUST(syscall(SYS_getdents64, folder, list, sizeof list));
    } else if (IS("flock"))
        MUST(flock(file, LOCK_EX));
    else if (IS("posix-lock"))
        lock(file, F_SETLK);
    else if (IS("description-lock"))
        lock(file, F_OFD_SETLK);
    else if (IS("pipe-lock")) {
        lock(self_pipe[0], F_SETLK);
        MUST(flock(self_pipe[1], LOCK_EX));
    } else if (IS("end-lock"))
        lock(self_pipe[0], F_OFD_SETLK);
    else if (IS("counter-lock")) {
        lock(counter, F_SETLK);
        lock(counter, F_OFD_SETLK);
    } else if (IS("socket-lock")) {
        lock(listener, F_SETLK);
        MUST(flock(near, LOCK_EX));
    } else if (IS("pipe-size"))
        MUST(fcntl(self_pipe[0], F_SETPIPE_SZ, 8192));
    else if (IS("pipe-fill"))
        for (int i = 0; i < 4000; i++)
            MUST(write(self_pipe[1], "secret bytes", 12));
    else if (IS("byte-taken"))
        MUST(read(byte_pipe[0], bytes, 1));
    else if (IS("byte-exchanged")) {
        MUST(read(byte_pipe[0], bytes, 1));
        MUST(write(byte_pipe[1], "s", 1));
    } else if (IS("count"))
        MUST(write(counter, &count, 8));
    else if (IS("count-more"))
        MUST(write(pulse, &count, 8));
    else if (IS("count-read"))
        MUST(read(pulse, &count, 8));
    else if (IS("arm"))
        MUST(timerfd_settime(clocked, 0, &soon, NULL));
    else if (IS("run-out")) {
        struct itimerspec now = {.it_value = {0, 1}, .it_interval = {0, 1000000}};
        MUST(timerfd_settime(clocked, 0, &now, NULL));
    } else if (IS("signal-mask")) {
        sigemptyset(&mask);
        sigaddset(&mask, SIGHUP);
        MUST(signalfd(signals, &mask, 0));
    } else if (IS("watch-new")) {
        int fds[2];
        MUST(pipe(fds));
        watch(set, fds[0], EPOLLIN);
    } else if (IS("watch-more"))
        watch(set, near, EPOLLIN);
    else if (IS("watch-other"))
        MUST(epoll_ctl(set, EPOLL_CTL_MOD, self_pipe[0], &event));
    else if (IS("watch-less"))
        MUST(epoll_ctl(set, EPOLL_CTL_DEL, listener, NULL));
    else if (IS("watch-spent")) {
        MUST(write(self_pipe[1], "x", 1));
        MUST(epoll_wait(once, &event, 1, -1));
        MUST(read(self_pipe[0], bytes, 1));
    } else if (IS("watch-nameless")) {
        int twin = dup(listener);
        watch(set, twin, EPOLLIN);
        MUST(close(twin));
    } else
        return 0;
    return 1;
}

static int sockets(const char *what) {
    int on = 1, bytes = 9000;
    struct sockaddr_in own = address;
    if (IS("waits-at-listener")) {
        MUST(write(spare_socket(), "secret", 6));
        spare_socket();
    } else if (IS("accepted")) {
        MUST(write(spare_socket(), "secret", 6));
        MUST(accept(listener, NULL, NULL));
    } else if (IS("unread"))
        MUST(write(near, "secret", 6));
    else if (IS("urgent"))
        MUST(send(near, "s", 1, MSG_OOB));
    else if (IS("unread-in-pair"))
        MUST(write(pair[0], "secret", 6));
    else if (IS("half-closed"))
        MUST(shutdown(near, SHUT_WR));
    else if (IS("closed-connection"))
        MUST(close(near));
    else if (IS("exchanged-connection"))
        MUST(dup2(unused, near));
    else if (IS("both-ends-closed"))
        MUST(close(near) | close(far));
    else if (IS("half-closed-and-closed"))
        MUST(shutdown(near, SHUT_WR) | close(near));
    else if (IS("half-closed-pair"))
        MUST(shutdown(pair[0], SHUT_WR));
    else if (IS("datagram")) {
        own.sin_port = htons(999);
        MUST(sendto(datagrams, "secret", 6, 0, (void *)&own, sizeof own));
    } else if (IS("corked")) {
        own.sin_port = htons(999);
        MUST(sendto(datagrams, "secret", 6, MSG_MORE, (void *)&own, sizeof own));
    } else if (IS("connected-datagrams"))
        MUST(connect(datagrams, (void *)&address, sizeof address));
    else if (IS("no-delay"))
        MUST(setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, 4));
    else if (IS("type-of-service"))
        MUST(setsockopt(near, IPPROTO_IP, IP_TOS, &(int){16}, 4));
    else if (IS("send-buffer"))
        MUST(setsockopt(near, SOL_SOCKET, SO_SNDBUF, &bytes, 4));
    else if (IS("listen-more"))
        MUST(listen(listener, 3));
    else
        return 0;
    return 1;
}

static int signals_and_timers(const char *what) {
    sigset_t mask;
    if (IS("handler"))
        signal(SIGUSR2, handled);
    else if (IS("other-handler"))
        signal(SIGUSR1, handled_too);
    else if (IS("ignored"))
        signal(SIGHUP, SIG_IGN);
    else if (IS("default-with-flags")) {
        struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
        sigaddset(&action.sa_mask, SIGTERM);
        MUST(sigaction(SIGCHLD, &action, NULL));
    } else if (IS("pending") || IS("pending-shared")) {
        sigemptyset(&mask);
        sigaddset(&mask, SIGUSR1);
        sigprocmask(SIG_BLOCK, &mask, NULL);
        if (IS("pending"))
            MUST(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
        else {
            pthread_sigmask(SIG_BLOCK, &mask, NULL);
            union sigval value = {.sival_ptr = stacks};
            MUST(pthread_sigqueue(pthread_self(), SIGUSR1, value));
        }
    } else if (IS("alternate-stack"))
        MUST(alternate(stacks[2]));
    else if (IS("alternate-stack-of-other"))
        by_other('s');
    else if (IS("alarm"))
        alarm(1000);
    else if (IS("interval")) {
        struct itimerval long_ones = {{1000, 0}, {1000, 0}};
        MUST(setitimer(ITIMER_PROF, &long_ones, NULL));
        MUST(setitimer(ITIMER_VIRTUAL, &long_ones, NULL));
    } else if (IS("posix-timers")) {
        for (int i = 0; i < 100; i++) {
            timer_t made;
            struct itimerspec soon = {{0, 0}, {1000, 0}};
            MUST(timer_create(CLOCK_MONOTONIC, NULL, &made));
            MUST(timer_settime(made, 0, &soon, NULL));
        }
    } else
        return 0;
    return 1;
}

static int process(const char *what) {
    if (IS("folder"))
        MUST(chdir("/"));
    else if (IS("mask"))
        umask(0);
    else if (IS("soft-limit")) {
        struct rlimit few;
        getrlimit(RLIMIT_NOFILE, &few);
        few.rlim_cur = 100;
        MUST(setrlimit(RLIMIT_NOFILE, &few));
    } else if (IS("limit"))
        limit(RLIMIT_NOFILE);
    else if (IS("limit-of-processor"))
        limit(RLIMIT_CPU);
    else if (IS("name"))
        MUST(prctl(PR_SET_NAME, "secret"));
    else if (IS("name-of-other"))
        by_other('n');
    else if (IS("dumpable"))
        MUST(prctl(PR_SET_DUMPABLE, 0));
    else if (IS("subreaper"))
        MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    else if (IS("huge-pages"))
        MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    else if (IS("nice"))
        MUST(nice(5));
    else if (IS("nice-of-other"))
        by_other('p');
    else if (IS("processors")) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        MUST(sched_setaffinity(0, sizeof one, &one));
    } else if (IS("locked"))
        MUST(mlock(stacks, sizeof stacks));
    else if (IS("barrier"))
        MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0));
    else if (IS("robust-list"))
        MUST(syscall(SYS_set_robust_list, stacks, 24));
    else if (IS("sequences")) {
        char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
        MUST(syscall(SYS_rseq, area, 32, 1, 0x53053053));
    } else if (IS("cleared"))
        MUST(syscall(SYS_set_tid_address, stacks));
    else if (IS("child"))
        child(0);
    else if (IS("dead-child"))
        child(1);
    else if (IS("segment"))
        MUST(shmget(IPC_PRIVATE, 4096, 0600));
    else if (IS("semaphores"))
        MUST(semget(IPC_PRIVATE, 1, 0600));
    else if (IS("queue"))
        MUST(msgget(IPC_PRIVATE, 0600));
    else
        return 0;
    return 1;
}

static int scratch(const char *what) {
    if (IS("file"))
        put("new", "secret");
    else if (IS("tree")) {
        MUST(mkdir("new", 0700));
        MUST(mkdir("new/deeper", 0700));
        put("new/deeper/file", "secret");
        MUST(symlink("sub", "new/deeper/link"));
        MUST(mkfifo("new/pipe", 0600));
    } else if (IS("changed"))
        MUST(pwrite(file, "secret secret secret secret", 27, 0));
    else if (IS("truncated"))
        MUST(ftruncate(file, 3));
    else if (IS("mapped-write")) {
        char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        memcpy(at, "SECR", 4);
        MUST(munmap(at, 4096));
    } else if (IS("renamed"))
        MUST(rename("sub", "bus"));
    else if (IS("replaced")) {
        put("sub/new", "secret");
        MUST(rename("sub/new", "sub/more"));
    } else if (IS("removed-but-open"))
        MUST(unlink("kept"));
    else if (IS("linked-elsewhere")) {
        MUST(unlink("link"));
        MUST(symlink("/etc/shadow", "link"));
    } else if (IS("mode"))
        MUST(chmod("kept", 0777) | chmod("/tmp", 0700));
    else if (IS("attribute"))
        MUST(setxattr("/tmp", "user.secret", "secret", 6, 0));
    else if (IS("times")) {
        struct timespec times[2] = {{7, 0}, {9, 0}};
        MUST(utimensat(AT_FDCWD, "sub/more", times, 0));
    } else if (IS("nameless")) {
        put("new", "secret");
        MUST(open("new", O_RDONLY));
        MUST(unlink("new"));
    } else if (IS("mapped")) {
        int fd = open("new", O_RDWR | O_CREAT, 0600);
        MUST(ftruncate(fd, 4096));
        char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        memcpy(at, "secret", 6);
        MUST(close(fd) | unlink("new"));
    } else
        return 0;
    return 1;
}

static int refused(const char *what) {
    if (IS("inotify"))
        MUST(syscall(SYS_inotify_init1, 0));
    else if (IS("memory-file"))
        MUST(memfd_create("x", 0));
    else if (IS("pidfd"))
        MUST(syscall(SYS_pidfd_open, getpid(), 0));
    else if (IS("thread-apart")) {
        MUST(unshare(CLONE_FILES));
    } else if (IS("nothing"))
        return 1;
    else
        return 0;
    return 1;
}

static void serve(int plain) {
    char line[128];
    apart();
    if (plain)
        prepare_plain();
    else
        prepare();
    MUST(write(1, "ready\n", 6));
    for (;;) {
        ssize_t len = read(0, line, sizeof line - 1);
        if (len <= 0)
            _exit(0);
        line[len] = 0;
        line[strcspn(line, "\n")] = 0;
        int known = descriptors(line) || sockets(line) || signals_and_timers(line) ||
                    process(line) || scratch(line) || refused(line);
        if (known)
            MUST(write(1, "done\n", 5));
        else
            MUST(write(1, "unknown\n", 8));
    }
}

int main(int argc, char **argv) {
    (void)argv;
    /* Other tests of the same process have files open. */
    MUST(close_range(3, ~0U, 0));
    MUST(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID));
    pid_t first = fork();
    if (first == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pid_t program = fork();
        if (program == 0)
            serve(argc > 1);
        while (wait(NULL) != program)
            ;
        _exit(0);
    }
    waitpid(first, NULL, 0);
    return 0;
}
