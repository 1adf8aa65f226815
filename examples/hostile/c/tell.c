/* How plants and looks put their answers into words, and what several channels ask the kernel for. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostile.h"

static char told[512];

static const char *error_name(int error) {
    switch (error) {
    case EPERM: return "EPERM";
    case EACCES: return "EACCES";
    case ENOSYS: return "ENOSYS";
    case EROFS: return "EROFS";
    case EINVAL: return "EINVAL";
    case ENOSPC: return "ENOSPC";
    case ENOMEM: return "ENOMEM";
    case EAGAIN: return "EAGAIN";
    case ENOENT: return "ENOENT";
    case EOPNOTSUPP: return "EOPNOTSUPP";
    case EBUSY: return "EBUSY";
    case EBADF: return "EBADF";
    case EFAULT: return "EFAULT";
    case ENXIO: return "ENXIO";
    case ENODEV: return "ENODEV";
    default: return "another error";
    }
}

const char *planted(bool failed) {
    if (!failed)
        return "planted";
    snprintf(told, 64, "denied %s", error_name(errno));
    return told;
}

const char *clean(void) {
    return "clean";
}

const char *found(const char *format, ...) {
    va_list list;
    strcpy(told, "found ");
    va_start(list, format);
    vsnprintf(told + 6, 240, format, list);
    va_end(list);
    return told;
}

const char *found_bytes(const void *bytes, size_t length) {
    char hex[2 * 64 + 1];
    const uint8_t *byte = bytes;
    if (length > 64)
        length = 64;
    for (size_t at = 0; at < length; at++)
        sprintf(hex + 2 * at, "%02x", byte[at]);
    hex[2 * length] = 0;
    found("%s", hex);
    explicit_bzero(hex, sizeof hex);
    return told;
}

const char *seen(const void *bytes) {
    static const uint8_t nothing[SECRET_BYTES];
    return memcmp(bytes, nothing, SECRET_BYTES) == 0 ? clean() : found_bytes(bytes, SECRET_BYTES);
}

unsigned small(const struct secret *secret, unsigned below) {
    return 1 + (secret->bytes[0] | (unsigned)secret->bytes[1] << 8) % (below - 1);
}

int moved(int fd, int to) {
    if (fd < 0 || fd == to)
        return fd;
    int at = dup3(fd, to, O_CLOEXEC);
    int error = errno;
    close(fd);
    errno = error;
    return at;
}

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

bool is_mapped(const void *address) {
    unsigned char there;
    return mincore((void *)((uintptr_t)address & ~(uintptr_t)(PAGE_BYTES - 1)), 1, &there) == 0;
}

const char *line_of(const char *path, const char *name) {
    static char line[256];
    FILE *file = fopen(path, "re");
    size_t length = strlen(name);
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            memmove(line, line + length + 1, strlen(line + length + 1) + 1);
            return line;
        }
    if (file)
        fclose(file);
    return "";
}
