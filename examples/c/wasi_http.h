/* The part of wasi:http 0.2.12 that the C functions use, straight on the canonical ABI: no generated code.
 *
 * A resource is an `int32_t` handle, owned by whoever holds it: hand it on or drop it. A text is a pointer and a
 * length; the host allocates what it returns with `cabi_realloc`. Results that do not fit into one number are
 * written to where the last argument points: a byte that says which case, the payload behind it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FROM(interface, function) __attribute__((import_module(interface), import_name(function)))
#define TYPES(function) FROM("wasi:http/types@0.2.12", function)
#define STREAMS(function) FROM("wasi:io/streams@0.2.12", function)
#define EXPORT(name) __attribute__((export_name(name)))

/* The most that one blocking write takes, by the contract of wasi:io. */
#define CHUNK_MAX_BYTES 4096

typedef int32_t handle_t;

/* option<T> and result<T> of a handle. `tag`: 0 is none, or ok. */
typedef struct { uint8_t tag; handle_t value; } case_handle_t;
typedef struct { uint8_t tag; char *text; size_t length; } option_text_t;
/* Room for any result whose payload we do not read. */
typedef struct { _Alignas(8) uint8_t tag; uint8_t payload[55]; } case_any_t;

TYPES("[constructor]fields") handle_t fields_new(void);
TYPES("[method]fields.append") void fields_append(
    handle_t fields, const char *name, size_t name_length, const char *value, size_t value_length, case_any_t *);
TYPES("[resource-drop]fields") void fields_drop(handle_t);
TYPES("[method]incoming-request.path-with-query") void request_path(handle_t request, option_text_t *);
TYPES("[resource-drop]incoming-request") void request_drop(handle_t);
TYPES("[constructor]outgoing-response") handle_t response_new(handle_t fields);
TYPES("[method]outgoing-response.set-status-code") int32_t response_set_status(handle_t, int32_t status);
TYPES("[method]outgoing-response.body") void response_body(handle_t, case_handle_t *);
/* result<outgoing-response, error-code>: `tag` 0 and the response; the rest is the error's, all zero. */
TYPES("[static]response-outparam.set") void outparam_set(
    handle_t out, int32_t tag, int32_t response, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
TYPES("[method]outgoing-body.write") void body_write(handle_t body, case_handle_t *);
TYPES("[static]outgoing-body.finish") void body_finish(
    handle_t body, int32_t has_trailers, handle_t trailers, case_any_t *);
STREAMS("[method]output-stream.blocking-write-and-flush") void stream_write(
    handle_t stream, const char *bytes, size_t length, case_any_t *);
STREAMS("[resource-drop]output-stream") void stream_drop(handle_t);

/* What the host allocates with. An allocation that fails ends the run. */
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size, (void)align;
    void *fresh = realloc(old, size ? size : 1);
    if (!fresh) __builtin_trap();
    return fresh;
}

/* Answers with `text`, whole. A caller who has gone away is not an error. */
static inline void answer(handle_t out, int32_t status, const char *text) {
    case_any_t ignored;
    handle_t headers = fields_new();
    const char name[] = "content-type", value[] = "text/plain; charset=utf-8";
    fields_append(headers, name, sizeof name - 1, value, sizeof value - 1, &ignored);
    handle_t response = response_new(headers);
    response_set_status(response, status);
    case_handle_t body, stream;
    response_body(response, &body);
    outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body.value, &stream);
    for (size_t at = 0, all = strlen(text); at < all; at += CHUNK_MAX_BYTES) {
        size_t length = all - at < CHUNK_MAX_BYTES ? all - at : CHUNK_MAX_BYTES;
        stream_write(stream.value, text + at, length, &ignored);
        if (ignored.tag) break;
    }
    stream_drop(stream.value);
    body_finish(body.value, 0, 0, &ignored);
}
