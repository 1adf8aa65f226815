;; A function by hand, with the state that compilers seldom make: two memories, mutable globals of every number
;; type, and a table (which it only reads).
;;
;; - No query: answers how often it was called, "1" in every clean area.
;; - `?plant=HEX` (32 digits, lower case) leaves a marker in globals, in both memories and in pages that they grew;
;;   leaks the request and as many handles as the marker's first byte says.
;; - `?seek=HEX` counts the marker in all of them.
;;
;; Both answer JSON. What is planted is the marker with each byte XORed by 0xa5: that form stands in no request and
;; is kept in locals only, so what is found was planted.
(module
  (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[resource-drop]fields" (func $fields_drop (param i32)))
  (import "wasi:http/types@0.2.12" "[method]incoming-request.path-with-query" (func $path (param i32 i32)))
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

  ;; 0: results of imports. 256: text to answer. 1024: a place for the marker. 2048: constant texts.
  ;; 4096 and up: what the host allocates.
  (memory $main (export "memory") 1)
  (memory $other 1)
  (data (i32.const 2048) "{\"planted\":,\"hits\":,\"first_handle\":,\"fields_handles\":[],\"counter\":,\"memory_pages\":}\n")

  (global $calls (mut i32) (i32.const 0))
  (global $bump (mut i32) (i32.const 4096))
  (global $text_end (mut i32) (i32.const 256))
  (global $marker_i64 (mut i64) (i64.const 0))
  (global $marker_f32 (mut f32) (f32.const 0))
  (global $marker_f64 (mut f64) (f64.const 0))
  (global $marker_v128 (mut v128) (v128.const i64x2 0 0))

  (type $verb (func (param $low i64) (param $high i64) (result i32)))
  (table funcref (elem $seek $plant))

  ;; Leaves the marker everywhere; answers how often it stands now.
  (func $plant (type $verb) (param $low i64) (param $high i64) (result i32)
    (local $page i32)
    (local $left i32)
    (global.set $marker_i64 (local.get $low))
    (global.set $marker_f64 (f64.reinterpret_i64 (local.get $high)))
    (global.set $marker_f32 (f32.reinterpret_i32 (i32.wrap_i64 (local.get $low))))
    (global.set $marker_v128
      (i64x2.replace_lane 1 (i64x2.splat (local.get $low)) (local.get $high)))
    (v128.store $main (i32.const 1024) (global.get $marker_v128))
    (v128.store $other (i32.const 1024) (global.get $marker_v128))
    (local.set $page (memory.grow $main (i32.const 1)))
    (if (i32.ne (local.get $page) (i32.const -1))
      (then (v128.store $main (i32.shl (local.get $page) (i32.const 16)) (global.get $marker_v128))))
    (local.set $page (memory.grow $other (i32.const 1)))
    (if (i32.ne (local.get $page) (i32.const -1))
      (then
        (v128.store $other offset=65520
          (i32.shl (local.get $page) (i32.const 16)) (global.get $marker_v128))))
    (local.set $left
      (i32.and (i32.wrap_i64 (i64.xor (local.get $low) (i64.const 0xa5))) (i32.const 63)))
    (block $none
      (loop $more
        (br_if $none (i32.eqz (local.get $left)))
        (drop (call $fields))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $more)))
    (call $seek (local.get $low) (local.get $high)))

  ;; How often the marker stands in the globals (a part of it where only a part fits) and in the memories.
  (func $seek (type $verb) (param $low i64) (param $high i64) (result i32)
    (local $found i32)
    (local $at i32)
    (local $last i32)
    (local.set $found
      (i32.add
        (i32.add
          (i64.eq (global.get $marker_i64) (local.get $low))
          (i64.eq (i64.reinterpret_f64 (global.get $marker_f64)) (local.get $high)))
        (i32.add
          (i32.eq (i32.reinterpret_f32 (global.get $marker_f32)) (i32.wrap_i64 (local.get $low)))
          (i64x2.all_true
            (i64x2.eq (global.get $marker_v128)
              (i64x2.replace_lane 1 (i64x2.splat (local.get $low)) (local.get $high)))))))
    (local.set $last (i32.sub (i32.shl (memory.size $main) (i32.const 16)) (i32.const 16)))
    (loop $next
      (if (i64.eq (i64.load $main (local.get $at)) (local.get $low))
        (then
          (local.set $found
            (i32.add (local.get $found)
              (i64.eq (i64.load $main offset=8 (local.get $at)) (local.get $high))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $at) (local.get $last))))
    (local.set $at (i32.const 0))
    (local.set $last (i32.sub (i32.shl (memory.size $other) (i32.const 16)) (i32.const 16)))
    (loop $next
      (if (i64.eq (i64.load $other (local.get $at)) (local.get $low))
        (then
          (local.set $found
            (i32.add (local.get $found)
              (i64.eq (i64.load $other offset=8 (local.get $at)) (local.get $high))))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.le_u (local.get $at) (local.get $last))))
    (local.get $found))

  ;; Only ever forward; the memory grows when it has to.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
    (result i32)
    (local $place i32)
    (local.set $place
      (i32.and
        (i32.add (global.get $bump) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $bump (i32.add (local.get $place) (local.get $size)))
    (block $fits
      (loop $grow
        (br_if $fits
          (i32.le_u (global.get $bump) (i32.shl (memory.size $main) (i32.const 16))))
        (br_if $grow (i32.ne (memory.grow $main (i32.const 1)) (i32.const -1)))
        unreachable))
    (memory.copy $main $main
      (local.get $place) (local.get $old) (local.get $old_size))
    (local.get $place))

  ;; Puts `length` bytes of the constant texts, from `at` on, behind the text to answer.
  (func $put (param $at i32) (param $length i32)
    (memory.copy $main $main
      (global.get $text_end) (i32.add (i32.const 2048) (local.get $at)) (local.get $length))
    (global.set $text_end (i32.add (global.get $text_end) (local.get $length))))

  ;; Puts a number, in decimal.
  (func $put_number (param $number i32)
    (if (i32.ge_u (local.get $number) (i32.const 10))
      (then (call $put_number (i32.div_u (local.get $number) (i32.const 10)))))
    (i32.store8 $main (global.get $text_end)
      (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
    (global.set $text_end (i32.add (global.get $text_end) (i32.const 1))))

  ;; 16 hexadecimal digits at `at`, each byte XORed by 0xa5, as a little-endian number.
  (func $half (param $at i32) (result i64)
    (local $nth i32)
    (local $digit i32)
    (local $value i64)
    (loop $next
      (local.set $digit (i32.load8_u $main (i32.add (local.get $at) (local.get $nth))))
      (local.set $digit
        (i32.and
          (i32.sub (local.get $digit)
            (select (i32.const 87) (i32.const 48) (i32.ge_u (local.get $digit) (i32.const 97))))
          (i32.const 15)))
      ;; The first of two digits is the byte's high half.
      (local.set $value
        (i64.or (local.get $value)
          (i64.shl (i64.extend_i32_u (local.get $digit))
            (i64.extend_i32_u
              (i32.shl (i32.xor (local.get $nth) (i32.const 1)) (i32.const 2))))))
      (local.set $nth (i32.add (local.get $nth) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $nth) (i32.const 16))))
    (i64.xor (local.get $value) (i64.const 0xa5a5a5a5a5a5a5a5)))

  ;; Where the 32 digits of `?seek=` or `?plant=` begin, and which of the two it is; 0 if it is neither.
  (func $parse (param $at i32) (param $length i32) (result i32 i32)
    (local $end i32)
    (local $verb i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $nothing
      (loop $next
        (br_if $nothing (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next
          (i32.ne (i32.load8_u $main (i32.sub (local.get $at) (i32.const 1))) (i32.const 63))))
      ;; 'p' begins the longer word.
      (local.set $verb (i32.eq (i32.load8_u $main (local.get $at)) (i32.const 112)))
      (local.set $at (i32.add (i32.add (local.get $at) (i32.const 5)) (local.get $verb)))
      (br_if $nothing
        (i32.gt_u (i32.add (local.get $at) (i32.const 32)) (local.get $end)))
      (return (local.get $at) (local.get $verb)))
    (i32.const 0)
    (i32.const 0))

  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $out i32)
    (local $numbered i32)
    (local $digits i32)
    (local $verb i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (global.set $text_end (i32.const 256))
    (local.set $numbered (call $fields))
    (call $fields_drop (local.get $numbered))
    (call $path (local.get $request) (i32.const 0))
    (call $parse (i32.load $main (i32.const 4)) (i32.load $main (i32.const 8)))
    (local.set $verb)
    (local.set $digits)
    (if (local.get $digits)
      (then
        (call $put (i32.const 0) (i32.const 11)) ;; {"planted":
        (call $put_bool (local.get $verb))
        (call $put (i32.const 11) (i32.const 8)) ;; ,"hits":
        (call $put_number
          (call_indirect (type $verb)
            (call $half (local.get $digits))
            (call $half (i32.add (local.get $digits) (i32.const 16)))
            (local.get $verb)))
        (call $put (i32.const 19) (i32.const 16)) ;; ,"first_handle":
        (call $put_number (local.get $request))
        (call $put (i32.const 35) (i32.const 19)) ;; ,"fields_handles":[
        (call $put_number (local.get $numbered))
        (call $put (i32.const 54) (i32.const 12)) ;; ],"counter":
        (call $put_number (global.get $calls))
        (call $put (i32.const 66) (i32.const 16)) ;; ,"memory_pages":
        (call $put_number (i32.add (memory.size $main) (memory.size $other)))
        (call $put (i32.const 82) (i32.const 2))) ;; } and a new line
      (else
        (call $put_number (global.get $calls))
        (call $put (i32.const 83) (i32.const 1))))
    (if (i32.eqz (local.get $verb)) (then (call $request_drop (local.get $request))))
    (call $answer (local.get $out)))

  (func $put_bool (param $value i32)
    ;; "true" and "false", as little-endian numbers.
    (i64.store $main (global.get $text_end)
      (select (i64.const 0x65757274) (i64.const 0x65736c6166) (local.get $value)))
    (global.set $text_end
      (i32.add (global.get $text_end)
        (select (i32.const 4) (i32.const 5) (local.get $value)))))

  (func $answer (param $out i32)
    (local $response i32)
    (local $body i32)
    (local $stream i32)
    (local.set $response (call $response (call $fields)))
    (call $response_body (local.get $response) (i32.const 0))
    (local.set $body (i32.load $main (i32.const 4)))
    (call $outparam_set (local.get $out) (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $body_write (local.get $body) (i32.const 0))
    (local.set $stream (i32.load $main (i32.const 4)))
    (call $stream_write (local.get $stream) (i32.const 256)
      (i32.sub (global.get $text_end) (i32.const 256)) (i32.const 0))
    (call $stream_drop (local.get $stream))
    (call $body_finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 0))))
