/* What is left in files, and in what descriptors know of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hostile.h"

#define OPENED SCRATCH "/opened-before"

static const char *written(int fd, const struct secret *secret) {
    return planted(fd < 0 || pwrite(fd, secret->bytes, SECRET_BYTES, 0) != SECRET_BYTES);
}

static const char *bytes_at(int fd, off_t offset) {
    uint8_t left[SECRET_BYTES] = {0};
    return pread(fd, left, SECRET_BYTES, offset) > 0 ? seen(left) : clean();
}

/* --- A file that was opened before any run. --- */

static void before_opened(void) {
    static const uint8_t nothing[2 * SECRET_BYTES];
    int fd = moved(open(OPENED, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), OPENED_FILE);
    if (fd < 0 || pwrite(fd, nothing, sizeof nothing, 0) != sizeof nothing)
        abort();
}
static bool opened(void) {
    if (!is_open(OPENED_FILE))
        before_opened();
    return true;
}

static const char *plant_content(const struct secret *secret) {
    opened();
    return written(OPENED_FILE, secret);
}
static const char *look_content(void) {
    return is_open(OPENED_FILE) ? bytes_at(OPENED_FILE, 0) : clean();
}
static const char *plant_grown(const struct secret *secret) {
    opened();
    return planted(pwrite(OPENED_FILE, secret->bytes, SECRET_BYTES, 5000) != SECRET_BYTES);
}
static const char *look_grown(void) {
    struct stat about;
    if (fstat(OPENED_FILE, &about) || about.st_size == 2 * SECRET_BYTES)
        return clean();
    return found("%lld bytes", (long long)about.st_size);
}
static const char *plant_offset(const struct secret *secret) {
    opened();
    return planted(lseek(OPENED_FILE, small(secret, 30), SEEK_SET) < 0);
}
static const char *look_offset(void) {
    off_t at = lseek(OPENED_FILE, 0, SEEK_CUR);
    return at <= 0 ? clean() : found("at %lld", (long long)at);
}
static const char *plant_append(const struct secret *secret) {
    (void)secret;
    opened();
    return planted(fcntl(OPENED_FILE, F_SETFL, O_APPEND | O_NONBLOCK) < 0);
}
static const char *look_append(void) {
    int flags = fcntl(OPENED_FILE, F_GETFL);
    return flags < 0 || !(flags & O_APPEND) ? clean() : found("flags %o", flags);
}
static const char *plant_lock(const struct secret *secret) {
    (void)secret;
    opened();
    return planted(flock(OPENED_FILE, LOCK_EX | LOCK_NB) < 0);
}
static const char *look_lock(void) {
    int fd = open(OPENED, O_RDWR | O_CLOEXEC);
    bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
    if (fd >= 0)
        close(fd);
    return held ? found("a lock") : clean();
}
static const char *plant_record_lock(const struct secret *secret) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = small(secret, 30), .l_len = 1};
    opened();
    return planted(fcntl(OPENED_FILE, F_SETLK, &lock) < 0);
}
static const char *look_record_lock(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(OPENED, O_RDWR | O_CLOEXEC);
    bool held = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    /* The only close of such a file in a look: it would drop this process's locks. */
    if (fd >= 0)
        close(fd);
    return held ? found("a lock at %lld", (long long)lock.l_start) : clean();
}
static const char *plant_xattr(const struct secret *secret) {
    opened();
    return planted(fsetxattr(OPENED_FILE, "user.left", secret->bytes, SECRET_BYTES, 0) < 0);
}
static const char *look_xattr(void) {
    uint8_t left[SECRET_BYTES];
    return fgetxattr(OPENED_FILE, "user.left", left, SECRET_BYTES) > 0 ? seen(left) : clean();
}
static const char *plant_mode(const struct secret *secret) {
    opened();
    return planted(fchmod(OPENED_FILE, small(secret, 07) << 3 | 0600) < 0);
}
static const char *look_mode(void) {
    struct stat about;
    return fstat(OPENED_FILE, &about) || (about.st_mode & 07777) == 0600 ? clean() : found("mode %o", about.st_mode);
}
static const char *plant_time(const struct secret *secret) {
    opened();
    struct timespec times[2] = {{small(secret, 30000), 0}, {small(secret, 30000), 0}};
    return planted(futimens(OPENED_FILE, times) < 0);
}
static const char *look_time(void) {
    struct stat about;
    return fstat(OPENED_FILE, &about) || about.st_mtime > 40000 ? clean() : found("of %lld", (long long)about.st_mtime);
}
static const char *plant_renamed(const struct secret *secret) {
    char path[64];
    opened();
    snprintf(path, sizeof path, SCRATCH "/%s", secret->hex);
    return planted(rename(OPENED, path) < 0);
}
static const char *look_renamed(void) {
    return !is_open(OPENED_FILE) || access(OPENED, F_OK) == 0 ? clean() : found("no such file any more");
}

/* --- New ones. --- */

static const char *plant_at(const char *path, const struct secret *secret) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const char *answer = written(fd, secret);
    close(fd);
    return answer;
}
static const char *look_at(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return clean();
    const char *answer = bytes_at(fd, 0);
    close(fd);
    return answer;
}
static const char *plant_scratch(const struct secret *secret) {
    return plant_at(SCRATCH "/left", secret);
}
static const char *look_scratch(void) {
    return look_at(SCRATCH "/left");
}
static const char *plant_posix_memory(const struct secret *secret) {
    return plant_at("/dev/shm/left", secret);
}
static const char *look_posix_memory(void) {
    return look_at("/dev/shm/left");
}
static const char *plant_own_folder(const struct secret *secret) {
    return plant_at("/var/task/left", secret);
}
static const char *look_own_folder(void) {
    return look_at("/var/task/left");
}
static const char *plant_folder(const struct secret *secret) {
    char path[64];
    snprintf(path, sizeof path, SCRATCH "/deep/%s", secret->hex);
    return planted(mkdir(SCRATCH "/deep", 0) || chmod(SCRATCH "/deep", 0700) || mkdir(path, 0700) || chmod(SCRATCH "/deep", 0));
}
static const char *look_folder(void) {
    return access(SCRATCH "/deep", F_OK) ? clean() : found("a folder");
}
static const char *plant_link(const struct secret *secret) {
    return planted(symlink(secret->hex, SCRATCH "/link") < 0);
}
static const char *look_link(void) {
    char target[64] = {0};
    return readlink(SCRATCH "/link", target, sizeof target - 1) < 0 ? clean() : found("%s", target);
}
static const char *plant_unlinked(const struct secret *secret) {
    int fd = moved(open(SCRATCH "/unlinked", O_RDWR | O_CREAT | O_CLOEXEC, 0600), UNLINKED_FILE);
    unlink(SCRATCH "/unlinked");
    return written(fd, secret);
}
static const char *look_unlinked(void) {
    return is_open(UNLINKED_FILE) ? bytes_at(UNLINKED_FILE, 0) : clean();
}
static const char *plant_descriptor(const struct secret *secret) {
    (void)secret;
    return planted(moved(open("/dev/null", O_RDWR | O_CLOEXEC), NEW_FILE) < 0);
}
static const char *look_descriptor(void) {
    return is_open(NEW_FILE) ? found("an open descriptor") : clean();
}

/* --- Descriptors that it has from the beginning. --- */

static const char *plant_closed(const struct secret *secret) {
    (void)secret;
    return planted(close(0) < 0);
}
static const char *look_closed(void) {
    return is_open(0) ? clean() : found("no standard input");
}
static const char *plant_replaced(const struct secret *secret) {
    int fd = memfd_create("left", MFD_CLOEXEC);
    written(fd, secret);
    int at = fd < 0 ? -1 : dup2(fd, 0);
    close(fd);
    return planted(at < 0);
}
static const char *look_replaced(void) {
    return bytes_at(0, 0);
}
static const char *plant_on_exec(const struct secret *secret) {
    (void)secret;
    return planted(fcntl(1, F_SETFD, FD_CLOEXEC) < 0);
}
static const char *look_on_exec(void) {
    return fcntl(1, F_GETFD) == 0 ? clean() : found("closed on execution");
}
static const char *plant_output_flags(const struct secret *secret) {
    (void)secret;
    return planted(fcntl(2, F_SETFL, O_NONBLOCK) < 0);
}
static const char *look_output_flags(void) {
    return fcntl(2, F_GETFL) & O_NONBLOCK ? found("an output that does not wait") : clean();
}

static void before_memory_file(void) {
    if (moved(memfd_create("before", MFD_CLOEXEC | MFD_ALLOW_SEALING), MEMORY_FILE) < 0)
        abort();
    if (ftruncate(MEMORY_FILE, PAGE_BYTES))
        abort();
}
static const char *plant_memory_file(const struct secret *secret) {
    if (!is_open(MEMORY_FILE) && moved(memfd_create("left", MFD_CLOEXEC), MEMORY_FILE) < 0)
        return planted(true);
    return written(MEMORY_FILE, secret);
}
static const char *look_memory_file(void) {
    return is_open(MEMORY_FILE) ? bytes_at(MEMORY_FILE, 0) : clean();
}
static const char *plant_seals(const struct secret *secret) {
    (void)secret;
    if (!is_open(MEMORY_FILE))
        before_memory_file();
    return planted(fcntl(MEMORY_FILE, F_ADD_SEALS, F_SEAL_GROW) < 0);
}
static const char *look_seals(void) {
    int seals = fcntl(MEMORY_FILE, F_GET_SEALS);
    return seals <= 0 ? clean() : found("seals %x", seals);
}

const struct channel file_channels[] = {
    {"file-content", before_opened, plant_content, look_content},
    {"file-grown", before_opened, plant_grown, look_grown},
    {"file-offset", before_opened, plant_offset, look_offset},
    {"file-append", before_opened, plant_append, look_append},
    {"file-lock", before_opened, plant_lock, look_lock},
    {"record-lock", before_opened, plant_record_lock, look_record_lock},
    {"xattr", before_opened, plant_xattr, look_xattr},
    {"file-mode", before_opened, plant_mode, look_mode},
    {"file-time", before_opened, plant_time, look_time},
    {"file-renamed", before_opened, plant_renamed, look_renamed},
    {"tmp-file", NULL, plant_scratch, look_scratch},
    {"posix-shm", NULL, plant_posix_memory, look_posix_memory},
    {"own-folder", NULL, plant_own_folder, look_own_folder},
    {"tmp-folder", NULL, plant_folder, look_folder},
    {"tmp-link", NULL, plant_link, look_link},
    {"unlinked", NULL, plant_unlinked, look_unlinked},
    {"descriptor", NULL, plant_descriptor, look_descriptor},
    {"stdin-closed", NULL, plant_closed, look_closed},
    {"stdin-replaced", NULL, plant_replaced, look_replaced},
    {"close-on-exec", NULL, plant_on_exec, look_on_exec},
    {"output-flags", NULL, plant_output_flags, look_output_flags},
    {"memfd", before_memory_file, plant_memory_file, look_memory_file},
    {"memfd-seals", before_memory_file, plant_seals, look_seals},
    {0},
};
