//! The node with the fake engine: every mechanism, and what happens with it switched off.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "node/keys.rs"]
mod keys;
#[path = "node/lifecycle.rs"]
mod lifecycle;
#[path = "node/logs.rs"]
mod logs;
#[path = "node/pool.rs"]
mod pool;
#[path = "node/renewal.rs"]
mod renewal;
#[path = "node/rest.rs"]
mod rest;
#[path = "node/steps.rs"]
mod steps;
#[path = "node/streams.rs"]
mod streams;
#[path = "node/twin.rs"]
mod twin;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use usher_api::body::Body;
use usher_api::invoke::{BoxFuture, Failure, Invocation, Invoker, Reply};
use usher_api::node::{ImageReport, NodeControl, PrepareFault, RevisionStatus};
use usher_core::fault::Fault;
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, RequestId};
use usher_core::key::Key;
use usher_core::proof::Proof;
use usher_engine::contract;
use usher_engine::fake::FakeEngine;
use usher_node::metrics::Totals;
use usher_node::{ArtifactError, ArtifactSource, Node, NodeOptions};

/// A node, its engine, and the artifacts that it can get.
struct World {
    engine: Arc<FakeEngine>,
    node: Node<FakeEngine>,
    shelf: Arc<Shelf>,
}

/// Artifacts, and how often each was asked for.
#[derive(Default)]
struct Shelf {
    artifacts: Mutex<HashMap<Digest, Bytes>>,
    fetched: AtomicU64,
}

struct Handle(Arc<Shelf>);

impl ArtifactSource for Handle {
    fn fetch(&self, digest: Digest) -> BoxFuture<'_, Result<Bytes, ArtifactError>> {
        self.0.fetched.fetch_add(1, SeqCst);
        let artifact = self.0.artifacts.lock().get(&digest).cloned();
        Box::pin(async move { artifact.ok_or(ArtifactError::Missing(digest)) })
    }
}

impl World {
    fn new() -> Self {
        Self::with(NodeOptions::default())
    }

    fn with(options: NodeOptions) -> Self {
        steps::note();
        let (engine, shelf) = (Arc::new(FakeEngine::new()), Arc::<Shelf>::default());
        let source = Arc::new(Handle(shelf.clone()));
        let node = Node::new(engine.clone(), source, options).unwrap();
        Self {
            engine,
            node,
            shelf,
        }
    }

    /// A revision whose artifact the node can get, not prepared.
    fn revision(&self, guest: &str, adapt: impl FnOnce(&mut Settings)) -> Arc<Revision> {
        self.revision_of(contract::function(guest), guest, adapt)
    }

    fn revision_of(
        &self,
        function: FunctionKey,
        guest: &str,
        adapt: impl FnOnce(&mut Settings),
    ) -> Arc<Revision> {
        let artifact = FakeEngine::artifact(guest);
        let mut settings = Settings::default();
        adapt(&mut settings);
        let revision = contract::revision(function, &artifact, settings);
        let mut artifacts = self.shelf.artifacts.lock();
        artifacts.insert(revision.artifact, artifact);
        Arc::new(revision)
    }

    async fn prepare(&self, revision: &Arc<Revision>) -> Result<ImageReport, PrepareFault> {
        let (progress, _) = mpsc::channel(1);
        self.node.prepare(revision.clone(), progress).await
    }

    async fn reply(
        &self,
        revision: &Arc<Revision>,
        request: http::Request<Body>,
    ) -> Result<Reply, Failure> {
        self.reply_to(revision, None, request).await
    }

    async fn reply_to(
        &self,
        revision: &Arc<Revision>,
        key: Option<Key>,
        request: http::Request<Body>,
    ) -> Result<Reply, Failure> {
        let invocation = Invocation {
            revision: revision.clone(),
            key,
            request_id: RequestId(1),
            request,
        };
        self.node.invoke(invocation).await
    }

    /// Invokes and reads the reply to its end.
    async fn call(&self, revision: &Arc<Revision>) -> Result<(String, Proof), Fault> {
        let reply = self
            .reply(revision, contract::get("http://f.test/path?query"))
            .await
            .map_err(|failure| failure.fault)?;
        let body = reply.response.into_body().collect().await.unwrap();
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Ok((text, reply.proof))
    }

    /// The same in a task of its own.
    fn begin(&self, revision: &Arc<Revision>) -> JoinHandle<Result<(String, Proof), Fault>> {
        let (world, revision) = (self.clone(), revision.clone());
        tokio::spawn(async move { world.call(&revision).await })
    }

    fn status(&self, revision: &Arc<Revision>) -> RevisionStatus {
        self.node.status(revision.id)
    }

    fn totals(&self, revision: &Arc<Revision>) -> Totals {
        let snapshot = self.node.snapshot();
        snapshot.functions[&revision.function].totals.clone()
    }

    fn alive(&self) -> u64 {
        self.engine.counts().alive.load(SeqCst)
    }

    /// Lets other tasks go on until the condition holds.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nothing runs, is renewed or started.
    async fn quiet(&self, revision: &Arc<Revision>) -> RevisionStatus {
        let moving = |status: &RevisionStatus| status.busy + status.renewing + status.starting;
        self.until(|world| moving(&world.status(revision)) == 0)
            .await;
        self.status(revision)
    }
}

impl Clone for World {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            node: self.node.clone(),
            shelf: self.shelf.clone(),
        }
    }
}
