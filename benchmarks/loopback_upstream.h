/* An OpenAI-compatible upstream that always gives the same answer, in one thread, so that it is never what is measured.
 *
 * Every event of a stream goes out in a send() of its own. A connection answers its requests one after the other: what
 * a client pipelined waits in the kernel or in `input` until the answer before it has gone. Where it is told to
 * misbehave, every request draws its fate (loopback_chaos.h).
 */
#ifndef LOOPBACK_UPSTREAM_H
#define LOOPBACK_UPSTREAM_H

#include "loopback_chaos.h"

#define MAX_BODY (16u << 20)
#define STEP_NS 1000000

typedef struct client {
    int fd, watched;
    message request;
    char *body;
    size_t body_len, body_room;
    char input[65536];
    size_t input_at, input_len;
    const fate *fate;
    const piece *sending; /* what is being sent, up to `sent` bytes of it; NULL: nothing */
    size_t sent;
    piece own;                       /* a piece of this client alone: a part of another, or an event with its time */
    char stamped[EVENT_BYTES + 16];
    int next_event, end_event;       /* of a stream: the next to send, and where it ends; -1: no stream */
    int deltas;
    int64_t pace_ns, due_ns;         /* 0: at once */
    int is_waiting;
    struct client *next_waiting, *previous_waiting;
} client;

static int upstream_poll, misbehaves;
static int64_t default_pace_ns;
static struct {
    client *first, *last;
} waiting; /* clients whose next piece has its time, the earliest first */

/* `loopback show answer|stream|chaos`: the very bytes, for a unit that has to send the same; how often what goes wrong. */
static int show(const char *what) {
    make_answers();
    if (!strcmp(what, "chaos")) print_chaos();
    else if (!strcmp(what, "stream"))
        for (int i = 0; i < EVENTS; i++) fwrite(events[i].data, 1, events[i].len, stdout);
    else
        fputs(strstr(completion.data, "\r\n\r\n") + 4, stdout);
    return 0;
}

static void keep_body(void *owner, const char *data, size_t len) {
    client *c = owner;
    if (c->body_len + len > MAX_BODY) {
        c->body_len = MAX_BODY + 1;
        return;
    }
    if (c->body_len + len > c->body_room) {
        c->body_room = (c->body_len + len) * 2;
        c->body = realloc(c->body, c->body_room);
        if (!c->body) die("realloc");
    }
    memcpy(c->body + c->body_len, data, len);
    c->body_len += len;
}

/* The text after `"name"`, a colon and any blanks in a JSON body; NULL: not there. Quotes inside strings are escaped, so
 * a message that talks about "stream" does not match. */
static const char *json_value(const client *c, const char *name) {
    const char *at = c->body, *end = c->body + c->body_len;
    while (at && (at = memmem(at, end - at, name, strlen(name)))) {
        at += strlen(name);
        const char *p = at;
        while (p < end && strchr(" \t\r\n", *p)) p++;
        if (p == end || *p != ':') continue;
        do p++;
        while (p < end && strchr(" \t\r\n", *p));
        return p;
    }
    return NULL;
}

static int wants_stream(const client *c) {
    const char *value = json_value(c, "\"stream\"");
    return value && c->body + c->body_len - value >= 4 && !memcmp(value, "true", 4);
}

/* What a model's name asks for after a dash: `10ms` between events, `16x` of them before the end, `large` answers. */
static int read_model(client *c) {
    const char *value = json_value(c, "\"model\""), *end = c->body + c->body_len, *quote, *at;
    int large = 0;
    c->pace_ns = default_pace_ns;
    c->deltas = DELTAS;
    if (!value || value >= end || *value != '"' || !(quote = memchr(value + 1, '"', end - value - 1))) return 0;
    for (at = value; (at = memchr(at, '-', quote - at)); at++) {
        char *rest;
        long number = strtol(at + 1, &rest, 10);
        if (number > 0 && quote - rest >= 2 && !memcmp(rest, "ms", 2)) c->pace_ns = (int64_t)number * 1000000;
        else if (number > 0 && number < DELTAS && *rest == 'x') c->deltas = number;
        else if (quote - at >= 6 && !memcmp(at, "-large", 6)) large = 1;
    }
    return large;
}

static void stop_waiting(client *c) {
    if (!c->is_waiting) return;
    *(c->previous_waiting ? &c->previous_waiting->next_waiting : &waiting.first) = c->next_waiting;
    *(c->next_waiting ? &c->next_waiting->previous_waiting : &waiting.last) = c->previous_waiting;
    c->is_waiting = 0;
}

/* Most are due later than all others: the place is looked for from the end. */
static void start_waiting(client *c) {
    client *before = waiting.last;
    while (before && before->due_ns > c->due_ns) before = before->previous_waiting;
    c->previous_waiting = before;
    c->next_waiting = before ? before->next_waiting : waiting.first;
    *(before ? &before->next_waiting : &waiting.first) = c;
    *(c->next_waiting ? &c->next_waiting->previous_waiting : &waiting.last) = c;
    c->is_waiting = 1;
}

static void hang_up(client *c) {
    stop_waiting(c);
    close(c->fd);
    free(c->body);
    free(c);
}

static void want(client *c, int what) {
    if (c->watched != what) watch(upstream_poll, EPOLL_CTL_MOD, c->fd, what, c);
    c->watched = what;
}

static const piece *answer_to(client *c) {
    const char *line = c->request.head;
    int large = read_model(c);
    if (c->body_len > MAX_BODY) return &too_large;
    if (!strncmp(line, "GET /v1/models ", 15)) return &models;
    if (strncmp(line, "POST /v1/chat/completions ", 26)) return &not_found;
    c->fate = misbehaves ? drawn_fate() : &fine;
    if (c->fate->instead) return c->fate->instead;
    if (!wants_stream(c)) return large ? &large_completion : &completion;
    c->next_event = 0;
    c->end_event = c->fate->missing ? c->deltas / 2 : EVENTS;
    return &stream_head;
}

static void choose_answer(client *c) {
    c->fate = &fine;
    c->next_event = c->end_event = -1;
    c->sent = c->due_ns = 0;
    c->sending = answer_to(c);
    if (c->fate->missing == 100) {
        c->sending = NULL;
    } else if (c->fate->missing && c->next_event < 0) {
        c->own = (piece){c->sending->len / 2, c->sending->data};
        c->sending = &c->own;
    }
    if (c->pace_ns || c->fate->delay_ms) c->due_ns = now_ns() + (int64_t)c->fate->delay_ms * 1000000;
}

/* What follows the piece that was sent, and when. */
static void choose_next(client *c) {
    int at = c->next_event;
    c->sent = 0;
    c->sending = NULL;
    if (at == c->end_event) {
        if (c->fate->linger_ms) c->due_ns = now_ns() + (int64_t)c->fate->linger_ms * 1000000;
        return;
    }
    if (c->pace_ns && at && at <= DELTAS) c->due_ns += c->pace_ns;
    c->sending = &chunks[at];
    c->next_event = at + 1 == c->deltas ? DELTAS : at + 1;
}

/* An event with the time it is sent at in the last digits of its id. */
static void stamp(client *c) {
    char digits[24];
    c->own = (piece){c->sending->len, c->stamped};
    memcpy(c->stamped, c->sending->data, c->sending->len);
    snprintf(digits, sizeof digits, "%0*d", STAMP_DIGITS, (int)(now_ns() / 1000 % STAMP_ROUND));
    memcpy((char *)memmem(c->stamped, c->own.len, "\",\"object", 9) - STAMP_DIGITS, digits, STAMP_DIGITS);
    c->sending = &c->own;
}

enum progress { ANSWERED, WAITING, GONE };

/* Send what is due of the answer. */
static enum progress answer(client *c) {
    for (;;) {
        if (c->due_ns && c->due_ns > now_ns()) {
            want(c, EPOLLRDHUP);
            start_waiting(c);
            return WAITING;
        }
        if (!c->sending) break;
        if (c->pace_ns && c->sending >= chunks && c->sending < chunks + DELTAS) stamp(c);
        size_t left = c->sending->len - c->sent, most = c->fate->step && c->fate->step < left ? c->fate->step : left;
        ssize_t n = send(c->fd, c->sending->data + c->sent, most, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return GONE;
        if (n > 0) c->sent += n;
        if (n < (ssize_t)most) {
            want(c, EPOLLOUT | EPOLLRDHUP);
            return WAITING;
        }
        if (c->sent == c->sending->len) choose_next(c);
        else c->due_ns = now_ns() + STEP_NS;
    }
    if (c->fate->ending == RESET) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    return c->request.keep_alive && c->fate->ending == KEEP ? ANSWERED : GONE;
}

/* Read and answer until the socket has nothing more, or an answer has to wait. 0: the connection is over. */
static int serve_client(client *c) {
    for (;;) {
        if (c->request.at == COMPLETE) {
            enum progress made = answer(c);
            if (made != ANSWERED) return made == WAITING;
            message_reset(&c->request, 0);
            c->body_len = 0;
        }
        if (c->input_at == c->input_len) {
            want(c, EPOLLIN);
            ssize_t n = recv(c->fd, c->input, sizeof c->input, 0);
            if (n <= 0) return n < 0 && errno == EAGAIN;
            c->input_at = 0;
            c->input_len = n;
        }
        c->input_at += message_feed(&c->request, c->input + c->input_at, c->input_len - c->input_at, keep_body, c);
        if (c->request.at == BAD) return 0;
        if (c->request.at == COMPLETE) choose_answer(c);
    }
}

static void send_what_is_due(void) {
    int64_t now = now_ns();
    for (client *c; (c = waiting.first) && c->due_ns <= now;) {
        stop_waiting(c);
        if (!serve_client(c)) hang_up(c);
    }
}

static void accept_clients(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        client *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        no_delay(fd);
        c->fd = fd;
        c->watched = EPOLLIN;
        message_reset(&c->request, 0);
        watch(upstream_poll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

/* `loopback upstream PORT [PACE_MS [chaos]]` on 127.0.0.1; PORT 0 takes a free one; prints {"port": N} once it listens. */
static _Noreturn void upstream(int port, int pace_ms, int chaos) {
    struct sockaddr_in address = local_address("127.0.0.1", port);
    socklen_t size = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    upstream_poll = epoll_create1(EPOLL_CLOEXEC);
    watch(upstream_poll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    make_answers();
    default_pace_ns = (int64_t)pace_ms * 1000000;
    misbehaves = chaos;
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (struct epoll_event ready[256];;) {
        int n = wait_events(upstream_poll, ready, 256, waiting.first ? waiting.first->due_ns : NEVER);
        for (int i = 0; i < n; i++) {
            client *c = ready[i].data.ptr;
            if (!c) accept_clients(listener);
            else if (ready[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) || !serve_client(c)) hang_up(c);
        }
        send_what_is_due();
    }
}

#endif
