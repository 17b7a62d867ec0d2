/* Latencies in microseconds, every one kept, so that percentiles are exact (nearest rank). */
#ifndef LOOPBACK_LATENCY_H
#define LOOPBACK_LATENCY_H

#include "loopback_http.h"

typedef struct {
    uint32_t *us;
    size_t count, room;
} latencies;

static void latencies_add(latencies *l, int64_t ns) {
    if (l->count == l->room) {
        l->room = l->room ? l->room * 2 : 65536;
        l->us = realloc(l->us, l->room * sizeof *l->us);
        if (!l->us) die("realloc");
    }
    l->us[l->count++] = (uint32_t)(ns / 1000);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_latencies(const char *name, latencies *l) {
    static const struct {
        const char *name;
        double share;
    } ranks[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    if (l->count) qsort(l->us, l->count, sizeof *l->us, by_size);
    printf(", \"%s_us\": {", name);
    for (size_t i = 0; i < 5; i++) {
        size_t rank = (size_t)(ranks[i].share * l->count + 0.9999999);
        printf("%s\"%s\": %u", i ? ", " : "", ranks[i].name, l->count ? l->us[rank ? rank - 1 : 0] : 0);
    }
    printf("}");
}

#endif
