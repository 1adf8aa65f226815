//! Traces on their way to an OpenTelemetry collector.
//!
//! ```text
//! request over ─► queue (bounded) ─► task: batches ─► collector, by HTTP
//!                   └ full: dropped     └ fails, or takes too long: dropped
//! ```
//!
//! A request hands its trace to the queue and is done; whatever is dropped is counted. What is left
//! when the platform ends is sent within a bound.
//!
//! Deliberately absent: metrics and logs by OTLP, and TLS to the collector, which stands beside the
//! platform and forwards.

mod client;
mod span;

use std::num::NonZeroU128;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use usher_api::trace::{RenewalTrace, RequestTrace, TraceSink};
use usher_core::trace::sampling::Sampling;

use crate::cli::Observe;
use crate::metrics::{Kind, Text};
use client::Collector;
use span::Spans;

/// Traces that wait to be sent.
const QUEUE_MAX_TRACES: usize = 4_096;
/// Traces that are sent at once.
const BATCH_MAX_TRACES: usize = 256;
/// How long a trace may wait for company, in milliseconds.
const BATCH_WAIT_MAX_MS: u64 = 1_000;
/// How long sending a batch may take, all tries together, in milliseconds.
const EXPORT_MAX_MS: u64 = 10_000;
/// How often a batch is tried.
const EXPORT_TRIES_MAX: u32 = 3;
/// The pause before the second try, in milliseconds; each further one is twice as long.
const RETRY_PAUSE_MS: u64 = 250;
/// Where collectors take traces, below their address.
const PATH: &str = "/v1/traces";

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    exported: AtomicU64,
    queue_full: AtomicU64,
    failed: AtomicU64,
    waiting: AtomicU64,
}

/// Where roles put traces.
pub(crate) struct Exporter {
    sampling: Sampling,
    queue: mpsc::Sender<Over>,
    sent: Arc<Sent>,
}

/// The task that sends; it must be ended with [`Sending::stop`].
pub(crate) struct Sending {
    pub(crate) exporter: Arc<Exporter>,
    pub(crate) sent: Arc<Sent>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A trace that is over.
enum Over {
    Request(RequestTrace),
    Renewal(RenewalTrace),
}

impl Over {
    /// How many spans it is made of.
    fn spans(&self) -> u64 {
        match self {
            Self::Request(trace) => 1 + trace.steps.len() as u64,
            Self::Renewal(_) => 1,
        }
    }
}

impl Sending {
    /// Begins to send, where a collector is named. It need not be there.
    ///
    /// # Errors
    /// If its address or the choice of traces cannot be read.
    pub(crate) fn begin(observe: &Observe) -> anyhow::Result<Option<Self>> {
        let sampling = Sampling::named(
            &observe.otlp_sampler,
            observe
                .otlp_sampler_arg
                .as_deref()
                .filter(|arg| !arg.is_empty()),
        )
        .context("OTEL_TRACES_SAMPLER or --otlp-sampler cannot be used")?;
        let Some(url) = observe.otlp.as_deref().filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let collector = Collector::at(url, PATH)?;
        let exporter = otlp(collector, &observe.otlp_service);
        let exporter = exporter.context("the collector's settings cannot be used")?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX_TRACES);
        let (stop, stopped) = oneshot::channel();
        let sent = Arc::<Sent>::default();
        let sender = Sender {
            exporter,
            spans: Spans::default(),
            sent: Arc::clone(&sent),
            failing: false,
        };
        Ok(Some(Self {
            exporter: Arc::new(Exporter {
                sampling,
                queue,
                sent: Arc::clone(&sent),
            }),
            sent,
            stop,
            task: tokio::spawn(sender.run(waiting, stopped)),
        }))
    }

    /// Sends what is queued and ends, within this time.
    pub(crate) async fn stop(self, wait: Duration) {
        drop(self.stop);
        let mut task = self.task;
        if tokio::time::timeout(wait, &mut task).await.is_err() {
            task.abort();
            let spans = self.sent.waiting.load(Relaxed);
            tracing::warn!(spans, "traces were not sent before the end");
        }
    }
}

fn otlp(collector: Collector, service: &str) -> Result<SpanExporter, ExporterBuildError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(collector.url())
        .with_timeout(Duration::from_millis(EXPORT_MAX_MS))
        // Its own pauses would block the thread.
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(collector)
        .build()?;
    let resource = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

impl TraceSink for Exporter {
    fn takes(&self, trace: NonZeroU128, parent: Option<bool>) -> bool {
        self.sampling.takes(trace, parent)
    }

    fn request(&self, trace: RequestTrace) {
        self.put(Over::Request(trace));
    }

    fn renewal(&self, trace: RenewalTrace) {
        self.put(Over::Renewal(trace));
    }
}

impl Exporter {
    fn put(&self, over: Over) {
        let spans = over.spans();
        self.sent.waiting.fetch_add(spans, Relaxed);
        if self.queue.try_send(over).is_err() {
            self.sent.waiting.fetch_sub(spans, Relaxed);
            self.sent.queue_full.fetch_add(spans, Relaxed);
        }
    }
}

/// What the task holds.
struct Sender {
    exporter: SpanExporter,
    spans: Spans,
    sent: Arc<Sent>,
    /// Whether the last batch failed, so that only the first one of many is told.
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut queue: mpsc::Receiver<Over>, mut stopped: oneshot::Receiver<()>) {
        let mut stopping = false;
        loop {
            let mut batch = Vec::new();
            while batch.is_empty() && !stopping {
                tokio::select! {
                    biased;
                    _ = &mut stopped => stopping = true,
                    taken = queue.recv_many(&mut batch, BATCH_MAX_TRACES) => {
                        // Nobody is left who could put anything there.
                        stopping |= taken == 0;
                    }
                }
            }
            if stopping {
                queue.close();
            }
            let deadline = tokio::time::sleep(Duration::from_millis(BATCH_WAIT_MAX_MS));
            tokio::pin!(deadline);
            while batch.len() < BATCH_MAX_TRACES {
                let room = BATCH_MAX_TRACES - batch.len();
                tokio::select! {
                    biased;
                    taken = queue.recv_many(&mut batch, room) => if taken == 0 { break },
                    _ = &mut stopped, if !stopping => {
                        stopping = true;
                        queue.close();
                    }
                    () = &mut deadline => break,
                }
            }
            if batch.is_empty() {
                // Closed, and nothing is left.
                return;
            }
            self.export(batch).await;
        }
    }

    async fn export(&mut self, batch: Vec<Over>) {
        let spans: Vec<SpanData> = batch
            .into_iter()
            .flat_map(|over| match over {
                Over::Request(trace) => self.spans.of_request(trace),
                Over::Renewal(trace) => vec![self.spans.of_renewal(trace)],
            })
            .collect();
        let count = spans.len() as u64;
        let tried = self.tried(spans);
        let wait = Duration::from_millis(EXPORT_MAX_MS);
        let outcome = tokio::time::timeout(wait, tried).await;
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it took over {EXPORT_MAX_MS} ms")),
        };
        match failure {
            None => {
                self.sent.exported.fetch_add(count, Relaxed);
                self.failing = false;
            }
            Some(error) => {
                self.sent.failed.fetch_add(count, Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        error,
                        "traces are dropped: the collector does not take them"
                    );
                }
            }
        }
        // Behind the others, so that no span is ever nowhere.
        self.sent.waiting.fetch_sub(count, Relaxed);
    }

    /// Tries a few times.
    async fn tried(&self, spans: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        let mut pause = Duration::from_millis(RETRY_PAUSE_MS);
        for _ in 1..EXPORT_TRIES_MAX {
            if self.exporter.export(spans.clone()).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.exporter.export(spans).await
    }
}

impl Sent {
    /// Appends what became of spans.
    pub(crate) fn append(&self, text: &mut Text) {
        // Read first: what is sent meanwhile is told twice and not never.
        let waiting = self.waiting.load(Relaxed);
        text.counter(
            "usher_trace_spans_exported_total",
            "Spans that the collector has taken.",
            self.exported.load(Relaxed),
        );
        let mut dropped = text.family(
            "usher_trace_spans_dropped_total",
            Kind::Counter,
            "Spans that were dropped, by the reason.",
        );
        dropped.line("reason=\"queue-full\"", self.queue_full.load(Relaxed));
        dropped.line("reason=\"not-taken\"", self.failed.load(Relaxed));
        text.gauge(
            "usher_trace_spans_waiting",
            "Spans that wait to be sent.",
            waiting,
        );
    }
}
