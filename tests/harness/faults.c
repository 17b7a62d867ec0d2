/* Preloaded into a process of a test: what its disk and its clock do is told by a page of memory that the test shares.

   FAULTS_PAGE names the file of that page; of FAULTS_ONLY, where it is set, a file's name must have a part for its flush to be
   slow or to fail. Everything else is libc's. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct page {
    _Atomic int64_t delay_us;  /* before each flush */
    _Atomic int64_t fails_in;  /* the so manieth flush from now fails; -1: each; 0: none */
    _Atomic int64_t skew_ns;   /* added to the time of day */
    _Atomic int64_t flushes;   /* seen so far */
    _Atomic int64_t failures;  /* of those, failed by us */
};

static struct page *page;
static const char *only;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("FAULTS_PAGE");
    if (name == NULL) return;
    int fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED) page = found;
    only = getenv("FAULTS_ONLY");
}

static int is_meant(int fd) {
    if (page == NULL) return 0;
    if (only == NULL || *only == '\0') return 1;
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return strstr(path, only) != NULL;
}

/* 0: go on; -1: it is to fail. */
static int flushing(int fd) {
    if (!is_meant(fd)) return 0;
    atomic_fetch_add(&page->flushes, 1);
    int64_t delay_us = atomic_load(&page->delay_us);
    if (delay_us > 0) {
        struct timespec rest = {delay_us / 1000000, delay_us % 1000000 * 1000};
        nanosleep(&rest, NULL);
    }
    int64_t fails_in = atomic_load(&page->fails_in);
    while (fails_in > 0 && !atomic_compare_exchange_weak(&page->fails_in, &fails_in, fails_in - 1)) {}
    if (fails_in != 1 && fails_in != -1) return 0;
    atomic_fetch_add(&page->failures, 1);
    errno = EIO;
    return -1;
}

int fsync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return flushing(fd) == 0 ? real(fd) : -1;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (real == NULL) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return flushing(fd) == 0 ? real(fd) : -1;
}

static int64_t skew_ns(void) { return page == NULL ? 0 : atomic_load(&page->skew_ns); }

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int answer = real(clock, now);
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t at = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + skew_ns();
        now->tv_sec = at / 1000000000;
        now->tv_nsec = at % 1000000000;
    }
    return answer;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    int answer = clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return answer;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out != NULL) *out = at.tv_sec;
    return at.tv_sec;
}
