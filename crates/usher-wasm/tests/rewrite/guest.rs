//! A guest in the shape that the tool chains write: imports of `wasi:http/types`, one core module,
//! the lift at the outermost level, a nested component that only renames.
//!
//! What a run does is told by the imported `mode`; what it sees, it tells by the imported `report`.

use std::sync::{Arc, Mutex};

use usher_wasm::rewrite::{
    BASE_IMPORT, ImportedResource, LiveExports, Rewritten, Verdict, rewrite,
};
use wasmtime::component::{
    Component, Instance, Linker, Resource, ResourceType, TypedFunc, WasmList,
};
use wasmtime::{Engine, Store};

/// Reports the numbers of request, outparam and one further handle, and drops all three.
pub(crate) const TELL: u32 = 0;
/// Makes three handles and keeps them.
pub(crate) const LEAK: u32 = 1;
/// Makes three handles, and drops them and its arguments in an order of its own.
pub(crate) const SHUFFLE: u32 = 2;
/// Leaves the request alone, and drops the outparam.
pub(crate) const KEEP_REQUEST: u32 = 3;
/// Leaves both arguments alone.
pub(crate) const KEEP_BOTH: u32 = 4;
/// Makes three handles and drops the arguments last, so that their numbers are free first.
pub(crate) const SHUFFLE_BEHIND: u32 = 5;

/// The most handles that any of these runs holds at once.
pub(crate) const HIGH_WATER: u32 = 5;

const CORE: &str = r#"
  (core module $main
    (import "host" "new" (func $new (result i32)))
    (import "host" "drop" (func $drop (param i32)))
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "drop-outparam" (func $drop-outparam (param i32)))
    (import "host" "mode" (func $mode (result i32)))
    (import "host" "report" (func $report (param i32)))
    (global $a (mut i32) (i32.const 0))
    (global $b (mut i32) (i32.const 0))
    (global $c (mut i32) (i32.const 0))
    (func $make-three
      (global.set $a (call $new)) (global.set $b (call $new)) (global.set $c (call $new)))
    (func (export "handle") (param $request i32) (param $outparam i32)
      (block $shuffle-behind (block $keep-both (block $keep-request (block $shuffle (block $leak
        (block $tell
          (br_table $tell $leak $shuffle $keep-request $keep-both $shuffle-behind
            (call $mode)))
        (call $report (local.get $request))
        (call $report (local.get $outparam))
        (global.set $a (call $new))
        (call $report (global.get $a))
        (call $drop (global.get $a))
        (call $drop-request (local.get $request))
        (call $drop-outparam (local.get $outparam))
        (return))
      (call $make-three)
      (call $drop-request (local.get $request))
      (call $drop-outparam (local.get $outparam))
      (return))
      (call $make-three)
      (call $drop-request (local.get $request))
      (call $drop (global.get $c))
      (call $drop-outparam (local.get $outparam))
      (call $drop (global.get $a))
      (call $drop (global.get $b))
      (return))
      (call $drop-outparam (local.get $outparam))
      (return))
      (return))
      (call $make-three)
      (call $drop (global.get $a))
      (call $drop (global.get $b))
      (call $drop (global.get $c))
      (call $drop-outparam (local.get $outparam))
      (call $drop-request (local.get $request))))"#;

/// The guest's text. `types` is the name of its import; `shim` is put into the nested component.
pub(crate) fn text(types: &str, shim: &str) -> String {
    format!(
        r#"(component
  (import "test:host/probe" (instance $probe
    (export "mode" (func (result u32)))
    (export "report" (func (param "number" u32)))))
  (import "{types}" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (alias export $types "fields" (type $fields))
  (core func $new (canon lower (func $types "[constructor]fields")))
  (core func $drop (canon resource.drop $fields))
  (core func $drop-request (canon resource.drop $request))
  (core func $drop-outparam (canon resource.drop $outparam))
  (core func $mode (canon lower (func $probe "mode")))
  (core func $report (canon lower (func $probe "report")))
{CORE}
  (core instance $main (instantiate $main (with "host" (instance
    (export "new" (func $new)) (export "drop" (func $drop))
    (export "drop-request" (func $drop-request)) (export "drop-outparam" (func $drop-outparam))
    (export "mode" (func $mode)) (export "report" (func $report))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $main "handle")))
  (component $shim
    (import "import-type-request" (type $request (sub resource)))
    (import "import-type-outparam" (type $outparam (sub resource)))
    (import "import-func-handle" (func $handle
      (param "request" (own $request)) (param "response-out" (own $outparam))))
    {shim}
    (export $request-out "incoming-request" (type $request))
    (export $outparam-out "response-outparam" (type $outparam))
    (export "handle" (func $handle) (func
      (param "request" (own $request-out)) (param "response-out" (own $outparam-out)))))
  (instance $handler (instantiate $shim
    (with "import-type-request" (type $request))
    (with "import-type-outparam" (type $outparam))
    (with "import-func-handle" (func $handle))))
  (export "wasi:http/incoming-handler@0.2.4" (instance $handler)))"#
    )
}

/// The guest as a component.
pub(crate) fn component() -> Vec<u8> {
    assemble(&text("wasi:http/types@0.2.4", ""))
}

pub(crate) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text is a component")
}

/// The names of the added functions.
pub(crate) fn live(rewritten: &Rewritten) -> &LiveExports {
    match &rewritten.plan.verdict {
        Verdict::Live(exports) => exports,
        Verdict::Fresh { reasons } => panic!("should be live: {reasons:?}"),
    }
}

pub(crate) struct Request;
pub(crate) struct Outparam;
pub(crate) struct Fields;

/// What the host sees of the guest.
#[derive(Default)]
pub(crate) struct Seen {
    mode: u32,
    reports: Vec<u32>,
    /// Resources that were dropped by now: requests, outparams.
    pub(crate) dropped: (u32, u32),
}

/// A guest that was rewritten and instantiated.
pub(crate) struct Guest {
    store: Store<Arc<Mutex<Seen>>>,
    handle: TypedFunc<(Resource<Request>, Resource<Outparam>), ()>,
    renew: TypedFunc<(u32, u32), (u32,)>,
    release: TypedFunc<(u32, u32), ()>,
    resources: Vec<ImportedResource>,
    pub(crate) releasable: u32,
}

impl Guest {
    pub(crate) fn start(component: &[u8], types: &str) -> Self {
        let rewritten = rewrite(component).expect("the component is taken");
        let exports = live(&rewritten);
        let engine = Engine::default();
        let component = Component::new(&engine, &rewritten.bytes).expect("compiles");
        let mut store = Store::new(&engine, Arc::default());
        let instance = linker(&engine, types).instantiate(&mut store, &component);
        let instance = instance.expect("instantiates");
        let name = &rewritten.plan.handler;
        let handler = instance.get_export_index(&mut store, None, name);
        let handle = instance.get_export_index(&mut store, handler.as_ref(), "handle");
        let handle = handle.expect("the handler exports handle");
        let handle = instance
            .get_typed_func(&mut store, handle)
            .expect("has the type of handle");
        let renew = instance
            .get_typed_func(&mut store, &exports.renew)
            .expect("renew is there");
        let release = instance.get_typed_func(&mut store, &exports.release);
        let release = release.expect("release is there");
        save(&instance, &mut store, exports);
        Guest {
            store,
            handle,
            renew,
            release,
            resources: exports.resources.clone(),
            releasable: exports.releasable,
        }
    }

    pub(crate) fn run(&mut self, mode: u32) -> Vec<u32> {
        self.seen(|seen| seen.mode = mode);
        let arguments = (Resource::new_own(7), Resource::new_own(8));
        self.handle
            .call(&mut self.store, arguments)
            .expect("the run ends well");
        self.seen(|seen| std::mem::take(&mut seen.reports))
    }

    pub(crate) fn renew(&mut self, release: u32, n: u32) -> wasmtime::Result<u32> {
        Ok(self.renew.call(&mut self.store, (release, n))?.0)
    }

    /// Drops the handle `number` as one of the resource type `name`.
    pub(crate) fn release(&mut self, name: &str, number: u32) -> wasmtime::Result<()> {
        let place = self
            .resources
            .iter()
            .position(|resource| resource.name == name);
        let place = place.expect("the type is imported");
        let place = u32::try_from(place).expect("is small");
        self.release.call(&mut self.store, (place, number))
    }

    pub(crate) fn seen<T>(&mut self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.store.data().lock().expect("nobody panicked"))
    }
}

/// Calls the added `save`.
pub(crate) fn save<T>(instance: &Instance, store: &mut Store<T>, exports: &LiveExports) {
    let save = instance.get_typed_func::<(), ()>(&mut *store, &exports.save);
    save.expect("save is there")
        .call(store, ())
        .expect("save does not trap");
}

/// The globals that were saved, by the added `read`.
pub(crate) fn read_globals<T>(
    instance: &Instance,
    store: &mut Store<T>,
    exports: &LiveExports,
) -> Vec<u128> {
    let read = instance.get_typed_func::<(u32, u32), (u64,)>(&mut *store, &exports.read);
    let read = read.expect("read is there");
    let mut half = |place, half| {
        let (bits,) = read
            .call(&mut *store, (place, half))
            .expect("knows the global");
        u128::from(bits)
    };
    let places = 0..exports.globals;
    places
        .map(|place| half(place, 0) | half(place, 1) << 64)
        .collect()
}

/// A linker that takes the readings of the memories' bases and forgets them.
pub(crate) fn without_bases<T: 'static>(engine: &Engine) -> Linker<T> {
    let mut linker = Linker::new(engine);
    let forget = |_: wasmtime::StoreContextMut<'_, T>, (_,): (WasmList<u8>,)| Ok(());
    let defined = linker.root().func_wrap(BASE_IMPORT, forget);
    defined.expect("nothing else has the name");
    linker
}

fn linker(engine: &Engine, types: &str) -> Linker<Arc<Mutex<Seen>>> {
    let mut linker = without_bases::<Arc<Mutex<Seen>>>(engine);
    let define = |linker: &mut Linker<Arc<Mutex<Seen>>>| -> wasmtime::Result<()> {
        let mut probe = linker.instance("test:host/probe")?;
        probe.func_wrap("mode", |store, (): ()| {
            Ok((store.data().lock().expect("nobody panicked").mode,))
        })?;
        probe.func_wrap("report", |store, (number,): (u32,)| {
            store
                .data()
                .lock()
                .expect("nobody panicked")
                .reports
                .push(number);
            Ok(())
        })?;
        let mut types = linker.instance(types)?;
        types.resource(
            "incoming-request",
            ResourceType::host::<Request>(),
            |store, _| {
                store.data().lock().expect("nobody panicked").dropped.0 += 1;
                Ok(())
            },
        )?;
        types.resource(
            "response-outparam",
            ResourceType::host::<Outparam>(),
            |store, _| {
                store.data().lock().expect("nobody panicked").dropped.1 += 1;
                Ok(())
            },
        )?;
        types.resource("fields", ResourceType::host::<Fields>(), |_, _| Ok(()))?;
        types.func_wrap("[constructor]fields", |_, (): ()| {
            Ok((Resource::<Fields>::new_own(9),))
        })
    };
    define(&mut linker).expect("the host's functions have their types");
    linker
}
