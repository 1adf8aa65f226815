/* Plants a marker in every kind of state that it has, or looks for one in all that it can reach.
 *
 * - `?plant=HEX` (32 digits) writes the marker to a static, the heap (held and freed), the shadow stack, memory
 *   that it grew, and globals; it leaks handles by the marker's first byte and frees others in an order by its
 *   second.
 * - `?seek=HEX` counts the marker in all memory and globals, and tells the numbers of its handles.
 *
 * Both answer JSON. What is planted is the marker with each byte XORed by MASK; that form stands in no request
 * and in no temporary, so what is found was planted, and a host may scan for it as well.
 */

#include <stdio.h>

#include "../wasi_http.h"

#define MASK 0xa5
#define MASKS 0xa5a5a5a5a5a5a5a5
#define MARKER_BYTES 16
#define PAGE_BYTES 65536
#define PLACE_BYTES 64
#define FREED_BYTES 4096
#define STACK_BYTES (32 * 1024) /* Deep enough that the rest of the run does not write over it. */
#define LOOKED_AT 8             /* How many handle numbers are looked at. */
#define LEAKED_MASK 63          /* The most handles that are left behind. */

/* The form that was sent. */
typedef struct { uint8_t sent[MARKER_BYTES]; } marker_t;

/* Address space 1 is WebAssembly's own globals, which no pointer reaches. */
static __attribute__((address_space(1))) uint64_t global_low, global_high;
static uint8_t static_place[PLACE_BYTES];
static unsigned calls;

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse(const char *hex, size_t length, marker_t *marker) {
    if (length < 2 * MARKER_BYTES) return false;
    for (size_t at = 0; at < MARKER_BYTES; at += 1) {
        int high = digit(hex[2 * at]), low = digit(hex[2 * at + 1]);
        if (high < 0 || low < 0) return false;
        marker->sent[at] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* Writes the planted form over and over; volatile, so that no write is found to be useless. */
static void fill(const marker_t *marker, volatile uint8_t *place, size_t length) {
    for (size_t at = 0; at < length; at += 1) place[at] = marker->sent[at % MARKER_BYTES] ^ MASK;
}

static uint64_t half(const marker_t *marker, size_t at) {
    uint64_t value;
    memcpy(&value, marker->sent + 8 * at, sizeof value);
    return value;
}

/* A frame that has returned: what it held stays below the stack pointer. */
__attribute__((noinline)) static void plant_stack(const marker_t *marker) {
    volatile uint8_t frame[STACK_BYTES];
    fill(marker, frame, PLACE_BYTES);
    frame[STACK_BYTES - 1] = 0;
}

/* Both ends of a page that the memory did not have before. */
static void plant_grown(const marker_t *marker) {
    size_t before = __builtin_wasm_memory_grow(0, 1);
    if (before == SIZE_MAX) return;
    uint8_t *page = (uint8_t *)(before * PAGE_BYTES);
    fill(marker, page, PLACE_BYTES);
    fill(marker, page + PAGE_BYTES - PLACE_BYTES, PLACE_BYTES);
}

static void plant_heap(const marker_t *marker) {
    uint8_t *held = malloc(PLACE_BYTES), *freed = malloc(FREED_BYTES);
    if (!held || !freed) __builtin_trap();
    fill(marker, held, PLACE_BYTES);
    fill(marker, freed, FREED_BYTES);
    free(freed);
}

/* Frees some handles, first those where `secret` has a bit, then the others: the next ones that are made get
 * these numbers backwards. */
static void free_in_order(uint8_t secret) {
    handle_t fields[LOOKED_AT];
    for (int at = 0; at < LOOKED_AT; at += 1) fields[at] = fields_new();
    for (int turn = 1; turn >= 0; turn -= 1)
        for (int at = 0; at < LOOKED_AT; at += 1)
            if ((secret >> at & 1) == turn) fields_drop(fields[at]);
}

static void plant(const marker_t *marker) {
    fill(marker, static_place, PLACE_BYTES);
    plant_heap(marker);
    plant_stack(marker);
    plant_grown(marker);
    global_low = half(marker, 0) ^ MASKS;
    global_high = half(marker, 1) ^ MASKS;
    for (int left = marker->sent[0] & LEAKED_MASK; left > 0; left -= 1) fields_new();
    free_in_order(marker->sent[1]);
}

/* How often the planted form stands in memory, from the first byte to the last, and in the globals. */
static unsigned hits(const marker_t *marker) {
    unsigned found = 0;
    size_t end = __builtin_wasm_memory_size(0) * PAGE_BYTES;
    for (size_t at = 0; at + MARKER_BYTES <= end; at += 1) {
        const volatile uint8_t *place = (const volatile uint8_t *)at;
        size_t same = 0;
        while (same < MARKER_BYTES && (place[same] ^ MASK) == marker->sent[same]) same += 1;
        found += same == MARKER_BYTES;
    }
    return found + ((global_low ^ MASKS) == half(marker, 0) && (global_high ^ MASKS) == half(marker, 1));
}

/* The numbers of some new handles, as JSON; they go back in such an order that looking changes nothing. */
static void write_numbers(char *text) {
    handle_t fields[LOOKED_AT];
    for (int at = 0; at < LOOKED_AT; at += 1) fields[at] = fields_new();
    for (int at = 0; at < LOOKED_AT; at += 1)
        text += sprintf(text, "%s%d", at ? ", " : "", (int)fields[at]);
    for (int at = LOOKED_AT - 1; at >= 0; at -= 1) fields_drop(fields[at]);
}

EXPORT("wasi:http/incoming-handler@0.2.12#handle")
void handle(handle_t request, handle_t out) {
    calls += 1;
    char numbers[16 * LOOKED_AT], json[512];
    write_numbers(numbers);
    option_text_t path;
    request_path(request, &path);
    const char *query = path.tag ? memchr(path.text, '?', path.length) : NULL;
    size_t length = query ? (size_t)(path.text + path.length - query) : 0;
    bool planting = length > 7 && !memcmp(query, "?plant=", 7);
    bool seeking = length > 6 && !memcmp(query, "?seek=", 6);
    size_t verb = planting ? 7 : 6;
    marker_t marker;
    if ((!planting && !seeking) || !parse(query + verb, length - verb, &marker)) {
        request_drop(request);
        answer(out, 400, "say ?plant=HEX or ?seek=HEX with 32 hexadecimal digits\n");
        return;
    }
    if (planting) plant(&marker);
    else request_drop(request); /* When planting, the request's own handle is left behind too. */
    snprintf(json, sizeof json,
        "{\"planted\":%s,\"hits\":%u,\"first_handle\":%d,\"fields_handles\":[%s],\"counter\":%u,\"memory_pages\":%u}\n",
        planting ? "true" : "false", hits(&marker), (int)request, numbers, calls,
        (unsigned)__builtin_wasm_memory_size(0));
    answer(out, 200, json);
}
