/* What a load is to do: its command line, checked, and the bytes of the requests that it asks for. */
#ifndef LOOPBACK_WANTED_H
#define LOOPBACK_WANTED_H

#include <getopt.h>

#include "loopback_http.h"

#define DRAIN_S 10
#define MAX_SECONDS 3600
#define MAX_CONNECTIONS 4096

typedef struct {
    char *data;
    size_t len;
} request;

static struct {
    const char *host, *path, *method, *body_file, *other_file;
    int port, connections, gaps;
    double seconds, rate, drain_s;
    uint64_t calls; /* 0: no limit */
    uint64_t every; /* so many calls one takes the other body; 0: none */
    uint64_t leave; /* so many calls one is given up before its answer is whole; 0: none */
    char headers[MAX_HEAD];
} wanted = {.host = "127.0.0.1", .path = "/", .method = "POST", .connections = 1, .seconds = 1, .drain_s = DRAIN_S};

static void add_header(const char *line) {
    size_t at = strlen(wanted.headers);
    if (at + strlen(line) + 3 > sizeof wanted.headers) {
        fprintf(stderr, "expected header lines of at most %zu bytes together\n", sizeof wanted.headers);
        exit(2);
    }
    sprintf(wanted.headers + at, "%s\r\n", line);
}

static void read_option(int option) {
    switch (option) {
        case 'h': wanted.host = optarg; break;
        case 'p': wanted.port = atoi(optarg); break;
        case 'u': wanted.path = optarg; break;
        case 'm': wanted.method = optarg; break;
        case 'c': wanted.connections = atoi(optarg); break;
        case 's': wanted.seconds = atof(optarg); break;
        case 'r': wanted.rate = atof(optarg); break;
        case 'n': wanted.calls = strtoull(optarg, NULL, 10); break;
        case 'd': wanted.drain_s = atof(optarg); break;
        case 'H': add_header(optarg); break;
        case 'b': wanted.body_file = optarg; break;
        case 'o': wanted.other_file = optarg; break;
        case 'e': wanted.every = strtoull(optarg, NULL, 10); break;
        case 'l': wanted.leave = strtoull(optarg, NULL, 10); break;
        case 'g': wanted.gaps = 1; break;
        default: exit(2);
    }
}

static void read_options(int argc, char **argv) {
    static const struct option options[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'},    {"path", 1, 0, 'u'},  {"method", 1, 0, 'm'}, {"connections", 1, 0, 'c'},
        {"body", 1, 0, 'b'}, {"seconds", 1, 0, 's'}, {"rate", 1, 0, 'r'},  {"calls", 1, 0, 'n'},  {"header", 1, 0, 'H'},
        {"gaps", 0, 0, 'g'}, {"other", 1, 0, 'o'},   {"every", 1, 0, 'e'}, {"leave", 1, 0, 'l'},  {"drain", 1, 0, 'd'},
        {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) read_option(option);
    if (wanted.port < 1 || wanted.connections < 1 || wanted.connections > MAX_CONNECTIONS || wanted.seconds <= 0 ||
        wanted.seconds > MAX_SECONDS || wanted.drain_s < 0 || wanted.drain_s > MAX_SECONDS) {
        fprintf(stderr, "expected --port, --connections from 1 to %d, --seconds and --drain up to %d\n", MAX_CONNECTIONS,
                MAX_SECONDS);
        exit(2);
    }
    if (!wanted.other_file != !wanted.every) {
        fprintf(stderr, "expected --other and --every together\n");
        exit(2);
    }
}

static request made_request(const char *body_file) {
    size_t body_len = 0, room = 0;
    char *body = NULL;
    if (body_file) {
        FILE *file = fopen(body_file, "rb");
        if (!file) die(body_file);
        do {
            body = realloc(body, room += 65536);
            if (!body) die("realloc");
            body_len += fread(body + body_len, 1, room - body_len, file);
        } while (body_len == room);
        fclose(file);
    }
    request made = {malloc(MAX_HEAD + 1024 + strlen(wanted.path) + body_len), 0};
    if (!made.data) die("malloc");
    made.len = sprintf(made.data, "%s %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %zu\r\n%s\r\n", wanted.method,
                       wanted.path, wanted.host, wanted.port, body_len, wanted.headers);
    if (body_len) memcpy(made.data + made.len, body, body_len);
    made.len += body_len;
    free(body);
    return made;
}

#endif
