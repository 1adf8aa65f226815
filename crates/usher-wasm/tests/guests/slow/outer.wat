;; What a guest needs to write to its standard output and to wait.
(import "wasi:io/error@0.2.4" (instance $errors (export "error" (type (sub resource)))))
(alias export $errors "error" (type $failure))
(import "wasi:io/poll@0.2.4" (instance $polls
  (export "pollable" (type $pollable (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
(alias export $polls "pollable" (type $pollable))
(import "wasi:io/streams@0.2.4" (instance $streams
  (alias outer 1 $failure (type $outer-failure))
  (export "error" (type $error (eq $outer-failure)))
  (export "output-stream" (type $output (sub resource)))
  (type $stream-error-data (variant (case "last-operation-failed" (own $error)) (case "closed")))
  (export "stream-error" (type $stream-error (eq $stream-error-data)))
  (export "[method]output-stream.blocking-write-and-flush" (func
    (param "self" (borrow $output)) (param "contents" (list u8))
    (result (result (error $stream-error)))))))
(alias export $streams "output-stream" (type $output))
(import "wasi:cli/stdout@0.2.4" (instance $stdout
  (alias outer 1 $output (type $outer-output))
  (export "output-stream" (type $output (eq $outer-output)))
  (export "get-stdout" (func (result (own $output))))))
(import "wasi:clocks/monotonic-clock@0.2.4" (instance $clock
  (alias outer 1 $pollable (type $outer-pollable))
  (export "pollable" (type $pollable (eq $outer-pollable)))
  (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
(core func $get-stdout (canon lower (func $stdout "get-stdout")))
(core func $write (canon lower
  (func $streams "[method]output-stream.blocking-write-and-flush")
  (memory (core memory $state "memory"))))
(core func $subscribe (canon lower (func $clock "subscribe-duration")))
(core func $block (canon lower (func $polls "[method]pollable.block")))
