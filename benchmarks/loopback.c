/* The two ends of a benchmark in one small program: an upstream that always answers the same, and a load generator.
 *
 *   loopback upstream PORT [PACE_MS [chaos]]    serve on 127.0.0.1, until killed
 *   loopback load --port P [options]            call, then print one JSON object
 *   loopback show answer|stream|chaos           print what the upstream sends, and how it misbehaves
 *
 * Both run in one thread on epoll; each states its own ceiling when they are pointed at each other (README.md).
 */
#define _GNU_SOURCE
#include "loopback_load.h"
#include "loopback_upstream.h"

/* As many connections as the system allows without asking. */
static void raise_file_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files)) die("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files)) die("setrlimit");
}

int main(int argc, char **argv) {
    raise_file_limit();
    if (argc >= 3 && !strcmp(argv[1], "upstream"))
        upstream(atoi(argv[2]), argc > 3 ? atoi(argv[3]) : 0, argc > 4 && !strcmp(argv[4], "chaos"));
    if (argc >= 3 && !strcmp(argv[1], "show")) return show(argv[2]);
    if (argc >= 2 && !strcmp(argv[1], "load")) return load(argc - 1, argv + 1);
    fprintf(stderr,
            "usage: loopback upstream PORT [PACE_MS [chaos]] | loopback show answer|stream|chaos |\n"
            "       loopback load --port P [--host IP] [--path /P] [--method M] [--connections N] [--seconds T]\n"
            "                     [--rate R] [--calls N] [--drain T] [--header LINE]... [--body FILE]\n"
            "                     [--other FILE --every N] [--leave N] [--gaps]\n");
    return 2;
}
