/* Answers 16 random bytes of each source that C has: of the platform itself, of getentropy, of arc4random.
 *
 * `?rand=1` answers what `rand` gives to a program that never called `srand` instead: by C's own definition that is
 * no random value but the first of a series which is the same in every clean area.
 */

#define _DEFAULT_SOURCE /* getentropy and arc4random are not of the C standard. */
#include <stdio.h>
#include <unistd.h>

#include "../wasi_http.h"

#define RANDOM(function) FROM("wasi:random/random@0.2.12", function)

typedef struct { uint64_t high, low; } value_t;
typedef struct { uint8_t *bytes; size_t length; } bytes_t;

RANDOM("get-random-u64") uint64_t random_u64(void);
RANDOM("get-random-bytes") void random_bytes(uint64_t length, bytes_t *);

/* The C library's only source of randomness, under the name that it imports it by. A tool chain without an adapter
 * for old system calls leaves it to us; the adapters do the same. */
int32_t __imported_wasi_snapshot_preview1_random_get(int32_t place, int32_t length) {
    bytes_t fresh;
    random_bytes((uint64_t)length, &fresh);
    memcpy((void *)place, fresh.bytes, fresh.length);
    free(fresh.bytes);
    return 0;
}

static bool asks_for_rand(handle_t request) {
    option_text_t target;
    request_path(request, &target);
    const char query[] = "?rand=1";
    size_t length = sizeof query - 1;
    bool asks = target.tag && target.length >= length
        && memcmp(target.text + target.length - length, query, length) == 0;
    if (target.tag) free(target.text);
    return asks;
}

EXPORT("wasi:http/incoming-handler@0.2.12#handle")
void handle(handle_t request, handle_t out) {
    char text[256];
    if (asks_for_rand(request)) {
        snprintf(text, sizeof text, "%d\n", rand());
    } else {
        value_t wasi = { random_u64(), random_u64() }, entropy, arc4;
        if (getentropy(&entropy, sizeof entropy) != 0) __builtin_trap();
        arc4random_buf(&arc4, sizeof arc4);
        const char form[] =
            "{\"wasi\":\"%016llx%016llx\",\"getentropy\":\"%016llx%016llx\",\"arc4random\":\"%016llx%016llx\"}\n";
        snprintf(text, sizeof text, form, wasi.high, wasi.low, entropy.high, entropy.low, arc4.high, arc4.low);
    }
    request_drop(request);
    answer(out, 200, text);
}
