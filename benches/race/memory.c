/* Counts the bytes that a process copies inside itself, and its allocations: loaded before glibc, it is asked for every
 * copy that the compiler has not written out in place. When the process ends, both go to the file that MEMORY_TO names. */
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ulong copied, allocations;

static void add(atomic_ulong *count, size_t more) {
    atomic_fetch_add_explicit(count, more, memory_order_relaxed);
}

static void *forward(volatile unsigned char *to, const unsigned char *from, size_t len) {
    add(&copied, len);
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
    add(&copied, len);
    while (len-- > 0) into[len] = out_of[len];
    return to;
}

/* glibc's own names for what it does by the others. */
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t count, size_t len);
void *__libc_realloc(void *old, size_t len);

void *malloc(size_t len) {
    add(&allocations, 1);
    return __libc_malloc(len);
}

void *calloc(size_t count, size_t len) {
    add(&allocations, 1);
    return __libc_calloc(count, len);
}

void *realloc(void *old, size_t len) {
    size_t held = malloc_usable_size(old);
    void *moved = __libc_realloc(old, len);
    add(&allocations, 1);
    if (old && moved && moved != old) add(&copied, held < len ? held : len);
    return moved;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("MEMORY_TO");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%lu %lu\n", copied, allocations);
        fclose(file);
    }
}

/* Python's os._exit runs no destructor. */
void _exit(int status) {
    tell();
    syscall(SYS_exit_group, status);
    __builtin_unreachable();
}
