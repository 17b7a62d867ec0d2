/* What the upstream says, made once when it starts: completions of two sizes, the events of a stream, refusals.
 *
 * A chat completion is 1,078 bytes of JSON (30,213 for a model named `...-large`); a stream is 100 events of 196 bytes,
 * the finish_reason, the usage and [DONE], each in its own chunk. Both state the same usage whatever their size.
 */
#ifndef LOOPBACK_ANSWERS_H
#define LOOPBACK_ANSWERS_H

#include <stdarg.h>

#include "loopback_http.h"

#define ANSWER_BYTES 1078
#define LARGE_BYTES 30213
#define EVENT_BYTES 196
#define DELTAS 100
#define EVENTS (DELTAS + 3)
#define EVENT_BEGINS "data: {\"id\":\"chatcmpl-"
#define STAMP_DIGITS 9 /* the last digits of a paced event's id: when it was sent, in microseconds */
#define STAMP_ROUND 1000000000

typedef struct {
    size_t len;
    char *data;
} piece;

static piece completion, large_completion, models, not_found, too_large, failed, limited, overloaded;
static piece events[EVENTS]; /* the bare events, as a client sees them */
static piece chunks[EVENTS]; /* the same, framed for the wire; the last one ends the body */
static piece stream_head;

__attribute__((format(printf, 1, 2))) static piece printed(const char *form, ...) {
    piece made;
    va_list values;
    va_start(values, form);
    int len = vasprintf(&made.data, form, values);
    va_end(values);
    if (len < 0) die("vasprintf");
    made.len = len;
    return made;
}

static piece framed(const char *status, const char *body) {
    return printed("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body),
                   body);
}

/* A completion's text is filled up with words until the whole JSON has its size. */
static piece made_completion(size_t size) {
    static const char *before =
        "{\"id\":\"chatcmpl-loopback00000000000000000\",\"object\":\"chat.completion\",\"created\":1760000000,"
        "\"model\":\"bench\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char *after =
        "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,"
        "\"completion_tokens\":120,\"total_tokens\":370,\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"system_fingerprint\":\"fp_loopback\"}";
    static const char *words = "the loopback upstream always says the same thing, ";
    size_t room = size - strlen(before) - strlen(after);
    char *text = calloc(1, room + 1);
    if (!text) die("calloc");
    for (size_t i = 0; i < room; i++) text[i] = words[i % strlen(words)];
    piece json = printed("%s%s%s", before, text, after), made = framed("200 OK", json.data);
    free(text);
    free(json.data);
    return made;
}

/* One event of a stream; a delta is filled up to EVENT_BYTES by the length of its id. */
static piece made_event(const char *choices, const char *usage, int fill) {
    static const char *form = EVENT_BEGINS
        "%0*d\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench\",\"choices\":[%s]%s}\n\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int bare = snprintf(NULL, 0, form, 1, 0, choices, usage), width = fill ? EVENT_BYTES - bare + 1 : STAMP_DIGITS;
    if (width < STAMP_DIGITS) {
        fprintf(stderr, "expected an event with room for its time in %d bytes\n", EVENT_BYTES);
        exit(1);
    }
    return printed(form, width, 0, choices, usage);
#pragma GCC diagnostic pop
}

static void make_events(void) {
    for (int i = 0; i < DELTAS; i++) {
        piece choice = printed("{\"index\":0,\"delta\":{%s\"content\":\"w%02d \"},\"finish_reason\":null}",
                               i ? "" : "\"role\":\"assistant\",", i);
        events[i] = made_event(choice.data, "", 1);
        free(choice.data);
    }
    events[DELTAS] = made_event("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", "", 0);
    events[DELTAS + 1] =
        made_event("", ",\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":100,\"total_tokens\":350}", 0);
    events[DELTAS + 2] = printed("data: [DONE]\n\n");
    for (int i = 0; i < EVENTS; i++)
        chunks[i] = printed("%zx\r\n%s\r\n%s", events[i].len, events[i].data, i == EVENTS - 1 ? "0\r\n\r\n" : "");
}

static void make_answers(void) {
    completion = made_completion(ANSWER_BYTES);
    large_completion = made_completion(LARGE_BYTES);
    models = framed("200 OK",
                    "{\"object\":\"list\",\"data\":[{\"id\":\"bench\",\"object\":\"model\",\"created\":1760000000,"
                    "\"owned_by\":\"loopback\"}]}");
    not_found = framed("404 Not Found",
                       "{\"error\":{\"message\":\"expected POST /v1/chat/completions or GET /v1/models\","
                       "\"code\":\"not_found\"}}");
    too_large = framed("413 Content Too Large",
                       "{\"error\":{\"message\":\"expected a body of at most 16 MiB\",\"code\":\"too_large\"}}");
    failed = framed("500 Internal Server Error", "{\"error\":{\"message\":\"it failed\",\"code\":\"failed\"}}");
    limited = framed("429 Too Many Requests\r\nRetry-After: 1",
                     "{\"error\":{\"message\":\"too many requests\",\"code\":\"rate_limited\"}}");
    overloaded = framed("503 Service Unavailable\r\nConnection: close",
                        "{\"error\":{\"message\":\"overloaded\",\"code\":\"overloaded\"}}");
    stream_head = printed("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n");
    make_events();
}

#endif
