/* What may become of a request to an upstream that misbehaves, and how often. The draws are seeded: each run has the same. */
#ifndef LOOPBACK_CHAOS_H
#define LOOPBACK_CHAOS_H

#include "loopback_answers.h"

enum ending { KEEP, CLOSE, RESET };

typedef struct {
    int per_mille;
    const char *name;
    enum ending ending;   /* of the connection, once everything that will be sent has been */
    const piece *instead; /* of the answer */
    int missing;          /* of the answer, at its end, in per cent */
    int delay_ms;         /* before its first byte */
    int linger_ms;        /* before the connection ends */
    size_t step;          /* bytes sent at once, a millisecond apart; 0: all there are */
} fate;

static const fate fine;
static const fate fates[] = {
    {10, "status 500", .instead = &failed},
    {10, "status 429", .instead = &limited},
    {5, "status 503, and the connection closed", CLOSE, .instead = &overloaded},
    {5, "closed before an answer", CLOSE, .missing = 100},
    {5, "reset before an answer", RESET, .missing = 100},
    {5, "closed in the middle of an answer", CLOSE, .missing = 50},
    {5, "reset in the middle of an answer", RESET, .missing = 50},
    {20, "200 ms late", .delay_ms = 200},
    {5, "in pieces of 64 bytes, 1 ms apart", .step = 64},
    {10, "closed 5 ms after an answer, whatever came since", CLOSE, .linger_ms = 5},
};

static uint64_t chance = 0x9e3779b97f4a7c15;

/* xorshift64: even enough for shares of a thousand. */
static unsigned draw(unsigned below) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return (chance >> 20) % below;
}

static const fate *drawn_fate(void) {
    int left = draw(1000);
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++)
        if ((left -= fates[i].per_mille) < 0) return &fates[i];
    return &fine;
}

static void print_chaos(void) {
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++)
        printf("%2d of 1000: %s\n", fates[i].per_mille, fates[i].name);
}

#endif
