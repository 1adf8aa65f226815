/* What a crash leaves: a core dump, where one is written. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

enum { WANTED_BYTES = 1 << 24 };

/* Ends this process as a defect would, where it may write. */
void crash(void) {
    struct rlimit wanted = {WANTED_BYTES, WANTED_BYTES};
    struct sigaction usual = {.sa_handler = SIG_DFL};
    /* Whoever may have a dump has one. */
    setrlimit(RLIMIT_CORE, &wanted);
    sigaction(SIGABRT, &usual, NULL);
    abort();
}

static int files(const char *place) {
    int count = 0;
    DIR *folder = opendir(place);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count;
}

/* A child that crashes in scratch, and what came of it. */
const char *crash_child(void) {
    static char told[96];
    int status = 0, before = files(SCRATCH);
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(SCRATCH))
            _exit(1);
        crash();
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return "no child";
    snprintf(told, sizeof told, "signal %d, %s, %d files", WIFSIGNALED(status) ? WTERMSIG(status) : 0,
             WCOREDUMP(status) ? "dumped" : "not dumped", files(SCRATCH) - before);
    return told;
}
