/* What the parts of the hostile program share.
 *
 * A channel is a way in which one run can leave something to the next. `before` makes, ahead of every run, what the
 * channel then misuses (only if $BEFORE names the channel); `plant` leaves the secret, or changes a state; `look`
 * tells whether a program that runs now sees it. A look knows numbers and addresses that are written in the code, and
 * nothing that a plant has noted: memory may be put back where the kernel's state is not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a program may write. */
#define SCRATCH "/tmp"

enum {
    SECRET_BYTES = 16,
    PAGE_BYTES = 4096,

    /* Descriptors at which channels keep theirs. */
    PIPE_READ = 100,
    PIPE_WRITE,
    PAIR_ONE,
    PAIR_OTHER,
    TCP_ONE,
    TCP_OTHER,
    DATAGRAMS,
    SECOND_LISTENER,
    EVENT_FD,
    TIMER_FD,
    EPOLL_FD,
    OPENED_FILE,
    MEMORY_FILE,
    NEW_FILE = 130,
    UNLINKED_FILE,
    DIALLED,
    INOTIFY_FD,
    SIGNAL_FD,

    SECOND_PORT = 18081,
    DATAGRAM_PORT = 18083,
};

struct secret {
    uint8_t bytes[SECRET_BYTES];
    char hex[2 * SECRET_BYTES + 1];
};

struct channel {
    const char *name;
    void (*before)(void);
    const char *(*plant)(const struct secret *);
    const char *(*look)(void);
};

extern const struct channel memory_channels[], register_channels[], file_channels[], socket_channels[],
    process_channels[], signal_channels[], sealed_channels[];

/* The socket at $PORT, and the one whose request is answered. */
extern int listener, current;
/* A request came that this program has sent to itself. */
extern bool smuggled;
/* Whether $BEFORE named the channel. */
extern bool was_before(const char *name);

/* Answers of a plant: `failed` by errno, or done. */
const char *planted(bool failed);
/* Answers of a look. */
const char *clean(void);
const char *found(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *found_bytes(const void *bytes, size_t length);
/* `clean` unless one of the secret's many bytes is there. */
const char *seen(const void *bytes);

/* A small number out of the secret, from 1 on: what a changed state is set to. */
unsigned small(const struct secret *secret, unsigned below);
/* The descriptor moved to a number of its own. */
int moved(int fd, int to);
bool is_open(int fd);
bool is_mapped(const void *address);
/* What stands behind `name:` in a file of lines, copied; empty where there is none. */
const char *line_of(const char *path, const char *name);
