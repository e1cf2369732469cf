/* A wall clock that is off by as many seconds as the file HEADROOM_CLOCK says, for a process and all that it starts:
 * cc -shared -fPIC -o clock.so clock.c -ldl; LD_PRELOAD=clock.so.
 *
 * As on a machine whose clock is set, the monotonic clock goes on, and so do waits: a deadline by the wall clock is
 * handed to the kernel as what it means by the true one. (libfaketime 0.9.10 cannot leave the monotonic clock alone:
 * each time.sleep of Python then fails with EINVAL.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WALL_SECONDS 300000000 /* a deadline beyond this is by the wall clock; no machine is up for ten years */

static long (*true_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) { true_syscall = dlsym(RTLD_NEXT, "syscall"); }

static int true_clock(clockid_t clock, struct timespec *at) {
    if (!true_syscall) begin();
    return (int)true_syscall(SYS_clock_gettime, clock, at);
}

/* Seconds, read at most four times a second. */
static long off(void) {
    static volatile long kept, read_at = -1;
    struct timespec now;
    true_clock(CLOCK_MONOTONIC, &now);
    long quarter = now.tv_sec * 4 + now.tv_nsec / 250000000;
    if (quarter != read_at) {
        int error = errno;
        const char *path = getenv("HEADROOM_CLOCK");
        char text[32] = {0};
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) kept = atol(text);
            close(file);
        }
        read_at = quarter;
        errno = error;
    }
    return kept;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = true_clock(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static struct timespec truly(const struct timespec *end) {
    struct timespec at = *end;
    if (at.tv_sec > WALL_SECONDS) at.tv_sec -= off();
    if (at.tv_sec < 0) at.tv_sec = 0;
    return at;
}

#define NEXT(name, type) static type next; if (!next) next = (type)dlsym(RTLD_NEXT, name)

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict end) {
    typedef int (*waits)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    static waits next;
    if (!next && !(next = (waits)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2")))
        next = (waits)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec at = truly(end);
    return next(cond, mutex, &at);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict end) {
    typedef int (*waits)(sem_t *, const struct timespec *);
    NEXT("sem_timedwait", waits);
    struct timespec at = truly(end);
    return next(semaphore, &at);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict end) {
    typedef int (*waits)(pthread_mutex_t *, const struct timespec *);
    NEXT("pthread_mutex_timedlock", waits);
    struct timespec at = truly(end);
    return next(mutex, &at);
}

long syscall(long number, ...) {
    long a[6];
    va_list words;
    va_start(words, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(words, long);
    va_end(words);
    if (!true_syscall) begin();
    struct timespec at;
    int op = (int)a[1] & FUTEX_CMD_MASK;
    if (number == SYS_futex && a[3] && op == FUTEX_WAIT_BITSET && ((int)a[1] & FUTEX_CLOCK_REALTIME)) {
        at = truly((const struct timespec *)a[3]);
        a[3] = (long)&at;
    }
    return true_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
