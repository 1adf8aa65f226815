/* A hostile program: one attack for each first argument. It says "open" if the attack succeeded, and
 * "shut" with the error's name if it did not. Deliberately absent: harm. What succeeds outside is
 * undone, or touches only what the test has made. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int said(int failed) {
    if (failed)
        printf("shut %s\n", strerrorname_np(errno));
    else
        printf("open\n");
    fflush(stdout);
    return failed ? 1 : 0;
}

static int can_open(const char *path, int flags) {
    int fd = open(path, flags, 0644);
    if (fd >= 0)
        close(fd);
    return said(fd < 0);
}

static int can_read(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    return said(fd < 0 || read(fd, &byte, 1) < 0);
}

static int can_connect(const char *address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return said(fd < 0 || connect(fd, (void *)&to, sizeof to));
}

static int can_reach_abstract(const char *name) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strcpy(to.sun_path + 1, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return said(fd < 0 || connect(fd, (void *)&to, 3 + strlen(name)));
}

static int can_fork(int wanted) {
    int made = 0, error = 0;
    pid_t *children = calloc(wanted, sizeof *children);
    for (; made < wanted; made++) {
        children[made] = fork();
        if (children[made] == 0)
            for (;;)
                pause();
        if (children[made] < 0) {
            error = errno;
            break;
        }
    }
    for (int i = 0; i < made; i++) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    printf("made %d\n", made);
    errno = error;
    return said(made < wanted);
}

static int can_use_memory(size_t mib) {
    for (size_t i = 0; i < mib; i++) {
        char *at = malloc(1 << 20);
        if (!at)
            return said(1);
        memset(at, 1, 1 << 20);
    }
    return said(0);
}

static int can_fill(const char *folder, size_t mib) {
    char path[4096], *block = calloc(1, 1 << 20);
    snprintf(path, sizeof path, "%s/fill", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0644), failed = fd < 0;
    memset(block, 1, 1 << 20);
    for (size_t i = 0; i < mib && !failed; i++)
        failed = write(fd, block, 1 << 20) != 1 << 20;
    if (failed && errno == 0)
        errno = ENOSPC;
    int error = errno;
    unlink(path);
    errno = error;
    return said(failed);
}

static int can_make_files(const char *folder, int wanted) {
    char path[4096];
    int made = 0, error = 0;
    for (; made < wanted; made++) {
        snprintf(path, sizeof path, "%s/f%d", folder, made);
        int fd = open(path, O_CREAT | O_WRONLY, 0644);
        if (fd < 0) {
            error = errno;
            break;
        }
        close(fd);
    }
    for (int i = 0; i < made; i++) {
        snprintf(path, sizeof path, "%s/f%d", folder, i);
        unlink(path);
    }
    errno = error;
    return said(made < wanted);
}

static int can_open_descriptors(int wanted) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int i = 0; i < wanted; i++)
        if (dup(0) < 0)
            return said(1);
    return said(0);
}

static int inherited_descriptors(void) {
    for (int fd = 3; fd < 1000; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return said(0);
    return said(1);
}

static int can_escape_chroot(const char *folder) {
    int root = open("/", O_RDONLY | O_DIRECTORY);
    return said(chroot(folder) || fchdir(root) || chroot("."));
}

static int can_open_by_handle(const char *path) {
    struct {
        struct file_handle head;
        unsigned char bytes[128];
    } handle = {.head = {.handle_bytes = 128}};
    int mount;
    if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0)) {
        /* The guess of old: inode 2, the root of the host's disk. */
        unsigned char guess[8] = {2};
        int error = errno;
        handle.head.handle_bytes = 8;
        handle.head.handle_type = 1;
        memcpy(handle.bytes, guess, 8);
        errno = error;
    }
    int at = open("/", O_RDONLY);
    return said(open_by_handle_at(at, &handle.head, O_RDONLY) < 0);
}

static int can_write_over_text(void) {
    static const char constant[] = "constant";
    const volatile char *text = constant;
    int fd = open("/proc/self/mem", O_RDWR);
    if (fd < 0)
        return said(1);
    /* The page is read-only, and the write goes through nevertheless. */
    return said(pwrite(fd, "C", 1, (off_t)text) != 1 || text[0] != 'C');
}

static int can_trace(void) {
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    int failed = ptrace(PTRACE_SEIZE, child, 0, 0) < 0, error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = error;
    return said(failed);
}

static int can_read_other_memory(void) {
    char here[8], there[8] = "secret";
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    struct iovec to = {here, 8}, from = {there, 8};
    int failed = process_vm_readv(child, &to, 1, &from, 1, 0) < 0, error = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = error;
    return said(failed);
}

static int can_push_input(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY), error;
    int fd = 0;
    if (master >= 0) {
        grantpt(master);
        unlockpt(master);
        if (fork() != 0) {
            int status;
            wait(&status);
            return WEXITSTATUS(status);
        }
        setsid();
        fd = open(ptsname(master), O_RDWR);
    }
    int failed = ioctl(fd, TIOCSTI, "x");
    error = errno;
    errno = error;
    return said(failed);
}

static int can_clone_namespace(int three) {
    long made;
    if (three) {
        unsigned long args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
        made = syscall(SYS_clone3, args, sizeof args);
    } else {
        made = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    }
    if (made == 0)
        _exit(0);
    return said(made < 0);
}

static int can_call_as_i386(void) {
    long done = 20; /* getpid, there */
    __asm__ volatile("int $0x80" : "+a"(done) : : "memory");
    return said(done < 0);
}

static int can_kill_all(void) {
    /* All but itself and the first: how many have died is for others to see. */
    return said(kill(-1, SIGKILL));
}

static int as_nobody(char **argv) {
    if (setgid(65534) || setuid(65534))
        return 2;
    execv(argv[0], argv);
    return said(1);
}

static int through_link(const char *folder, const char *target, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/link", folder);
    unlink(path);
    if (symlink(target, path))
        return said(1);
    int fd = open(path, flags, 0644), error = errno;
    unlink(path);
    errno = error;
    return said(fd < 0);
}

static int call(char **numbers) {
    for (; *numbers; numbers++) {
        /* Addresses that are none, so that what is permitted fails in another way. */
        errno = 0;
        long number = strtol(*numbers, NULL, 0);
        long done = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
        printf("%s %s\n", *numbers, done < 0 ? strerrorname_np(errno) : "done");
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *what = argv[1], *at = argc > 2 ? argv[2] : "", *more = argc > 3 ? argv[3] : "";
#define IS(name) (strcmp(what, name) == 0)
    if (IS("read"))
        return can_read(at);
    if (IS("write"))
        return can_open(at, O_WRONLY);
    if (IS("make"))
        return can_open(at, O_WRONLY | O_CREAT);
    if (IS("signal"))
        return said(kill(atoi(at), 0));
    if (IS("connect"))
        return can_connect(at, atoi(more));
    if (IS("abstract"))
        return can_reach_abstract(at);
    if (IS("fork"))
        return can_fork(atoi(at));
    if (IS("memory"))
        return can_use_memory(atoi(at));
    if (IS("fill"))
        return can_fill(at, atoi(more));
    if (IS("files"))
        return can_make_files(at, atoi(more));
    if (IS("descriptors"))
        return can_open_descriptors(atoi(at));
    if (IS("inherited"))
        return inherited_descriptors();
    if (IS("kill-all"))
        return can_kill_all();
    if (IS("i386"))
        return can_call_as_i386();
    if (IS("mount"))
        return said(mount("none", at, "tmpfs", 0, ""));
    if (IS("remount"))
        return said(mount("none", at, "", MS_REMOUNT | MS_BIND, ""));
    if (IS("unmount"))
        return said(umount2(at, MNT_DETACH));
    if (IS("chroot"))
        return can_escape_chroot(at);
    if (IS("handle"))
        return can_open_by_handle(at);
    if (IS("unshare"))
        return said(unshare(CLONE_NEWUSER));
    if (IS("clone"))
        return can_clone_namespace(0);
    if (IS("clone3"))
        return can_clone_namespace(1);
    if (IS("mknod-block"))
        return said(mknod(at, S_IFBLK | 0600, makedev(254, 0)));
    if (IS("mknod-memory"))
        return said(mknod(at, S_IFCHR | 0600, makedev(1, 1)));
    if (IS("text"))
        return can_write_over_text();
    if (IS("trace"))
        return can_trace();
    if (IS("peek"))
        return can_read_other_memory();
    if (IS("userfaultfd"))
        return said(syscall(SYS_userfaultfd, 1) < 0);
    if (IS("io_uring")) {
        char params[120] = {0};
        return said(syscall(SYS_io_uring_setup, 4, params) < 0);
    }
    if (IS("keyctl"))
        return said(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0) < 0);
    if (IS("bpf")) {
        int attr[32] = {2 /* array */, 4, 4, 1};
        return said(syscall(SYS_bpf, 0 /* make a map */, attr, sizeof attr) < 0);
    }
    if (IS("input"))
        return can_push_input();
    if (IS("socket"))
        return said(socket(atoi(at), atoi(more), argc > 4 ? atoi(argv[4]) : 0) < 0);
    if (IS("hostname"))
        return said(sethostname("taken", 5));
    if (IS("nobody"))
        return as_nobody(argv + 2);
    if (IS("euid")) {
        errno = EPERM;
        return said(geteuid() != 0);
    }
    if (IS("link-read"))
        return through_link(at, more, O_RDONLY);
    if (IS("link-write"))
        return through_link(at, more, O_WRONLY | O_CREAT);
    if (IS("personality"))
        return said(syscall(SYS_personality, 0x0040000) < 0);
    if (IS("limit")) {
        struct rlimit none = {4096, 4096};
        return said(setrlimit(RLIMIT_NOFILE, &none));
    }
    if (IS("process-option"))
        return said(prctl(atoi(at), 1000, 0, 0, 0));
    if (IS("socket-option")) {
        int value = 1000, fd = socket(AF_INET, SOCK_STREAM, 0);
        return said(setsockopt(fd, atoi(at), atoi(more), &value, sizeof value));
    }
    if (IS("descriptor-option"))
        return said(fcntl(0, atoi(at), 10));
    if (IS("own-table"))
        return said(syscall(SYS_close_range, 100, 200, 2));
    if (IS("call"))
        return call(argv + 2);
    return 2;
}
