;; A function by hand that draws a random value when it is instantiated, before any request, and answers each request
;; with that value, as 16 hexadecimal digits.
;;
;; Were its clean image taken of an instance, all callers would be answered the same.
(module
  (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]incoming-request" (func $request_drop (param i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-response.body" (func $response_body (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[static]response-outparam.set"
    (func $outparam_set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-body.write" (func $body_write (param i32 i32)))
  (import "wasi:http/types@0.2.12" "[static]outgoing-body.finish" (func $body_finish (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $stream_write (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.12" "[resource-drop]output-stream" (func $stream_drop (param i32)))
  (import "wasi:random/random@0.2.12" "get-random-u64" (func $random (result i64)))

  ;; 0: results of imports. 256: the answer. 4096 and up: what the host allocates, and nobody reads.
  (memory (export "memory") 1)
  (global $identity (mut i64) (i64.const 0))

  (func $draw
    (global.set $identity (call $random)))
  (start $draw)

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 4096))

  ;; The digits, the last one first, and a new line behind them.
  (func $write
    (local $at i32)
    (local $left i64)
    (local $digit i32)
    (local.set $left (global.get $identity))
    (local.set $at (i32.const 272))
    (i32.store8 (local.get $at) (i32.const 10))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (local.set $digit (i32.and (i32.wrap_i64 (local.get $left)) (i32.const 15)))
      (i32.store8 (local.get $at)
        (i32.add (local.get $digit)
          (select (i32.const 87) (i32.const 48) (i32.ge_u (local.get $digit) (i32.const 10)))))
      (local.set $left (i64.shr_u (local.get $left) (i64.const 4)))
      (br_if $next (i32.gt_u (local.get $at) (i32.const 256)))))

  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $out i32)
    (local $response i32)
    (local $body i32)
    (local $stream i32)
    (call $request_drop (local.get $request))
    (call $write)
    (local.set $response (call $response (call $fields)))
    (call $response_body (local.get $response) (i32.const 0))
    (local.set $body (i32.load (i32.const 4)))
    (call $outparam_set (local.get $out) (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $body_write (local.get $body) (i32.const 0))
    (local.set $stream (i32.load (i32.const 4)))
    (call $stream_write (local.get $stream) (i32.const 256) (i32.const 17) (i32.const 0))
    (call $stream_drop (local.get $stream))
    (call $body_finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 0))))
