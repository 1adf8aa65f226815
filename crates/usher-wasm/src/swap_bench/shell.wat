;; A component around core modules: takes requests, and answers each with an error of its own.
;;
;; STATE defines the core instance `$state`, which exports "memory". MAIN defines the core
;; instance `$main`, which exports "handle" and gets `$host`: "drop-request", and "set" for the
;; answer, whose error of kind 38 carries a text that lies in the memory.
(component
  @STATE@
  (import "wasi:http/types@0.2.4" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type $outparam (sub resource)))
    (export "outgoing-response" (type $response (sub resource)))
    (type $dns-data (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns-data)))
    (type $tls-data (record
      (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls-data)))
    (type $size-data (record
      (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size-data)))
    (type $error-data (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error (eq $error-data)))
    (export "[static]response-outparam.set" (func
      (param "param" (own $outparam))
      (param "response" (result (own $response) (error $error)))))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core func $drop-request (canon resource.drop $request))
  (core func $set (canon lower (func $types "[static]response-outparam.set")
    (memory (core memory $state "memory"))))
  (core instance $host
    (export "drop-request" (func $drop-request))
    (export "set" (func $set)))
  @MAIN@
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $main "handle")))
  (component $shim
    (import "import-type-request" (type $request (sub resource)))
    (import "import-type-outparam" (type $outparam (sub resource)))
    (import "import-func-handle" (func $handle
      (param "request" (own $request)) (param "response-out" (own $outparam))))
    (export $request-out "incoming-request" (type $request))
    (export $outparam-out "response-outparam" (type $outparam))
    (export "handle" (func $handle) (func
      (param "request" (own $request-out)) (param "response-out" (own $outparam-out)))))
  (instance $handler (instantiate $shim
    (with "import-type-request" (type $request))
    (with "import-type-outparam" (type $outparam))
    (with "import-func-handle" (func $handle))))
  (export "wasi:http/incoming-handler@0.2.4" (instance $handler)))
