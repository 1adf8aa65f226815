/* Prints the registers of each thread of a process: its number, those that a call to the kernel does not change, and
 * all of the extended state, in hexadecimal digits. */
#include <dirent.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

static void print(int thread) {
    static unsigned char state[16384];
    struct user_regs_struct r;
    struct iovec general = {&r, sizeof r}, extended = {state, sizeof state};
    int status;
    if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0) ||
        waitpid(thread, &status, __WALL) != thread)
        exit(1);
    if (ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, &general) ||
        ptrace(PTRACE_GETREGSET, thread, NT_X86_XSTATE, &extended))
        exit(1);
    printf("%d pc %llx sp %llx bx %llx bp %llx 12 %llx 13 %llx 14 %llx 15 %llx fs %llx gs %llx control %x %x|", thread,
           r.rip, r.rsp, r.rbx, r.rbp, r.r12, r.r13, r.r14, r.r15, r.fs_base, r.gs_base, *(unsigned short *)state,
           *(unsigned *)(state + 24));
    /* As they lie in memory, so that a secret which is spread over two of them is found as well. */
    unsigned long long pairs[] = {r.r12, r.r13, r.r14, r.r15, r.rbx, r.rbp, r.gs_base};
    for (size_t at = 0; at < sizeof pairs; at++)
        printf("%02x", ((unsigned char *)pairs)[at]);
    for (size_t at = 0; at < extended.iov_len; at++)
        printf("%02x", state[at]);
    puts("");
    ptrace(PTRACE_DETACH, thread, 0, 0);
}

int main(int count, char **argument) {
    char path[64];
    (void)count;
    snprintf(path, sizeof path, "/proc/%s/task", argument[1]);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (atoi(entry->d_name) > 0)
            print(atoi(entry->d_name));
    return folder == NULL;
}
