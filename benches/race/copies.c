/* Counts the bytes that a process copies inside itself: loaded before libc, it is asked for every copy that the compiler
 * has not written out in place. When the process ends, the sum goes to the file that COPIES_TO names. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ulong copied;

static void *forward(volatile unsigned char *to, const unsigned char *from, size_t len) {
    atomic_fetch_add_explicit(&copied, len, memory_order_relaxed);
    for (size_t at = 0; at < len; at++) to[at] = from[at];
    return (void *)to;
}

void *memcpy(void *to, const void *from, size_t len) {
    return forward(to, from, len);
}

void *memmove(void *to, const void *from, size_t len) {
    volatile unsigned char *into = to;
    const unsigned char *out_of = from;
    /* Where the ends overlap, the last bytes go first. */
    if ((size_t)(into - out_of) >= len) return forward(to, from, len);
    atomic_fetch_add_explicit(&copied, len, memory_order_relaxed);
    while (len-- > 0) into[len] = out_of[len];
    return to;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("COPIES_TO");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%lu\n", copied);
        fclose(file);
    }
}

/* Python's os._exit runs no destructor. */
void _exit(int status) {
    tell();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}
