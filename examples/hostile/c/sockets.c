/* What is left in pipes, sockets, and other things that only a descriptor names. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile.h"

enum { DESCRIPTORS_END = 256 };

static int both_moved(const int *ends, int one, int other) {
    return moved(ends[0], one) < 0 || moved(ends[1], other) < 0 ? -1 : 0;
}

static const char *sent(int fd, const struct secret *secret) {
    return planted(write(fd, secret->bytes, SECRET_BYTES) != SECRET_BYTES);
}

/* What waits to be read, without waiting for it. */
static const char *waiting(int fd) {
    uint8_t left[SECRET_BYTES] = {0};
    int length = 0;
    if (!is_open(fd) || ioctl(fd, FIONREAD, &length) < 0 || length == 0)
        return clean();
    return read(fd, left, SECRET_BYTES) > 0 ? found_bytes(left, SECRET_BYTES) : clean();
}

static void before_pipe(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) || both_moved(ends, PIPE_READ, PIPE_WRITE))
        abort();
}
static const char *plant_pipe(const struct secret *secret) {
    if (!is_open(PIPE_READ))
        before_pipe();
    return sent(PIPE_WRITE, secret);
}
static const char *look_pipe(void) {
    return waiting(PIPE_READ);
}
static const char *plant_pipe_room(const struct secret *secret) {
    (void)secret;
    if (!is_open(PIPE_READ))
        before_pipe();
    return planted(fcntl(PIPE_WRITE, F_SETPIPE_SZ, PAGE_BYTES) < 0);
}
static const char *look_pipe_room(void) {
    int room = fcntl(PIPE_READ, F_GETPIPE_SZ);
    return room < 0 || room == 65536 ? clean() : found("room for %d", room);
}

static void before_pair(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) || both_moved(ends, PAIR_ONE, PAIR_OTHER))
        abort();
}
static const char *plant_pair(const struct secret *secret) {
    if (!is_open(PAIR_ONE))
        before_pair();
    return sent(PAIR_ONE, secret);
}
static const char *look_pair(void) {
    return waiting(PAIR_OTHER);
}

/* A file that has no other name than this message. */
static const char *plant_passed(const struct secret *secret) {
    if (!is_open(PAIR_ONE))
        before_pair();
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return planted(true);
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } beside = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec byte = {"x", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &beside,
                             .msg_controllen = sizeof beside.room};
    memcpy(CMSG_DATA(&beside.head), &fd, sizeof fd);
    bool failed = write(fd, secret->bytes, SECRET_BYTES) < 0 || sendmsg(PAIR_ONE, &message, 0) < 0;
    int error = errno;
    close(fd);
    errno = error;
    return planted(failed);
}
static const char *look_passed(void) {
    uint8_t left[SECRET_BYTES] = {0};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } beside;
    char byte;
    struct iovec to = {&byte, 1};
    struct msghdr message = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = &beside,
                             .msg_controllen = sizeof beside.room};
    if (!is_open(PAIR_OTHER) || recvmsg(PAIR_OTHER, &message, MSG_DONTWAIT) <= 0)
        return clean();
    int fd;
    if (message.msg_controllen < CMSG_LEN(sizeof fd))
        return found("a message");
    memcpy(&fd, CMSG_DATA(&beside.head), sizeof fd);
    pread(fd, left, SECRET_BYTES, 0);
    close(fd);
    return found_bytes(left, SECRET_BYTES);
}

/* --- The network, which is the sandbox's own. --- */

static struct sockaddr_in own(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int dialled(int port) {
    struct sockaddr_in to = own(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void before_second(void) {
    if (is_open(SECOND_LISTENER))
        return;
    struct sockaddr_in at = own(SECOND_PORT);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 8) || moved(fd, SECOND_LISTENER) < 0)
        abort();
}
static void before_tcp(void) {
    before_second();
    int one = dialled(SECOND_PORT), other = accept4(SECOND_LISTENER, NULL, NULL, SOCK_CLOEXEC);
    if (one < 0 || other < 0 || moved(one, TCP_ONE) < 0 || moved(other, TCP_OTHER) < 0)
        abort();
}
static const char *plant_tcp(const struct secret *secret) {
    if (!is_open(TCP_ONE))
        before_tcp();
    return sent(TCP_ONE, secret);
}
static const char *look_tcp(void) {
    return waiting(TCP_OTHER);
}

static void before_datagram(void) {
    struct sockaddr_in at = own(DATAGRAM_PORT);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || moved(fd, DATAGRAMS) < 0)
        abort();
}
static const char *plant_datagram(const struct secret *secret) {
    struct sockaddr_in to = own(DATAGRAM_PORT);
    if (!is_open(DATAGRAMS))
        before_datagram();
    ssize_t sent = sendto(DATAGRAMS, secret->bytes, SECRET_BYTES, 0, (struct sockaddr *)&to, sizeof to);
    return planted(sent != SECRET_BYTES);
}
static const char *look_datagram(void) {
    return waiting(DATAGRAMS);
}

/* Connections that nobody has accepted yet: the other end is closed, and the bytes wait. */
static const char *plant_backlog(const struct secret *secret) {
    before_second();
    int fd = dialled(SECOND_PORT);
    if (fd < 0)
        return planted(true);
    const char *answer = sent(fd, secret);
    close(fd);
    return answer;
}
static const char *accepted_bytes(int from) {
    uint8_t left[64] = {0};
    int fd = is_open(from) ? accept4(from, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
    if (fd < 0)
        return clean();
    ssize_t length = read(fd, left, sizeof left);
    close(fd);
    return found_bytes(left, length > 0 ? (size_t)length : 0);
}
static const char *look_backlog(void) {
    return accepted_bytes(SECOND_LISTENER);
}
/* The same at $PORT; the server calls this behind its reply, and accepts nothing for a while then. */
const char *dial_own_port(const struct secret *secret) {
    char text[128];
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    getsockname(listener, (struct sockaddr *)&at, &length);
    int fd = moved(dialled(ntohs(at.sin_port)), DIALLED);
    snprintf(text, sizeof text, "GET /smuggled?secret=%s HTTP/1.1\r\nhost: x\r\n\r\n", secret->hex);
    return planted(fd < 0 || write(fd, text, strlen(text)) < 0);
}
static const char *plant_own_backlog(const struct secret *secret) {
    (void)secret;
    return planted(false);
}
static const char *look_own_backlog(void) {
    int flags = fcntl(listener, F_GETFL);
    fcntl(listener, F_SETFL, flags | O_NONBLOCK);
    const char *answer = accepted_bytes(listener);
    fcntl(listener, F_SETFL, flags);
    return smuggled ? found("a request of its own") : answer;
}

static const char *plant_listener_option(const struct secret *secret) {
    struct linger linger = {1, (int)small(secret, 30000)};
    return planted(setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0);
}
static const char *look_listener_option(void) {
    struct linger linger = {0};
    socklen_t length = sizeof linger;
    getsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, &length);
    return linger.l_onoff == 0 ? clean() : found("lingers for %d", linger.l_linger);
}
static const char *plant_listener_ttl(const struct secret *secret) {
    int ttl = (int)small(secret, 200);
    return planted(setsockopt(listener, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl) < 0);
}
static const char *look_listener_ttl(void) {
    int ttl = 0;
    socklen_t length = sizeof ttl;
    getsockopt(listener, IPPROTO_IP, IP_TTL, &ttl, &length);
    return ttl == 64 ? clean() : found("ttl %d", ttl);
}
static const char *plant_listener_flags(const struct secret *secret) {
    (void)secret;
    return planted(fcntl(listener, F_SETFL, O_NONBLOCK | O_ASYNC) < 0);
}
static const char *look_listener_flags(void) {
    int flags = fcntl(listener, F_GETFL);
    return flags & (O_NONBLOCK | O_ASYNC) ? found("flags %o", flags) : clean();
}
static const char *plant_listener_backlog(const struct secret *secret) {
    (void)secret;
    return planted(listen(listener, 3) < 0);
}
static const char *look_listener_backlog(void) {
    struct tcp_info about = {0};
    socklen_t length = sizeof about;
    getsockopt(listener, IPPROTO_TCP, TCP_INFO, &about, &length);
    return about.tcpi_sacked == 3 ? found("room for 3") : clean();
}

/* A name of a socket that is in no folder. */
static const char *plant_abstract(const struct secret *secret) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path + 1, secret->hex, 2 * SECRET_BYTES);
    int fd = moved(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), NEW_FILE + 20);
    return planted(bind(fd, (struct sockaddr *)&at, sizeof(sa_family_t) + 1 + 2 * SECRET_BYTES) < 0);
}
static const char *look_abstract(void) {
    char line[256];
    bool has = false;
    FILE *sockets = fopen("/proc/net/unix", "re");
    while (sockets && fgets(line, sizeof line, sockets))
        has |= strchr(line, '@') != NULL;
    if (sockets)
        fclose(sockets);
    return has || is_open(NEW_FILE + 20) ? found("a name") : clean();
}

/* --- What else descriptors stand for. --- */

static void before_event(void) {
    if (moved(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), EVENT_FD) < 0)
        abort();
}
static const char *plant_event(const struct secret *secret) {
    uint64_t count;
    memcpy(&count, secret->bytes, sizeof count);
    count >>= 2;
    if (!is_open(EVENT_FD))
        before_event();
    return planted(write(EVENT_FD, &count, sizeof count) < 0);
}
static const char *look_event(void) {
    uint64_t count;
    return read(EVENT_FD, &count, sizeof count) < 0 ? clean() : found("%llx", (unsigned long long)count);
}

static void before_timer(void) {
    if (moved(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), TIMER_FD) < 0)
        abort();
}
static const char *plant_timer(const struct secret *secret) {
    if (!is_open(TIMER_FD))
        before_timer();
    struct itimerspec far = {{small(secret, 9000), 0}, {1000 + small(secret, 9000), 0}};
    return planted(timerfd_settime(TIMER_FD, 0, &far, NULL) < 0);
}
static const char *look_timer(void) {
    struct itimerspec now = {0};
    timerfd_gettime(TIMER_FD, &now);
    return now.it_value.tv_sec == 0 ? clean() : found("armed, every %lld s", (long long)now.it_interval.tv_sec);
}

static void before_epoll(void) {
    if (moved(epoll_create1(EPOLL_CLOEXEC), EPOLL_FD) < 0)
        abort();
    struct epoll_event event = {EPOLLIN, {.u64 = 1}};
    if (epoll_ctl(EPOLL_FD, EPOLL_CTL_ADD, listener, &event))
        abort();
}
static const char *plant_epoll(const struct secret *secret) {
    struct epoll_event event = {EPOLLOUT | EPOLLIN, {.u64 = 0}};
    memcpy(&event.data.u64, secret->bytes, sizeof event.data.u64);
    if (!is_open(EPOLL_FD))
        before_epoll();
    return planted(epoll_ctl(EPOLL_FD, EPOLL_CTL_ADD, 1, &event) || epoll_ctl(EPOLL_FD, EPOLL_CTL_DEL, listener, NULL));
}
static const char *look_epoll(void) {
    struct epoll_event event;
    if (!is_open(EPOLL_FD))
        return clean();
    if (epoll_wait(EPOLL_FD, &event, 1, 0) > 0 && event.data.u64 != 1)
        return found_bytes(&event.data.u64, sizeof event.data.u64);
    event.data.u64 = 1;
    event.events = EPOLLIN;
    return epoll_ctl(EPOLL_FD, EPOLL_CTL_MOD, listener, &event) ? found("a member that went") : clean();
}

static const char *plant_watch(const struct secret *secret) {
    (void)secret;
    int fd = moved(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), INOTIFY_FD);
    return planted(fd < 0 || inotify_add_watch(fd, "/tmp", IN_ALL_EVENTS) < 0);
}
static const char *look_watch(void) {
    return is_open(INOTIFY_FD) ? found("a watch") : clean();
}
static const char *plant_signal_fd(const struct secret *secret) {
    (void)secret;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    return planted(moved(signalfd(-1, &one, SFD_CLOEXEC | SFD_NONBLOCK), SIGNAL_FD) < 0);
}
static const char *look_signal_fd(void) {
    return is_open(SIGNAL_FD) ? found("a descriptor of signals") : clean();
}

/* A request whose body was not read: it waits in a connection that this program has forgotten. */
static const char *plant_half(const struct secret *secret) {
    (void)secret;
    return planted(false);
}
static const char *look_half(void) {
    uint8_t left[SECRET_BYTES];
    for (int fd = 3; fd < DESCRIPTORS_END; fd++)
        if (fd != current && fd != listener && recv(fd, left, SECRET_BYTES, MSG_PEEK | MSG_DONTWAIT) > 0)
            return found("%.16s", (const char *)left);
    return clean();
}

const struct channel socket_channels[] = {
    {"pipe", before_pipe, plant_pipe, look_pipe},
    {"pipe-room", before_pipe, plant_pipe_room, look_pipe_room},
    {"socketpair", before_pair, plant_pair, look_pair},
    {"passed", before_pair, plant_passed, look_passed},
    {"tcp", before_tcp, plant_tcp, look_tcp},
    {"datagram", before_datagram, plant_datagram, look_datagram},
    {"backlog", before_second, plant_backlog, look_backlog},
    {"own-backlog", NULL, plant_own_backlog, look_own_backlog},
    {"listener-option", NULL, plant_listener_option, look_listener_option},
    {"listener-ttl", NULL, plant_listener_ttl, look_listener_ttl},
    {"listener-flags", NULL, plant_listener_flags, look_listener_flags},
    {"listener-backlog", NULL, plant_listener_backlog, look_listener_backlog},
    {"abstract-name", NULL, plant_abstract, look_abstract},
    {"eventfd", before_event, plant_event, look_event},
    {"timerfd", before_timer, plant_timer, look_timer},
    {"epoll", before_epoll, plant_epoll, look_epoll},
    {"inotify", NULL, plant_watch, look_watch},
    {"signalfd", NULL, plant_signal_fd, look_signal_fd},
    {"half-read", NULL, plant_half, look_half},
    {0},
};
