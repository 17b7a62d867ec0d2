/* The two ends of a benchmark in one small program: an upstream that always answers the same, and a load generator.
 *
 *   loopback upstream PORT [PACE_MS]    serve on 127.0.0.1, until killed
 *   loopback load --port P [options]    call, then print one JSON object
 *   loopback show answer|stream         print what the upstream sends
 *
 * Both run in one thread on epoll; each states its own ceiling when they are pointed at each other (README.md).
 */
#define _GNU_SOURCE
#include "loopback_load.h"
#include "loopback_upstream.h"

int main(int argc, char **argv) {
    if (argc >= 3 && !strcmp(argv[1], "upstream")) upstream(atoi(argv[2]), argc > 3 ? atoi(argv[3]) : 0);
    if (argc >= 3 && !strcmp(argv[1], "show")) return show(argv[2]);
    if (argc >= 2 && !strcmp(argv[1], "load")) return load(argc - 1, argv + 1);
    fprintf(stderr,
            "usage: loopback upstream PORT [PACE_MS] | loopback show answer|stream |\n"
            "       loopback load --port P [--host IP] [--path /P] [--method M] [--connections N] [--seconds T]\n"
            "                     [--rate R] [--calls N] [--header LINE]... [--body FILE]\n");
    return 2;
}
