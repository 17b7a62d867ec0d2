/* A load generator: the same request over and over, on keep-alive connections, in one thread.
 *
 * Closed loop (no rate): every connection sends again as soon as it was answered, until the time or the number of
 * calls is used up. Open loop (a rate): call i is due at start + i / rate and its latency counts from then, whether or
 * not a connection was free (no coordinated omission). Every call that was begun is awaited, for the drain's time at
 * most, so that what the server spent can be divided by `calls`.
 */
#ifndef LOOPBACK_LOAD_H
#define LOOPBACK_LOAD_H

#include "loopback_answers.h"
#include "loopback_latency.h"
#include "loopback_wanted.h"

#define CONNECT_S 5
#define MAX_BROKEN_IN_A_ROW 1000
#define LINE_KEPT 64
#define SAMPLE_KEPT 300
#define MAX_STATUS 600

typedef struct {
    uint64_t calls, bytes, events; /* answered calls, body bytes, `data:` lines of event streams */
} totals;

enum leaving { STAYS, LEAVES_ONCE_SENT, LEAVES_ONCE_ANSWERED };

typedef struct lane {
    int fd, connected, has_call, served;
    enum leaving leaving;
    uint32_t watched;
    const request *request;
    size_t sent;
    int64_t since_ns;
    message answer;
    char line[LINE_KEPT + 1]; /* the beginning of the event stream's current line */
    size_t line_len;
    int done_seen;
    int64_t event_ns; /* when the last stamped event came, 0: none yet; and when it was sent */
    int event_sent_us;
    int64_t gap_ns, growth_ns; /* the largest gap between two events, and the most that one grew on the way */
    struct lane *next_free;
} lane;

static struct {
    int poll, unconnected;
    request usual, other;
    struct sockaddr_in address;
    lane *free;
    uint64_t begun, busy, left, non_200, cut, broken, broken_in_a_row, reconnects;
    uint64_t statuses[MAX_STATUS];
    totals all, window; /* of the whole run; of the measured time, without the drain */
    int64_t start_ns, stop_ns, last_ns, read_ns;
    latencies total, first_byte, gap, growth; /* the latter two: one of each stream, its largest */
    const lane *sampled;
    int sample_status;
    char sample[SAMPLE_KEPT + 1]; /* the beginning of the first answer that was not a 200 */
    size_t sample_len;
} run;

static void watch_lane(lane *l, uint32_t what) {
    if (l->watched != what) watch(run.poll, EPOLL_CTL_MOD, l->fd, what, l);
    l->watched = what;
}

static void open_lane(lane *l) {
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) die("socket");
    no_delay(l->fd);
    l->connected = l->served = 0;
    l->watched = EPOLLIN | EPOLLOUT;
    run.unconnected++;
    if (connect(l->fd, (struct sockaddr *)&run.address, sizeof run.address) && errno != EINPROGRESS) die("connect");
    watch(run.poll, EPOLL_CTL_ADD, l->fd, l->watched, l);
}

static void reopen(lane *l) {
    if (!l->connected) run.unconnected--;
    close(l->fd);
    open_lane(l);
}

static void forget_free(const lane *gone) {
    lane **at = &run.free;
    while (*at != gone) at = &(*at)->next_free;
    *at = gone->next_free;
}

/* The connection is over. A call that the server had not begun to answer on a connection it had kept open before is
 * sent again on a new one (the server may close an idle connection at any time); any other call is lost. */
static void break_off(lane *l) {
    int unanswered = l->answer.at == HEAD && !l->answer.head_len;
    if (l->has_call && !(l->served && unanswered)) {
        l->has_call = 0;
        run.busy--;
        run.broken++;
        run.broken_in_a_row++;
    } else if (!l->connected) {
        run.broken_in_a_row++;
    } else {
        run.reconnects++;
        if (!l->has_call) forget_free(l);
    }
    reopen(l);
}

/* The client goes, whatever the server was about to say. */
static void leave(lane *l) {
    l->has_call = 0;
    run.busy--;
    run.left++;
    reopen(l);
}

static void send_call(lane *l) {
    ssize_t n = send(l->fd, l->request->data + l->sent, l->request->len - l->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        break_off(l);
        return;
    }
    if (n > 0) l->sent += n;
    if (l->sent == l->request->len && l->leaving == LEAVES_ONCE_SENT) leave(l);
    else watch_lane(l, l->sent < l->request->len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void begin_call(lane *l) {
    message_reset(&l->answer, 1);
    l->sent = l->line_len = l->done_seen = 0;
    l->event_ns = l->gap_ns = l->growth_ns = 0;
    send_call(l);
}

static void set_free(lane *l) {
    l->has_call = 0;
    l->next_free = run.free;
    run.free = l;
}

static int calls_left(int64_t now) {
    if (run.broken_in_a_row > MAX_BROKEN_IN_A_ROW) return 0;
    if (wanted.calls && run.begun >= wanted.calls) return 0;
    return wanted.rate ? run.begun < (uint64_t)(wanted.seconds * wanted.rate + 0.5) : now < run.stop_ns;
}

static int64_t due_ns(void) {
    return run.start_ns + (wanted.rate ? (int64_t)(run.begun * 1e9 / wanted.rate) : 0);
}

/* The n-th call: which body, and whether it is given up, half of these as soon as they are sent. */
static void choose_call(lane *l, uint64_t n) {
    l->request = wanted.every && n % wanted.every == wanted.every - 1 ? &run.other : &run.usual;
    l->leaving = STAYS;
    if (wanted.leave && n % wanted.leave == wanted.leave - 1)
        l->leaving = n / wanted.leave % 2 ? LEAVES_ONCE_SENT : LEAVES_ONCE_ANSWERED;
}

static void begin_due_calls(void) {
    int64_t now = now_ns();
    while (run.free && calls_left(now) && due_ns() <= now) {
        lane *l = run.free;
        run.free = l->next_free;
        l->since_ns = wanted.rate ? due_ns() : now;
        l->has_call = 1;
        choose_call(l, run.begun++);
        run.busy++;
        begin_call(l);
    }
}

/* An event came that says when it was sent: how long after the one before, and how much longer than between their sendings. */
static void note_gap(lane *l) {
    static const size_t before = sizeof EVENT_BEGINS - 1;
    l->line[l->line_len] = 0;
    if (l->line_len < before || memcmp(l->line, EVENT_BEGINS, before)) return;
    int sent_us = strtoll(l->line + before, NULL, 10);
    if (!sent_us) return;
    if (l->event_ns) {
        int64_t gap_ns = run.read_ns - l->event_ns, sent_gap_us = (sent_us - l->event_sent_us + STAMP_ROUND) % STAMP_ROUND;
        int64_t growth_ns = gap_ns - sent_gap_us * 1000;
        if (gap_ns > l->gap_ns) l->gap_ns = gap_ns;
        if (growth_ns > l->growth_ns) l->growth_ns = growth_ns;
    }
    l->event_ns = run.read_ns;
    l->event_sent_us = sent_us;
}

static void end_line(lane *l) {
    if (l->line_len && l->line[l->line_len - 1] == '\r') l->line_len--;
    if (l->line_len >= 5 && !memcmp(l->line, "data:", 5)) {
        run.all.events++;
        if (wanted.gaps) note_gap(l);
        l->done_seen |= l->line_len == 12 && !memcmp(l->line, "data: [DONE]", 12);
    }
    l->line_len = 0;
}

static void take_body(void *owner, const char *data, size_t len) {
    lane *l = owner;
    run.all.bytes += len;
    if (l->answer.status != 200 && !run.sampled) {
        run.sampled = l;
        run.sample_status = l->answer.status;
    }
    if (run.sampled == l && !run.non_200) {
        size_t room = SAMPLE_KEPT - run.sample_len, take = len < room ? len : room;
        memcpy(run.sample + run.sample_len, data, take);
        run.sample_len += take;
    }
    if (!l->answer.event_stream) return;
    for (const char *end = data + len; data < end;) {
        const char *newline = memchr(data, '\n', end - data), *stop = newline ? newline : end;
        size_t room = LINE_KEPT - l->line_len, piece = stop - data, take = piece < room ? piece : room;
        memcpy(l->line + l->line_len, data, take);
        l->line_len += take;
        if (newline) end_line(l);
        data = newline ? newline + 1 : end;
    }
}

static void end_call(lane *l) {
    int64_t now = run.last_ns = now_ns();
    run.all.calls++;
    run.busy--;
    run.broken_in_a_row = 0;
    if (l->answer.status > 0 && l->answer.status < MAX_STATUS) run.statuses[l->answer.status]++;
    if (l->answer.status != 200) run.non_200++;
    else if (l->answer.event_stream && !l->done_seen) run.cut++;
    latencies_add(&run.total, now - l->since_ns);
    if (l->event_ns) {
        latencies_add(&run.gap, l->gap_ns);
        latencies_add(&run.growth, l->growth_ns);
    }
    l->served++;
    l->has_call = 0;
    if (l->answer.keep_alive) {
        set_free(l);
    } else {
        run.reconnects++;
        reopen(l);
    }
}

static void read_lane(lane *l) {
    static char data[262144];
    ssize_t n = recv(l->fd, data, sizeof data, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n == 0 && l->has_call && l->answer.at == UNTIL_CLOSE) {
        end_call(l);
        return;
    }
    if (n <= 0 || !l->has_call) {
        break_off(l);
        return;
    }
    run.read_ns = now_ns();
    if (l->answer.at == HEAD && !l->answer.head_len) latencies_add(&run.first_byte, run.read_ns - l->since_ns);
    ssize_t used = message_feed(&l->answer, data, n, take_body, l);
    if (l->leaving == LEAVES_ONCE_ANSWERED) leave(l);
    else if (l->answer.at == BAD || (l->answer.at == COMPLETE && used < n)) break_off(l);
    else if (l->answer.at == COMPLETE) end_call(l);
}

static void finish_connecting(lane *l) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        if (!run.start_ns) {
            errno = error;
            die("connect");
        }
        break_off(l);
        return;
    }
    l->connected = 1;
    run.unconnected--;
    watch_lane(l, EPOLLIN);
    if (l->has_call) begin_call(l);
    else set_free(l);
}

static void handle_events(int64_t until_ns) {
    struct epoll_event ready[256];
    int n = wait_events(run.poll, ready, 256, until_ns);
    for (int i = 0; i < n; i++) {
        lane *l = ready[i].data.ptr;
        if (!l->connected) finish_connecting(l);
        else if (ready[i].events & EPOLLOUT && l->has_call && l->sent < l->request->len) send_call(l);
        else read_lane(l);
    }
}

static void make_calls(void) {
    int64_t connect_by = now_ns() + (int64_t)CONNECT_S * 1000000000;
    for (int i = 0; i < wanted.connections; i++) {
        lane *l = calloc(1, sizeof *l);
        if (!l) die("calloc");
        open_lane(l);
    }
    while (run.unconnected && now_ns() < connect_by) handle_events(connect_by);
    run.start_ns = run.last_ns = now_ns();
    run.stop_ns = run.start_ns + (int64_t)(wanted.seconds * 1e9);
    int64_t end_ns = run.stop_ns + (int64_t)(wanted.drain_s * 1e9);
    int stopped = 0;
    for (int64_t now = run.start_ns; now < end_ns && (run.busy || calls_left(now)); now = now_ns()) {
        if (!stopped && now >= run.stop_ns) {
            stopped = 1;
            run.window = run.all;
        }
        begin_due_calls();
        int64_t until_ns = stopped ? end_ns : run.stop_ns;
        if (wanted.rate && run.free && calls_left(now) && due_ns() < until_ns) until_ns = due_ns();
        handle_events(until_ns);
    }
    if (!stopped) run.window = run.all;
    if (!stopped && run.last_ns < run.stop_ns && wanted.calls) run.stop_ns = run.last_ns;
}

static void print_text(const char *text, size_t len) {
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = text[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 32 || c > 126) printf("\\u%04x", c);
        else putchar(c);
    }
    putchar('"');
}

static void print_statuses(void) {
    const char *before = "";
    printf(", \"statuses\": {");
    for (int i = 0; i < MAX_STATUS; i++)
        if (run.statuses[i]) {
            printf("%s\"%d\": %lu", before, i, run.statuses[i]);
            before = ", ";
        }
    printf("}");
}

static void print_report(void) {
    double seconds = (run.stop_ns - run.start_ns) / 1e9;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    if (seconds <= 0) seconds = 1e-9;
    uint64_t planned = wanted.rate ? (uint64_t)(wanted.seconds * wanted.rate + 0.5) : run.begun;
    printf("{\"seconds\": %.6f, \"calls\": %lu, \"rps\": %.1f, \"events\": %lu, \"events_per_s\": %.1f, \"bytes\": %lu",
           seconds, run.all.calls, run.window.calls / seconds, run.all.events, run.window.events / seconds,
           run.all.bytes);
    printf(", \"errors\": {\"non_200\": %lu, \"cut\": %lu, \"broken\": %lu, \"unfinished\": %lu}", run.non_200, run.cut,
           run.broken, run.busy + planned - run.begun);
    print_statuses();
    printf(", \"left\": %lu, \"reconnects\": %lu, \"own_cpu_s\": %.6f", run.left, run.reconnects, cpu_s);
    print_latencies("total", &run.total);
    print_latencies("first_byte", &run.first_byte);
    print_latencies("gap", &run.gap);
    print_latencies("gap_growth", &run.growth);
    printf(", \"sample_status\": %d, \"sample\": ", run.sample_status);
    print_text(run.sample, run.sample_len);
    printf("}\n");
}

/* `loopback load --port P [options]`; prints one JSON object. */
static int load(int argc, char **argv) {
    read_options(argc, argv);
    run.address = local_address(wanted.host, wanted.port);
    run.poll = epoll_create1(EPOLL_CLOEXEC);
    run.usual = made_request(wanted.body_file);
    if (wanted.other_file) run.other = made_request(wanted.other_file);
    make_calls();
    print_report();
    return 0;
}

#endif
