//! A controller with its API on a free port, a folder of its own, and a fake node.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use usher_api::client::Client;
use usher_api::http::DeployRequest;
use usher_api::node::{
    FunctionLogLine, ImageReport, LogEvent, LogLine, LogQuery, Mode, NodeControl, PrepareFault,
    Progress, RevisionStatus,
};
use usher_api::record::FUNCTIONS_PREFIX;
use usher_backbone::{Backbone, Embedded, Event, Limits};
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, Name, RevisionId};

use crate::api::{Api, ApiOptions};
use crate::controller::{Addresses, Controller, Follower, Options};

/// What a fake node was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Prepare(RevisionId),
    Retire(RevisionId),
    Changed(Name),
}

/// Something that happens within a prepare, once.
type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// A node that prepares nothing and remembers everything.
pub(super) struct FakeNode {
    pub(super) asked: watch::Sender<Vec<Asked>>,
    pub(super) images: Mutex<HashMap<RevisionId, ImageReport>>,
    /// How many clean environments revisions have, where it is not 1.
    pub(super) clean: Mutex<HashMap<RevisionId, u32>>,
    /// What was to be started ahead.
    pub(super) ahead: Mutex<Vec<(RevisionId, u32)>>,
    /// Prepares wait while this is false.
    pub(super) open: watch::Sender<bool>,
    /// The drain of a retired revision waits while this is false.
    pub(super) drained: watch::Sender<bool>,
    pub(super) meanwhile: Mutex<Option<Meanwhile>>,
    pub(super) fault: Mutex<Option<PrepareFault>>,
    pub(super) log: watch::Sender<Vec<LogLine>>,
}

impl FakeNode {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: watch::Sender::default(),
            images: Mutex::default(),
            clean: Mutex::default(),
            ahead: Mutex::default(),
            open: watch::Sender::new(true),
            drained: watch::Sender::new(true),
            meanwhile: Mutex::default(),
            fault: Mutex::default(),
            log: watch::Sender::default(),
        })
    }

    pub(super) fn report(revision: RevisionId, mode: Mode) -> ImageReport {
        ImageReport {
            revision,
            mode,
            reasons: Vec::new(),
            notes: Vec::new(),
            cached: false,
            compile_ms: 1,
            code_bytes: 2,
            image_bytes: 3,
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Waits until the node was asked for this.
    pub(super) async fn was_asked(&self, wanted: Asked) {
        let mut asked = self.asked.subscribe();
        asked
            .wait_for(|asked| asked.contains(&wanted))
            .await
            .unwrap();
    }

    /// Waits until the node was asked for so many things.
    pub(super) async fn was_asked_times(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= times).await.unwrap();
    }
}

impl NodeControl for FakeNode {
    fn prepare(
        &self,
        revision: Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<ImageReport, PrepareFault>> {
        Box::pin(async move {
            self.asked
                .send_modify(|asked| asked.push(Asked::Prepare(revision.id)));
            let step = "compiling".to_owned();
            let _ = progress.send(Progress { step }).await;
            let meanwhile = self.meanwhile.lock().take();
            if let Some(meanwhile) = meanwhile {
                meanwhile().await;
            }
            let _ = self.open.subscribe().wait_for(|open| *open).await;
            if let Some(fault) = self.fault.lock().clone() {
                return Err(fault);
            }
            let report = Self::report(revision.id, Mode::Live);
            self.images.lock().insert(revision.id, report.clone());
            Ok(report)
        })
    }

    fn start_ahead(&self, revision: RevisionId, environments: u32) -> BoxFuture<'_, ()> {
        self.ahead.lock().push((revision, environments));
        Box::pin(std::future::ready(()))
    }

    fn retire(&self, revision: RevisionId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.asked
                .send_modify(|asked| asked.push(Asked::Retire(revision)));
            self.images.lock().remove(&revision);
            let _ = self.drained.subscribe().wait_for(|drained| *drained).await;
        })
    }

    fn secret_changed<'a>(&'a self, _: &'a Name, secret: &'a Name) -> BoxFuture<'a, ()> {
        self.asked
            .send_modify(|asked| asked.push(Asked::Changed(secret.clone())));
        Box::pin(async {})
    }

    fn image(&self, revision: RevisionId) -> Option<ImageReport> {
        self.images.lock().get(&revision).cloned()
    }

    fn status(&self, revision: RevisionId) -> RevisionStatus {
        RevisionStatus {
            clean: self.clean.lock().get(&revision).copied().unwrap_or(1),
            ..RevisionStatus::default()
        }
    }

    fn logs(&self, _: &FunctionKey, query: LogQuery) -> BoxStream<'static, LogLine> {
        let log = self.log.borrow().clone();
        let from = query.tail.map_or(0, |tail| log.len().saturating_sub(tail));
        let seen = log.len();
        let now = stream::iter(log.into_iter().skip(from));
        if !query.follow {
            return now.boxed();
        }
        let later = stream::unfold((self.log.subscribe(), seen), |(mut log, seen)| async move {
            let line = log.wait_for(|log| log.len() > seen).await.ok()?[seen].clone();
            Some((line, (log, seen + 1)))
        });
        now.chain(later).boxed()
    }

    fn all_logs(
        &self,
        owner: Option<Name>,
        query: LogQuery,
    ) -> BoxStream<'static, FunctionLogLine> {
        let function = FunctionKey {
            owner: owner.unwrap_or_else(Name::default_owner),
            name: "any".parse().unwrap(),
        };
        let lines = self.logs(&function, query);
        lines
            .map(move |line| FunctionLogLine {
                function: function.clone(),
                line,
            })
            .boxed()
    }
}

/// A line of a log.
pub(super) fn line(text: &str) -> LogLine {
    LogLine {
        time_us: 1,
        request: None,
        revision: RevisionId(Digest([0; 32])),
        event: LogEvent::Stdout {
            text: text.to_owned(),
        },
    }
}

/// What a test may change before the start.
pub(super) struct Setup {
    pub(super) options: Options,
    pub(super) api: ApiOptions,
    /// None: a follower that watches the backbone, as a gateway does.
    pub(super) followers: Option<Vec<Follower>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: Options::new(Addresses {
                gateway: "127.0.0.1:8080".parse().unwrap(),
                domain: "localhost".parse().unwrap(),
            }),
            api: ApiOptions::new("127.0.0.1:0".parse().unwrap()),
            followers: None,
        }
    }
}

/// A running controller. The folder goes last, after what writes to it.
pub(super) struct Rig {
    pub(super) client: Client,
    pub(super) controller: Arc<Controller>,
    pub(super) node: Arc<FakeNode>,
    pub(super) backbone: Arc<dyn Backbone>,
    pub(super) ready: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _folder: Option<tempfile::TempDir>,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backbone = Embedded::open(folder.path(), Limits::default()).unwrap();
        let mut setup = Setup::default();
        change(&mut setup);
        let mut rig = Self::over(Arc::new(backbone), setup).await;
        rig._folder = Some(folder);
        rig
    }

    /// A further controller on a backbone.
    pub(super) async fn over(backbone: Arc<dyn Backbone>, setup: Setup) -> Self {
        let node = FakeNode::new();
        let followers = match setup.followers {
            Some(followers) => followers,
            None => vec![follower(&*backbone).await],
        };
        let parts = (Arc::clone(&backbone), Arc::clone(&node));
        let controller = Controller::start(parts.0, parts.1, followers, setup.options);
        let controller = Arc::new(controller.await.unwrap());
        let (ready, is_ready) = watch::channel(true);
        let metrics = Arc::new(|| "usher_up 1\n".to_owned());
        let api = Api::bind(setup.api, Arc::clone(&controller), is_ready, metrics);
        let api = api.await.unwrap();
        let client = Client::new(&api.local_addr().to_string()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(api.serve(async {
            let _ = stopped.await;
        }));
        Self {
            client,
            controller,
            node,
            backbone,
            ready,
            stop: Some(stop),
            serving,
            _folder: None,
        }
    }

    /// Stores an artifact and says how it would be deployed.
    pub(super) async fn request(&self, name: &str, content: &str) -> DeployRequest {
        let bytes = Bytes::from(content.to_owned());
        let stored = self.client.put_artifact(bytes).await.unwrap();
        request(name, stored.digest)
    }

    /// Deploys a function whose artifact is `content`; the id of its revision.
    pub(super) async fn deploy(&self, name: &str, content: &str) -> RevisionId {
        let request = self.request(name, content).await;
        let deployed = self.client.deploy(&request, |_| {}).await.unwrap();
        deployed.function.revision.id
    }

    /// Waits until the backbone holds a record of this function.
    pub(super) async fn recorded(&self, name: &str) {
        let key = usher_api::record::function_key(&key(name));
        let mut watch = self.backbone.watch(FUNCTIONS_PREFIX).await.unwrap();
        while let Some(event) = watch.next().await {
            if matches!(&event, Event::Put(entry) if *entry.key == *key) {
                return;
            }
        }
    }

    /// Asks the API to stop.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has.
    pub(super) async fn stopped(self) {
        self.serving.await.unwrap();
    }
}

/// A function of the default owner.
pub(super) fn key(name: &str) -> FunctionKey {
    FunctionKey {
        owner: "default".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

pub(super) fn request(name: &str, artifact: Digest) -> DeployRequest {
    DeployRequest {
        owner: None,
        name: name.parse().unwrap(),
        artifact,
        settings: Settings::default(),
    }
}

/// A body whose pieces come as they are sent.
pub(super) fn pieces(
    pieces: mpsc::Receiver<io::Result<Bytes>>,
) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(pieces, |mut pieces| async move {
        Some((pieces.recv().await?, pieces))
    })
    .boxed()
}

/// What a gateway does: it watches the records and says how far it has come.
async fn follower(backbone: &dyn Backbone) -> Follower {
    let (applied, follower) = watch::channel(0);
    let mut watch = backbone.watch(FUNCTIONS_PREFIX).await.unwrap();
    tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            applied.send_replace(match event {
                Event::Put(entry) => entry.revision,
                Event::Delete { revision, .. } | Event::Current { revision } => revision,
            });
        }
    });
    follower
}

/// Whether all are different.
pub(super) fn all_differ<T: Eq + std::hash::Hash>(values: &[T]) -> bool {
    values.iter().collect::<HashSet<_>>().len() == values.len()
}
