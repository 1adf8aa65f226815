/* Counts its own calls, in a static and in a list on the heap that grows by 16 KiB with each of them.
 *
 * In a clean area the answer is always "1". A higher number is what somebody else left behind.
 */

#include <stdio.h>

#include "../wasi_http.h"

#define STEP_BYTES (16 * 1024)

typedef struct node { struct node *next; char rest[STEP_BYTES]; } node_t;

static unsigned calls;
static node_t *heap;

EXPORT("wasi:http/incoming-handler@0.2.12#handle")
void handle(handle_t request, handle_t out) {
    request_drop(request);
    calls += 1;
    node_t *fresh = malloc(sizeof *fresh);
    if (!fresh) __builtin_trap();
    fresh->next = heap;
    heap = fresh;
    unsigned on_heap = 0;
    for (node_t *each = heap; each; each = each->next) on_heap += 1;

    char text[64];
    if (calls == on_heap) snprintf(text, sizeof text, "%u\n", calls);
    else snprintf(text, sizeof text, "static %u, heap %u\n", calls, on_heap);
    answer(out, 200, text);
}
