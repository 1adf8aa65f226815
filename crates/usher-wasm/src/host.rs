//! What a guest finds around it: the state of one store, and the interfaces of WASI over it.
//!
//! Everything in [`Host`] that a run can change is replaced by [`Host::begin`]: the resource table,
//! the WASI context with its randomness and clocks, the outbound connections. What is left of a run
//! is seen by
//! [`Host::leftovers`]. The WASI context is made when the guest first asks for it, as many never
//! do.
//!
//! Deliberately absent: file systems and sockets (linked, and empty or denied), and the network
//! (`outbound`).

use std::any::Any;
use std::sync::Arc;

use usher_core::id::RequestId;
use usher_engine::GuestOutput;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksCtxView, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::random::{WasiRandom, WasiRandomCtx, WasiRandomView};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::meter::Meter;
use crate::outbound::Outbound;
use crate::output;
use crate::rehearsal::{Rehearsal, Shifted};

/// Entries that the resource table of one run has room for before it grows, enough for most runs.
const TABLE_ROOM: usize = 16;

/// The state of one store.
pub(crate) struct Host {
    pub(crate) table: ResourceTable,
    wasi: Option<Box<WasiCtx>>,
    http: WasiHttpCtx,
    outbound: Outbound,
    run: Option<(RequestId, Arc<dyn GuestOutput>)>,
    /// Counts and bounds memory, tables and instances.
    pub(crate) meter: Meter,
    /// Base addresses of the memories, as the runtime last read them from the instance's context.
    pub(crate) bases: Vec<u64>,
    /// Set while nobody but the platform asks.
    rehearsal: Option<Rehearsal>,
    /// Whether a clock or a random value was asked for.
    drew: bool,
}

impl Host {
    pub(crate) fn new(meter: Meter, outbound: Outbound) -> Self {
        Self {
            table: ResourceTable::new(),
            wasi: None,
            http: WasiHttpCtx::new(),
            outbound,
            run: None,
            meter,
            bases: Vec::new(),
            rehearsal: None,
            drew: false,
        }
    }

    /// From now on the platform alone asks, and nothing is to come of it outside; or, with none,
    /// callers do.
    pub(crate) fn rehearse(&mut self, rehearsal: Option<Rehearsal>) {
        self.outbound.refuse(rehearsal.is_some());
        self.rehearsal = rehearsal;
        self.wasi = None;
    }

    /// Whether the guest has ever asked for something that another instance may be answered
    /// otherwise: a clock or a random value. What else it finds is the same for all.
    pub(crate) fn drew(&self) -> bool {
        self.drew
    }

    fn clock(&mut self) -> WasiClocksCtxView<'_> {
        self.drew = true;
        self.clocks()
    }

    fn draw(&mut self) -> &mut WasiRandomCtx {
        self.drew = true;
        self.random()
    }

    /// Makes everything new that a run can change. With `keep` the resources stay, for guests whose
    /// state is kept on purpose.
    pub(crate) fn begin(&mut self, request: RequestId, output: Arc<dyn GuestOutput>, keep: bool) {
        if !keep {
            self.table = ResourceTable::with_capacity(TABLE_ROOM);
        }
        self.table.set_max_capacity(self.meter.handles_max());
        self.wasi = None;
        self.run = Some((request, output));
        self.meter.begin();
    }

    /// Counts the entries that the table ever had at once during the run, or says that some are
    /// still there.
    pub(crate) fn leftovers(&mut self) -> Leftovers {
        if !self.table.is_empty() {
            return Leftovers::Some;
        }
        // With a capacity of zero the table takes no new entries, only free ones again: as many as
        // it ever had.
        self.table.set_max_capacity(0);
        let mut high_water = 0;
        while self.table.push(()).is_ok() {
            high_water += 1;
        }
        self.table = ResourceTable::new();
        Leftovers::None { high_water }
    }

    /// What the run has left in the table, newest first: index, interface and name of the resource.
    pub(crate) fn left_behind(&mut self) -> Vec<(u32, (&'static str, &'static str))> {
        if self.table.is_empty() {
            return Vec::new();
        }
        let mut left = Vec::new();
        let (mut index, mut free) = (0, 0);
        // The table does not tell its length; nothing stands behind a long row of free places.
        while free < FREE_PLACES_MAX {
            match self.table.get_any_mut(index) {
                Ok(entry) => {
                    left.push((index, kind(entry)));
                    free = 0;
                }
                Err(_) => free += 1,
            }
            index += 1;
        }
        left.reverse();
        left
    }

    /// Drops what the run was given.
    pub(crate) fn end(&mut self) {
        self.wasi = None;
        self.run = None;
    }

    fn fresh_wasi(&self) -> Box<WasiCtx> {
        let mut builder = WasiCtx::builder();
        if let Some((request, output)) = &self.run {
            let (stdout, stderr) = output::streams(*request, output);
            builder.stdout(stdout).stderr(stderr);
        }
        if let Some(rehearsal) = &self.rehearsal {
            builder.wall_clock(Shifted(rehearsal.ahead));
        }
        builder.allow_tcp(false).allow_udp(false);
        Box::new(builder.build())
    }
}

/// Free places in a row after which the host's table is taken to end. Should something be left
/// behind them, the renewal finds that the table is not empty and gives the environment up.
const FREE_PLACES_MAX: u32 = 256;

/// The interface and name of the resource that an entry of the table stands for.
fn kind(entry: &dyn Any) -> (&'static str, &'static str) {
    use wasmtime_wasi_http::p2::{body, types};
    const HTTP: &str = "wasi:http/types@";
    const STREAMS: &str = "wasi:io/streams@";
    const POLL: &str = "wasi:io/poll@";
    if entry.is::<types::HostIncomingRequest>() {
        (HTTP, "incoming-request")
    } else if entry.is::<wasmtime_wasi_http::FieldMap>() {
        (HTTP, "fields")
    } else if entry.is::<types::HostOutgoingResponse>() {
        (HTTP, "outgoing-response")
    } else if entry.is::<types::HostOutgoingRequest>() {
        (HTTP, "outgoing-request")
    } else if entry.is::<types::HostIncomingResponse>() {
        (HTTP, "incoming-response")
    } else if entry.is::<types::HostFutureIncomingResponse>() {
        (HTTP, "future-incoming-response")
    } else if entry.is::<types::HostResponseOutparam>() {
        (HTTP, "response-outparam")
    } else if entry.is::<body::HostIncomingBody>() {
        (HTTP, "incoming-body")
    } else if entry.is::<body::HostOutgoingBody>() {
        (HTTP, "outgoing-body")
    } else if entry.is::<body::HostFutureTrailers>() {
        (HTTP, "future-trailers")
    } else if entry.is::<wasmtime_wasi::p2::DynInputStream>() {
        (STREAMS, "input-stream")
    } else if entry.is::<wasmtime_wasi::p2::DynOutputStream>() {
        (STREAMS, "output-stream")
    } else if entry.is::<wasmtime_wasi::p2::DynPollable>() {
        (POLL, "pollable")
    } else {
        ("", "resource")
    }
}

/// What is left in the host's table after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// Nothing; so many entries there were at once.
    None { high_water: u32 },
    /// Resources that the guest did not give back.
    Some,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        if self.wasi.is_none() {
            self.wasi = Some(self.fresh_wasi());
        }
        let ctx = self.wasi.get_or_insert_with(Default::default);
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// Streams and pollables need the table only, and no WASI context is made for them.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Adds every interface of the `wasi:http/proxy` world, and those of the command world that
/// language runtimes import without need: they are empty (no arguments, no environment, no files)
/// or denied (sockets).
///
/// Every kind of engine has these: a component for wasi:http 0.3 may import those of 0.2 too, as
/// its language's standard library does. What else the platform offers to all guests belongs here.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type H = Host;
    let l = linker;
    let table: fn(&mut H) -> &mut ResourceTable = |host| &mut host.table;
    wasi::io::error::add_to_linker::<H, Table>(l, table)?;
    wasi::io::poll::add_to_linker::<H, Table>(l, table)?;
    wasi::io::streams::add_to_linker::<H, Table>(l, table)?;
    wasi::clocks::wall_clock::add_to_linker::<H, WasiClocks>(l, H::clock)?;
    wasi::clocks::monotonic_clock::add_to_linker::<H, WasiClocks>(l, H::clock)?;
    wasi::random::random::add_to_linker::<H, WasiRandom>(l, H::draw)?;
    wasi::random::insecure::add_to_linker::<H, WasiRandom>(l, H::draw)?;
    wasi::random::insecure_seed::add_to_linker::<H, WasiRandom>(l, H::draw)?;
    wasi::cli::exit::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::environment::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::stdin::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::stdout::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::stderr::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::terminal_input::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::terminal_output::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::terminal_stdin::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::terminal_stdout::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::cli::terminal_stderr::add_to_linker::<H, WasiCli>(l, H::cli)?;
    wasi::filesystem::preopens::add_to_linker::<H, WasiFilesystem>(l, H::filesystem)?;
    wasi::filesystem::types::add_to_linker::<H, WasiFilesystem>(l, H::filesystem)?;
    wasi::sockets::instance_network::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    let options = wasi::sockets::network::LinkOptions::default();
    wasi::sockets::network::add_to_linker::<H, WasiSockets>(l, &options, H::sockets)?;
    wasi::sockets::ip_name_lookup::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    wasi::sockets::tcp_create_socket::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    wasi::sockets::tcp::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    wasi::sockets::udp_create_socket::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    wasi::sockets::udp::add_to_linker::<H, WasiSockets>(l, H::sockets)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)
}

/// Adds what components for wasi:http 0.3 have beside all that [`link`] adds: the interfaces of
/// WASI 0.3, which need an engine of the concurrent kind. Files and sockets are empty or denied in
/// them as well, since both generations ask the same context.
pub(crate) fn link_concurrent(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)
}
