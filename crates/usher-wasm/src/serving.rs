//! What an instance takes its requests by: the interface of wasi:http 0.2 or that of 0.3.
//!
//! Deliberately absent: a run (`run`, and `concurrent` for what 0.3 needs of it).

use wasmtime::Store;
use wasmtime::component::Instance;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use crate::host::Host;
use crate::settings::CodeKind;

/// The exported handler of one instance.
pub(crate) enum Serving {
    /// `wasi:http/incoming-handler@0.2.x`
    Http02(Proxy),
    /// `wasi:http/handler@0.3.x`
    Http03(Service),
}

impl Serving {
    /// Finds it. Which of the two there is was decided when the code was compiled.
    pub(crate) fn find(
        kind: CodeKind,
        store: &mut Store<Host>,
        instance: &Instance,
    ) -> wasmtime::Result<Self> {
        match kind {
            CodeKind::Concurrent => Service::new(store, instance).map(Self::Http03),
            CodeKind::Guarded | CodeKind::Headroom | CodeKind::Fresh => {
                Proxy::new(store, instance).map(Self::Http02)
            }
        }
    }
}
