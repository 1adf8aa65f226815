//! The platform in one process: which role is given what, and in which order all of it ends.
//!
//! ```text
//!  start: backbone → engine → node → gateway's table → gateway → controller → API ─► ready
//!  stop:  gateway (requests finish) → API (changes finish) → node (environments end) → backbone
//! ```
//!
//! Deliberately absent: what runs on the platform, and on which engine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use usher_api::client::Client;
use usher_api::node::{LogLine, LogQuery, NodeControl};
use usher_api::record::FUNCTIONS_PREFIX;
use usher_backbone::{Embedded, KeyValue, Limits};
use usher_controller::api::{Api, ApiOptions};
use usher_controller::secrets::KEY_FILE;
use usher_controller::{Addresses, Controller, Options, OwnFiles};
use usher_core::function::Revision;
use usher_core::id::FunctionKey;
use usher_core::route::Domain;
use usher_gateway::{Bounds, Config, Gateway, RouteTable};
use usher_node::logs::LogOptions;
use usher_node::{Node, NodeOptions};

use crate::access::Access;
use crate::cli::{Observe, Tuning};
use crate::engines::{self, Engines};
use crate::metrics::Figures;
use crate::telemetry::Sending;
use crate::{dumps, folders, given, tls};

/// Bounds of an end that nobody is to wait long for.
const BRISK: Bounded = Bounded {
    gateway_max_ms: 1_500,
    api_max_ms: 250,
    node_max_ms: 500,
};

/// Bounds of an end that lets requests finish.
const PATIENT: Bounded = Bounded {
    gateway_max_ms: 30_000,
    api_max_ms: 10_000,
    node_max_ms: 10_000,
};

/// How long each role may take to end, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Bounded {
    gateway_max_ms: u64,
    api_max_ms: u64,
    node_max_ms: u64,
}

/// Which function answers which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// Each function its own, as they are deployed.
    Named,
    /// One function every address, named by [`Platform::serve_single`].
    Single,
}

/// What a platform is started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where functions and logs are kept; none: in a folder that goes with the platform.
    pub(crate) data: Option<PathBuf>,
    /// Where functions answer.
    pub(crate) gateway: SocketAddr,
    /// The same over TLS; none: nowhere.
    pub(crate) tls: Option<tls::Wanted>,
    /// Where the API listens.
    pub(crate) api: SocketAddr,
    /// Whether the API may be reached by other machines.
    pub(crate) insecure_api: bool,
    /// By which names it may be asked, besides `localhost`.
    pub(crate) api_names: Vec<String>,
    /// Functions answer under it by name.
    pub(crate) domain: Domain,
    /// Which function answers which address.
    pub(crate) routing: Routing,
    /// End within three seconds, cutting requests that take longer.
    pub(crate) brisk: bool,
    /// Metrics and traces.
    pub(crate) observe: Observe,
    /// Audits, where memory areas can be, what programs share, which key seals secrets.
    pub(crate) tuning: Tuning,
}

impl Settings {
    /// On free ports of this machine, on throw-away data.
    pub(crate) fn throw_away() -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data: None,
            gateway: free,
            tls: None,
            api: free,
            insecure_api: false,
            api_names: Vec::new(),
            domain: Domain::default(),
            routing: Routing::Named,
            brisk: true,
            observe: Observe::default(),
            tuning: Tuning::default(),
        }
    }
}

/// A running platform. It must be ended with [`Platform::stop`].
pub(crate) struct Platform {
    /// Where functions answer.
    pub(crate) gateway: SocketAddr,
    /// The same over TLS, if it is spoken.
    pub(crate) gateway_tls: Option<SocketAddr>,
    /// Where the API listens.
    pub(crate) api: SocketAddr,
    access: Access,
    ready: watch::Sender<bool>,
    table: Arc<RouteTable>,
    following: Option<JoinHandle<()>>,
    gateway_task: Role,
    _certificates: Option<tls::Keepers>,
    api_task: Role,
    sending: Option<Sending>,
    engines: Arc<Engines>,
    node: Node<Engines>,
    controller: Arc<Controller>,
    node_max_ms: u64,
    backbone: Arc<Embedded>,
    /// Last, so that nothing writes to the folder any more when it goes.
    _folder: Option<TempDir>,
}

/// A task that serves until it is asked to stop.
struct Role {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Role {
    fn spawn<F>(serve: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(stopped));
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        // A panic was told by its own thread, and the roles after this one are to end all the same.
        let _ = self.task.await;
    }
}

impl Platform {
    /// Starts all roles; on return both addresses answer.
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        dumps::never();
        let bounded = if settings.brisk { BRISK } else { PATIENT };
        let (data, folder) = data_folder(settings.data.clone())?;
        let backbone = Arc::new(open(data.clone()).await?);
        let cache = folder.as_ref().and_then(|_| folders::cache());
        let cache = cache.unwrap_or_else(|| data.clone());
        let key = settings.tuning.secrets_key.as_deref();
        // A key that is kept elsewhere on purpose stays out of back-ups too.
        let carried: &[&str] = if key.is_none() { &[KEY_FILE] } else { &[] };
        let given = given::open(&backbone, &data, key).await?;
        let engines = engines::make(&data, &cache, &settings.tuning, given.sources)?;
        let access = Access::follow(&backbone).await?;
        let node = node(&backbone, &engines, &data, &access, &settings.tuning)?;
        if settings.routing == Routing::Named {
            prepare_sandboxes(&engines);
        }
        let table = Arc::new(RouteTable::with(access.rules()));
        let following = match settings.routing {
            Routing::Named => Some(follow(&table, &backbone).await?),
            Routing::Single => None,
        };
        let drain_max_ms = bounded.gateway_max_ms;
        let (gateway, served) = gateway(&settings, &data, drain_max_ms, &table, &node).await?;
        let addresses = Addresses {
            gateway: gateway.local_addr(),
            domain: settings.domain,
        };
        let followers = following.iter().map(|_| table.applied()).collect();
        let options = Options {
            vault: Some(given.vault),
            buckets: Some(given.buckets),
            own_files: OwnFiles::below(&data, carried),
            ..Options::new(addresses)
        };
        let (records, on_node) = (Arc::clone(&backbone) as _, Arc::new(node.clone()));
        let controller = Controller::start(records, on_node, followers, options);
        let options = ApiOptions {
            insecure: settings.insecure_api,
            names: settings.api_names,
            drain_max_ms: bounded.api_max_ms,
            ..access.api_options(settings.api, &data)
        };
        let (ready, is_ready) = watch::channel(settings.routing == Routing::Named);
        let (sending, figures) = observed(&settings.observe, &gateway, &node, &engines)?;
        let controller = Arc::new(controller.await?);
        let api = Api::bind(options, Arc::clone(&controller), is_ready, figures).await?;
        Ok(Self {
            gateway: gateway.local_addr(),
            gateway_tls: gateway.tls_addr(),
            api: api.local_addr(),
            access,
            ready,
            table,
            following,
            gateway_task: Role::spawn(|stop| async move {
                gateway.serve(asked(stop)).await;
            }),
            _certificates: served.map(tls::Served::keep).transpose()?,
            api_task: Role::spawn(|stop| api.serve(asked(stop))),
            sending,
            engines,
            node,
            controller,
            node_max_ms: bounded.node_max_ms,
            backbone,
            _folder: folder,
        })
    }

    /// From now on this revision answers every request, and the platform is ready.
    pub(crate) fn serve_single(&self, revision: Revision) {
        self.table.serve_single(revision);
        self.ready.send_replace(true);
    }

    /// A client of this platform's API.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.access.client(within(self.api))
    }

    /// Who deploys, for what runs in this process.
    pub(crate) fn controller(&self) -> &Controller {
        &self.controller
    }

    /// The function's log, oldest line first.
    pub(crate) fn log(
        &self,
        function: &FunctionKey,
        query: LogQuery,
    ) -> BoxStream<'static, LogLine> {
        self.node.logs(function, query)
    }

    /// Where this machine reaches the gateway.
    pub(crate) fn gateway_within(&self) -> SocketAddr {
        within(self.gateway)
    }

    /// Why Linux programs cannot run here; none: they can.
    pub(crate) async fn no_programs(&self) -> Option<String> {
        let means = self.engines.second.means().await;
        means.err().map(ToOwned::to_owned)
    }

    /// Ends all roles in their order. What was acknowledged is kept.
    pub(crate) async fn stop(self) {
        self.ready.send_replace(false);
        self.gateway_task.stop().await;
        self.api_task.stop().await;
        let wait = Duration::from_millis(self.node_max_ms);
        if tokio::time::timeout(wait, self.node.drain()).await.is_err() {
            tracing::warn!(wait_max_ms = self.node_max_ms, "environments were cut off");
        }
        drop(self.controller);
        drop(self.node);
        if let Some(sending) = self.sending {
            sending.stop(wait).await;
        }
        if tokio::time::timeout(wait, self.engines.second.close())
            .await
            .is_err()
        {
            tracing::warn!(wait_max_ms = self.node_max_ms, "programs were cut off");
        }
        if let Some(following) = self.following {
            following.abort();
            let _ = following.await;
        }
        self.access.stop().await;
        // Closing waits for the disk, and the folder goes after it.
        let (engines, backbone, folder) = (self.engines, self.backbone, self._folder);
        let _ = tokio::task::spawn_blocking(move || {
            // They hold the store of buckets.
            drop(engines);
            drop(backbone);
            drop(folder);
        })
        .await;
    }
}

/// Binds the gateway where it is wanted; returned with it is what its certificates need.
async fn gateway(
    settings: &Settings,
    data: &Path,
    drain_max_ms: u64,
    table: &Arc<RouteTable>,
    node: &Node<Engines>,
) -> anyhow::Result<(Gateway, Option<tls::Served>)> {
    let wanted = settings.tls.clone();
    let opened = wanted.map(|wanted| wanted.open(data, &settings.domain));
    let (tls, served) = opened.transpose()?.unzip();
    let config = Config {
        listen: settings.gateway,
        tls,
        domain: settings.domain.clone(),
        bounds: Bounds {
            drain_max_ms,
            ..Bounds::default()
        },
    };
    let bind =
        async |config| Gateway::bind(config, Arc::clone(table), Arc::new(node.clone())).await;
    let gateway = tls::bind(config, served.as_ref(), bind).await?;
    Ok((gateway, served))
}

/// The folder that is named, or one that goes with the platform.
fn data_folder(named: Option<PathBuf>) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    if let Some(data) = named {
        return Ok((data, None));
    }
    let folder = tempfile::Builder::new().prefix("usher-").tempdir()?;
    Ok((folder.path().to_owned(), Some(folder)))
}

async fn open(folder: PathBuf) -> anyhow::Result<Embedded> {
    tokio::task::spawn_blocking(move || {
        Embedded::open(&folder, Limits::default()).with_context(|| {
            let folder = folder.display();
            format!("the data folder {folder} was not opened; --data DIR names another")
        })
    })
    .await?
}

fn node(
    backbone: &Arc<Embedded>,
    engines: &Arc<Engines>,
    data: &Path,
    access: &Access,
    tuning: &Tuning,
) -> anyhow::Result<Node<Engines>> {
    let options = NodeOptions {
        logs: LogOptions {
            folder: Some(data.join("logs")),
            ..LogOptions::default()
        },
        audit_one_in: tuning.audit_one_in,
        owners: Arc::clone(&access.owners),
        ..NodeOptions::default()
    };
    let artifacts = Arc::new(Arc::clone(backbone));
    Node::new(Arc::clone(engines), artifacts, options)
        .context("the folder of the logs was not opened")
}

/// Has what a killed platform left removed, and sandboxes made ready, before the first program asks
/// for one. Why there may be none stands in the log.
fn prepare_sandboxes(engines: &Arc<Engines>) {
    let engines = Arc::clone(engines);
    tokio::spawn(async move {
        let _told = engines.second.means().await;
    });
}

/// Lets the table follow the functions; on return it knows all that there are.
async fn follow(
    table: &Arc<RouteTable>,
    backbone: &Arc<Embedded>,
) -> anyhow::Result<JoinHandle<()>> {
    let known = backbone.list(FUNCTIONS_PREFIX).await?.revision;
    let mut applied = table.applied();
    let (table, store) = (Arc::clone(table), Arc::clone(backbone));
    let following = tokio::spawn(async move {
        if let Err(error) = table.follow(&*store).await {
            tracing::error!(%error, "the gateway does not learn of functions");
        }
    });
    applied.wait_for(|applied| *applied >= known).await?;
    Ok(following)
}

/// Begins to send traces, where that is wanted; the figures are told when they are asked for.
fn observed(
    observe: &Observe,
    gateway: &Gateway,
    node: &Node<Engines>,
    engines: &Arc<Engines>,
) -> anyhow::Result<(Option<Sending>, Arc<Figures>)> {
    let sending = Sending::begin(observe)?;
    if let Some(sending) = &sending {
        gateway.record_traces(Arc::clone(&sending.exporter) as _);
    }
    let figures = Arc::new(Figures {
        gauge: gateway.gauge(),
        node: node.clone(),
        engines: Arc::clone(engines),
        functions_max: observe.metrics_functions_max,
        sent: sending.as_ref().map(|sending| Arc::clone(&sending.sent)),
        others: Mutex::default(),
    });
    Ok((sending, figures))
}

/// A dropped sender asks as well.
async fn asked(stop: oneshot::Receiver<()>) {
    let _ = stop.await;
}

/// An address that listens everywhere is reached at the loopback.
fn within(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
