/* HTTP/1.1 messages read piece by piece, the clock, and waiting: what both halves of the loopback program share.
 *
 * A message parser never reads past the end of its message: what follows belongs to the next one (pipelining).
 */
#ifndef LOOPBACK_HTTP_H
#define LOOPBACK_HTTP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_HEAD 16384
#define NEVER INT64_MAX

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Wait for events until `until_ns` (NEVER: no limit), to the microsecond where the kernel can. */
static int wait_events(int poll, struct epoll_event *events, int max, int64_t until_ns) {
    int64_t left = until_ns == NEVER ? NEVER : until_ns - now_ns();
    if (left < 0) left = 0;
    int n;
#ifdef SYS_epoll_pwait2
    struct timespec t = {left / 1000000000, left % 1000000000};
    n = syscall(SYS_epoll_pwait2, poll, events, max, left == NEVER ? NULL : &t, NULL, 0);
    if (n >= 0 || errno != ENOSYS) goto waited;
#endif
    n = epoll_wait(poll, events, max, left == NEVER ? -1 : (int)((left + 999999) / 1000000));
#ifdef SYS_epoll_pwait2
waited:
#endif
    if (n < 0 && errno != EINTR) die("epoll");
    return n < 0 ? 0 : n;
}

static void watch(int poll, int op, int fd, uint32_t what, void *owner) {
    struct epoll_event event = {.events = what, .data.ptr = owner};
    if (epoll_ctl(poll, op, fd, &event)) die("epoll_ctl");
}

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in local_address(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "expected an IPv4 address, got %s\n", host);
        exit(2);
    }
    return address;
}

typedef void (*body_sink)(void *owner, const char *piece, size_t len);

typedef struct {
    enum { HEAD, LENGTH, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, COMPLETE, BAD } at;
    int is_response, status, keep_alive, event_stream;
    uint64_t left; /* of the body or of the chunk, in bytes */
    size_t line_len; /* of the chunk-size or trailer line so far */
    size_t head_len;
    char head[MAX_HEAD + 1];
} message;

static void message_reset(message *m, int is_response) {
    m->at = HEAD;
    m->is_response = is_response;
    m->head_len = m->line_len = 0;
    m->left = 0;
}

static int holds_word(const char *value, const char *word) {
    size_t len = strlen(word);
    for (const char *p = value; *p; p++)
        if (!strncasecmp(p, word, len)) return 1;
    return 0;
}

static const char *header_value(const char *line, const char *name) {
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) || line[len] != ':') return NULL;
    line += len + 1;
    return line + strspn(line, " \t");
}

/* Read the whole head (its lines are cut with NULs on the way) and decide how the body is delimited. */
static void read_head(message *m) {
    int chunked = 0, has_length = 0;
    uint64_t length = 0;
    char *line = m->head, *end = strstr(line, "\r\n");
    *end = 0;
    m->status = m->is_response && strlen(line) > 12 ? atoi(line + 9) : 0;
    m->keep_alive = strstr(line, "HTTP/1.0") == NULL;
    m->event_stream = 0;
    if (strstr(line, "HTTP/1.") == NULL) {
        m->at = BAD;
        return;
    }
    while ((line = end + 2, end = strstr(line, "\r\n")) && end != line) {
        const char *value;
        *end = 0;
        if ((value = header_value(line, "content-length"))) {
            char *rest;
            length = strtoull(value, &rest, 10);
            has_length = rest != value;
        } else if ((value = header_value(line, "transfer-encoding"))) {
            chunked = holds_word(value, "chunked");
        } else if ((value = header_value(line, "connection"))) {
            if (holds_word(value, "close")) m->keep_alive = 0;
        } else if ((value = header_value(line, "content-type"))) {
            m->event_stream = holds_word(value, "text/event-stream");
        }
    }
    if (m->is_response && m->status >= 100 && m->status < 200) {
        message_reset(m, 1);
    } else if (m->is_response && (m->status == 204 || m->status == 304)) {
        m->at = COMPLETE;
    } else if (chunked) {
        m->at = CHUNK_SIZE;
    } else if (has_length || !m->is_response) {
        m->left = length;
        m->at = length ? LENGTH : COMPLETE;
    } else {
        m->keep_alive = 0;
        m->at = UNTIL_CLOSE;
    }
}

static size_t feed_head(message *m, const char *data, size_t len) {
    size_t before = m->head_len, room = MAX_HEAD - before, take = len < room ? len : room;
    memcpy(m->head + before, data, take);
    m->head_len += take;
    size_t from = before > 3 ? before - 3 : 0;
    char *end = memmem(m->head + from, m->head_len - from, "\r\n\r\n", 4);
    if (!end) {
        if (m->head_len == MAX_HEAD) m->at = BAD;
        return take;
    }
    size_t head_len = end + 4 - m->head;
    m->head[head_len] = 0;
    m->head_len = head_len;
    read_head(m);
    return head_len - before;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a line between chunks: a chunk's size (extensions are skipped), the CRLF after it, or a trailer. */
static void feed_chunk_line(message *m, char c) {
    if (c == '\r') return;
    if (c != '\n') {
        int digit = hex_digit(c);
        if (m->at == CHUNK_END || m->left >> 56) {
            m->at = BAD;
        } else if (m->at == CHUNK_SIZE && digit >= 0 && m->line_len != SIZE_MAX) {
            m->left = m->left * 16 + digit;
            m->line_len++;
        } else if (m->at == CHUNK_SIZE) {
            if (!m->line_len) m->at = BAD;
            m->line_len = SIZE_MAX;
        } else {
            m->line_len++;
        }
        return;
    }
    if (m->at == CHUNK_END) {
        m->at = CHUNK_SIZE;
        m->left = 0;
    } else if (m->at == CHUNK_SIZE) {
        m->at = !m->line_len ? BAD : m->left ? CHUNK : TRAILER;
    } else if (!m->line_len) {
        m->at = COMPLETE;
    }
    m->line_len = 0;
}

/* Take bytes of one message; answers how many were its own. Body pieces go to `sink`. */
static size_t message_feed(message *m, const char *data, size_t len, body_sink sink, void *owner) {
    size_t used = 0;
    while (used < len && m->at != COMPLETE && m->at != BAD) {
        const char *rest = data + used;
        size_t size = len - used;
        if (m->at == HEAD) {
            used += feed_head(m, rest, size);
        } else if (m->at == UNTIL_CLOSE) {
            sink(owner, rest, size);
            used = len;
        } else if (m->at == LENGTH || m->at == CHUNK) {
            if (size > m->left) size = m->left;
            sink(owner, rest, size);
            m->left -= size;
            used += size;
            if (!m->left) m->at = m->at == LENGTH ? COMPLETE : CHUNK_END;
        } else {
            feed_chunk_line(m, *rest);
            used++;
        }
    }
    return used;
}

#endif
