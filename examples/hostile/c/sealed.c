/* What a sandbox is to deny, and what the kernel counts and nobody can set back. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

static const char *plant_personality(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_personality, 0x0040000 /* no randomised addresses */) < 0);
}
static const char *look_personality(void) {
    long now = syscall(SYS_personality, 0xffffffff);
    return now == 0 ? clean() : found("personality %lx", now);
}
static const char *plant_score(const struct secret *secret) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    char text[8];
    int length = snprintf(text, sizeof text, "%u", small(secret, 900));
    bool failed = fd < 0 || write(fd, text, (size_t)length) < 0;
    int error = errno;
    close(fd);
    errno = error;
    return planted(failed);
}
static const char *look_score(void) {
    char text[16] = {0};
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    bool has = fd >= 0 && read(fd, text, sizeof text - 1) > 0 && atoi(text) != 0;
    close(fd);
    return has ? found("%s", text) : clean();
}
static const char *plant_filter(const struct secret *secret) {
    (void)secret;
    return planted(prctl(PR_SET_SECCOMP, 1) < 0);
}
static const char *plant_filter_call(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_seccomp, 1, 0, NULL) < 0);
}
static const char *plant_tracing(const struct secret *secret) {
    (void)secret;
    return planted(ptrace(PTRACE_TRACEME, 0, 0, 0) < 0);
}
static const char *plant_ring(const struct secret *secret) {
    char parameters[120] = {0};
    (void)secret;
    return planted(syscall(SYS_io_uring_setup, 4, parameters) < 0);
}
static const char *plant_faults(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_userfaultfd, 1) < 0);
}
static const char *plant_keyring(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_keyctl, 1 /* join a session */, "left") < 0);
}
static const char *plant_namespace(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_unshare, 0x400 /* the table of descriptors */) < 0);
}
static const char *plant_segment(const struct secret *secret) {
    (void)secret;
    return planted(syscall(SYS_modify_ldt, 0, NULL, 0) < 0);
}
static const char *plant_ruleset(const struct secret *secret) {
    (void)secret;
    return planted(syscall(444, NULL, 0, 1 /* version */) < 0);
}
static const char *plant_dispatch(const struct secret *secret) {
    (void)secret;
    return planted(prctl(59, 0, 0, 0, 0) < 0);
}
static const char *plant_no_exec(const struct secret *secret) {
    (void)secret;
    return planted(prctl(65, 1, 0, 0, 0) < 0);
}
static const char *plant_secret_memory(const struct secret *secret) {
    (void)secret;
    return planted(syscall(447, 0) < 0);
}
static const char *look_nothing(void) {
    return clean();
}

/* --- Counters. --- */

static long number(void) {
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    return pid;
}
static const char *plant_numbers(const struct secret *secret) {
    for (unsigned at = 20 + small(secret, 10); at > 0; at--)
        if (number() < 0)
            return planted(true);
    return planted(false);
}
static const char *look_numbers(void) {
    long next = number();
    return next < 20 ? clean() : found("process %ld", next);
}
static const char *plant_peak(const struct secret *secret) {
    size_t length = 48 << 20;
    (void)secret;
    uint8_t *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return planted(at == MAP_FAILED || munmap(at, length) < 0);
}
static const char *look_peak(void) {
    long kib = atol(line_of("/proc/self/status", "VmHWM"));
    return kib < 40 << 10 ? clean() : found("%ld KiB at most", kib);
}
static const char *plant_time_used(const struct secret *secret) {
    struct rusage now;
    (void)secret;
    do
        getrusage(RUSAGE_SELF, &now);
    while (now.ru_utime.tv_usec + now.ru_stime.tv_usec < 60000 && now.ru_utime.tv_sec == 0);
    return planted(false);
}
static const char *look_time_used(void) {
    struct rusage now;
    getrusage(RUSAGE_SELF, &now);
    long us = now.ru_utime.tv_sec * 1000000 + now.ru_utime.tv_usec + now.ru_stime.tv_usec;
    return us < 50000 ? clean() : found("%ld us", us);
}
/* The network counts what it refuses. */
static const char *plant_packets(const struct secret *secret) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned at = 100 + small(secret, 100); at > 0; at--)
        sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof to);
    return planted(close(fd) < 0);
}
static const char *look_packets(void) {
    char line[1024];
    long refused = 0;
    FILE *counters = fopen("/proc/net/snmp", "re");
    while (counters && fgets(line, sizeof line, counters))
        if (strncmp(line, "Udp: ", 5) == 0 && line[5] != 'I')
            sscanf(line + 5, "%*d %ld", &refused);
    if (counters)
        fclose(counters);
    return refused == 0 ? clean() : found("%ld packets", refused);
}

const struct channel sealed_channels[] = {
    {"personality", NULL, plant_personality, look_personality},
    {"oom-score", NULL, plant_score, look_score},
    {"seccomp-prctl", NULL, plant_filter, look_nothing},
    {"seccomp", NULL, plant_filter_call, look_nothing},
    {"ptrace", NULL, plant_tracing, look_nothing},
    {"io-uring", NULL, plant_ring, look_nothing},
    {"userfaultfd", NULL, plant_faults, look_nothing},
    {"keyring", NULL, plant_keyring, look_nothing},
    {"unshare", NULL, plant_namespace, look_nothing},
    {"ldt", NULL, plant_segment, look_nothing},
    {"landlock", NULL, plant_ruleset, look_nothing},
    {"dispatch", NULL, plant_dispatch, look_nothing},
    {"no-new-code", NULL, plant_no_exec, look_nothing},
    {"memfd-secret", NULL, plant_secret_memory, look_nothing},
    {"process-numbers", NULL, plant_numbers, look_numbers},
    {"peak-memory", NULL, plant_peak, look_peak},
    {"time-used", NULL, plant_time_used, look_time_used},
    {"packet-count", NULL, plant_packets, look_packets},
    {0},
};
