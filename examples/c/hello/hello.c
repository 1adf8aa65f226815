/* Greets: the smallest function. */

#include "../wasi_http.h"

EXPORT("wasi:http/incoming-handler@0.2.12#handle")
void handle(handle_t request, handle_t out) {
    request_drop(request);
    answer(out, 200, "Hello from C\n");
}
