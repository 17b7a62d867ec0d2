/* An OpenAI-compatible upstream that always gives the same answer, in one thread, so that it is never what is measured.
 *
 * A chat completion is 1,078 bytes of JSON; a stream is 100 events of 196 bytes, the finish_reason, the usage and
 * [DONE], each in its own chunk and its own send(). A connection answers its requests one after the other: what a
 * client pipelined waits in the kernel or in `input` until the answer before it has gone.
 */
#ifndef LOOPBACK_UPSTREAM_H
#define LOOPBACK_UPSTREAM_H

#include "loopback_http.h"

#define ANSWER_BYTES 1078
#define EVENT_BYTES 196
#define DELTAS 100
#define EVENTS (DELTAS + 3)
#define MAX_BODY (16u << 20)

typedef struct {
    size_t len;
    char data[2048];
} piece;

static piece completion, models, not_found, too_large;
static piece events[EVENTS];  /* the bare events, as a client sees them */
static piece chunks[EVENTS];  /* the same, framed for the wire; the last one ends the body */
static piece stream_head;

typedef struct client {
    int fd, watched;
    message request;
    char *body;
    size_t body_len, body_room;
    char input[65536];
    size_t input_at, input_len;
    const piece *sending; /* what is being sent, up to `sent` bytes of it; NULL: nothing */
    size_t sent;
    int next_event; /* of a stream: the next to send; -1: no stream */
    int64_t pace_ns, due_ns;
    struct client *next_paced, *previous_paced;
} client;

static int upstream_poll;
static int64_t default_pace_ns;
static client *paced; /* the streams that wait for their next event's time */

static void framed(piece *to, const char *status, const char *type, const char *body) {
    to->len = snprintf(to->data, sizeof to->data, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                       status, type, strlen(body), body);
}

/* A completion's text is filled up with words until the whole JSON has its size. */
static void make_completion(char *json, size_t size) {
    static const char *before =
        "{\"id\":\"chatcmpl-loopback00000000000000000\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char *after =
        "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,"
        "\"completion_tokens\":120,\"total_tokens\":370,\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"system_fingerprint\":\"fp_loopback\"}";
    static const char *words = "the loopback upstream always says the same thing, ";
    size_t text = ANSWER_BYTES - strlen(before) - strlen(after), at = strlen(before);
    snprintf(json, size, "%s", before);
    for (size_t i = 0; i < text; i++) json[at++] = words[i % strlen(words)];
    snprintf(json + at, size - at, "%s", after);
}

/* One event of a stream; a delta is filled up to EVENT_BYTES by the length of its id. */
static void make_event(piece *to, const char *choices, const char *usage, int fill) {
    static const char *form =
        "data: {\"id\":\"chatcmpl-%0*d\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
        "\"model\":\"bench\",\"choices\":[%s]%s}\n\n";
    int bare = snprintf(NULL, 0, form, 1, 0, choices, usage);
    int width = fill ? EVENT_BYTES - bare + 1 : 20;
    if (width < 1) die("an event is longer than EVENT_BYTES");
    to->len = snprintf(to->data, sizeof to->data, form, width, 0, choices, usage);
}

static void make_answers(void) {
    char text[2048];
    make_completion(text, sizeof text);
    framed(&completion, "200 OK", "application/json", text);
    framed(&models, "200 OK", "application/json",
           "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":1760000000,"
           "\"owned_by\":\"loopback\"}]}");
    framed(&not_found, "404 Not Found", "application/json",
           "{\"error\":{\"message\":\"expected POST /v1/chat/completions or GET /v1/models\",\"code\":\"not_found\"}}");
    framed(&too_large, "413 Content Too Large", "application/json",
           "{\"error\":{\"message\":\"expected a body of at most 16 MiB\",\"code\":\"too_large\"}}");
    stream_head.len = snprintf(stream_head.data, sizeof stream_head.data,
                               "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < DELTAS; i++) {
        snprintf(text, sizeof text, "{\"index\":0,\"delta\":{%s\"content\":\"w%02d \"},\"finish_reason\":null}",
                 i ? "" : "\"role\":\"assistant\",", i);
        make_event(&events[i], text, "", 1);
    }
    make_event(&events[DELTAS], "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "", 0);
    make_event(&events[DELTAS + 1], "",
               ",\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":100,\"total_tokens\":350}", 0);
    events[DELTAS + 2].len = snprintf(events[DELTAS + 2].data, sizeof text, "data: [DONE]\n\n");
    for (int i = 0; i < EVENTS; i++)
        chunks[i].len = snprintf(chunks[i].data, sizeof text, "%zx\r\n%s\r\n%s", events[i].len, events[i].data,
                                 i == EVENTS - 1 ? "0\r\n\r\n" : "");
}

/* `loopback show answer|stream`: the very bytes, for a unit that has to send the same. */
static int show(const char *what) {
    make_answers();
    if (!strcmp(what, "stream"))
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

/* A model called `...-10ms` spaces its events by 10 ms; any other takes the pace of the command line. */
static int64_t wanted_pace_ns(const client *c) {
    const char *value = json_value(c, "\"model\""), *end = c->body + c->body_len;
    if (!value || value >= end || *value != '"') return default_pace_ns;
    const char *quote = memchr(value + 1, '"', end - value - 1);
    if (!quote || quote - value < 5 || memcmp(quote - 2, "ms", 2)) return default_pace_ns;
    const char *digits = quote - 2;
    while (digits[-1] >= '0' && digits[-1] <= '9') digits--;
    return digits[-1] == '-' && quote - digits <= 8 && digits < quote - 2 ? atoll(digits) * 1000000 : default_pace_ns;
}

static void leave_pace(client *c) {
    if (c->previous_paced) c->previous_paced->next_paced = c->next_paced;
    else if (paced == c) paced = c->next_paced;
    if (c->next_paced) c->next_paced->previous_paced = c->previous_paced;
    c->next_paced = c->previous_paced = NULL;
}

static void enter_pace(client *c) {
    c->next_paced = paced;
    if (paced) paced->previous_paced = c;
    paced = c;
}

static void hang_up(client *c) {
    leave_pace(c);
    close(c->fd);
    free(c->body);
    free(c);
}

static void want(client *c, int what) {
    if (c->watched != what) watch(upstream_poll, EPOLL_CTL_MOD, c->fd, what, c);
    c->watched = what;
}

static void choose_answer(client *c) {
    const char *line = c->request.head;
    c->sent = 0;
    c->next_event = -1;
    if (c->body_len > MAX_BODY) c->sending = &too_large;
    else if (!strncmp(line, "GET /v1/models ", 15)) c->sending = &models;
    else if (strncmp(line, "POST /v1/chat/completions ", 26)) c->sending = &not_found;
    else if (!wants_stream(c)) c->sending = &completion;
    else {
        c->sending = &stream_head;
        c->next_event = 0;
        c->pace_ns = wanted_pace_ns(c);
        c->due_ns = now_ns();
    }
}

enum progress { ANSWERED, WAITING, GONE };

/* Send what is due of the answer. */
static enum progress answer(client *c) {
    while (c->sending) {
        ssize_t n = send(c->fd, c->sending->data + c->sent, c->sending->len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return GONE;
        if (n > 0) c->sent += n;
        if (c->sent < c->sending->len) {
            want(c, EPOLLOUT | EPOLLRDHUP);
            return WAITING;
        }
        c->sent = 0;
        c->sending = NULL;
        if (c->next_event < 0 || c->next_event == EVENTS) break;
        if (c->pace_ns && c->next_event && c->next_event <= DELTAS) {
            c->due_ns += c->pace_ns;
            if (c->due_ns > now_ns()) {
                want(c, EPOLLRDHUP);
                enter_pace(c);
                return WAITING;
            }
        }
        c->sending = &chunks[c->next_event++];
    }
    return c->request.keep_alive ? ANSWERED : GONE;
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

static void send_due_events(void) {
    int64_t now = now_ns();
    for (client *c = paced, *next; c; c = next) {
        next = c->next_paced;
        if (c->due_ns > now) continue;
        leave_pace(c);
        c->sending = &chunks[c->next_event++];
        if (!serve_client(c)) hang_up(c);
    }
}

static int64_t next_due_ns(void) {
    int64_t due = NEVER;
    for (client *c = paced; c; c = c->next_paced)
        if (c->due_ns < due) due = c->due_ns;
    return due;
}

static void accept_clients(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        client *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        no_delay(fd);
        c->fd = fd;
        c->next_event = -1;
        c->watched = EPOLLIN;
        message_reset(&c->request, 0);
        watch(upstream_poll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

/* `loopback upstream PORT [PACE_MS]` on 127.0.0.1; PORT 0 takes a free one; prints {"port": N} once it listens. */
static _Noreturn void upstream(int port, int pace_ms) {
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
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    for (struct epoll_event ready[256];;) {
        int n = wait_events(upstream_poll, ready, 256, next_due_ns());
        for (int i = 0; i < n; i++) {
            client *c = ready[i].data.ptr;
            if (!c) accept_clients(listener);
            else if (ready[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) || !serve_client(c)) hang_up(c);
        }
        send_due_events();
    }
}

#endif
