//! Traces as OpenTelemetry's spans: names, attributes, parents and links.
//!
//! ```text
//! caller's span ─► GET /fn/NAME (server) ─┬► receive, loaded, instantiate, swap, run, respond
//!                                         └╌link╌ renew: a trace of its own
//! ```
//!
//! Deliberately absent: queries, headers, bodies and the function's variables, in which there may
//! be secrets.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use usher_api::trace::{RenewalTrace, RequestTrace};
use usher_core::function::Revision;
use usher_core::proof::Start;
use usher_core::trace::TraceParent;

/// Makes spans of traces.
pub(super) struct Spans {
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

impl Default for Spans {
    fn default() -> Self {
        let scope = InstrumentationScope::builder("usher");
        Self {
            ids: RandomIdGenerator::default(),
            scope: scope.with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }
}

/// What differs between spans.
struct Parts {
    context: SpanContext,
    parent: Option<NonZeroU64>,
    parent_is_remote: bool,
    kind: SpanKind,
    name: Cow<'static, str>,
    began: SystemTime,
    took: Duration,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    status: Status,
}

impl Spans {
    /// The spans of a request: its own, then its steps in their order.
    pub(super) fn of_request(&self, trace: RequestTrace) -> Vec<SpanData> {
        let own = trace.span;
        let state = trace.about.state.as_deref().map(str::parse::<TraceState>);
        let state = state.and_then(Result::ok).unwrap_or_default();
        let mut spans = Vec::with_capacity(1 + trace.steps.len());
        spans.push(self.span(Parts {
            context: context(own, SpanId::from(own.parent_id.get()), state.clone()),
            parent: trace.parent,
            parent_is_remote: trace.parent.is_some(),
            kind: SpanKind::Server,
            name: name(&trace).into(),
            began: trace.began,
            took: trace.took,
            attributes: attributes(&trace),
            links: Vec::new(),
            status: status(&trace),
        }));
        for step in &trace.steps {
            spans.push(self.span(Parts {
                context: context(own, self.ids.new_span_id(), state.clone()),
                parent: Some(own.parent_id),
                parent_is_remote: false,
                kind: SpanKind::Internal,
                name: step.step.word().into(),
                began: trace.began + step.from,
                took: step.to.saturating_sub(step.from),
                attributes: Vec::new(),
                links: Vec::new(),
                status: Status::Unset,
            }));
        }
        spans
    }

    /// The span of a renewal, in a trace of its own: it began when the request was answered.
    pub(super) fn of_renewal(&self, trace: RenewalTrace) -> SpanData {
        let after = trace.after;
        let before = context(
            after,
            SpanId::from(after.parent_id.get()),
            TraceState::default(),
        );
        let context = SpanContext::new(
            self.ids.new_trace_id(),
            self.ids.new_span_id(),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        let mut attributes = of_revision(&trace.revision);
        attributes.push(KeyValue::new("usher.audited", trace.audited));
        let status = match trace.renewed {
            true => Status::Unset,
            false => Status::error("the environment was not renewed"),
        };
        self.span(Parts {
            context,
            parent: None,
            parent_is_remote: false,
            kind: SpanKind::Internal,
            name: "renew".into(),
            began: trace.began,
            took: trace.took,
            attributes,
            links: vec![Link::new(before, Vec::new(), 0)],
            status,
        })
    }

    fn span(&self, parts: Parts) -> SpanData {
        let parent = parts.parent.map(|parent| SpanId::from(parent.get()));
        let mut links = SpanLinks::default();
        links.links = parts.links;
        SpanData {
            span_context: parts.context,
            parent_span_id: parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: parts.parent_is_remote,
            span_kind: parts.kind,
            name: parts.name,
            start_time: parts.began,
            end_time: parts.began + parts.took,
            attributes: parts.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: parts.status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn context(of: TraceParent, span: SpanId, state: TraceState) -> SpanContext {
    let trace = TraceId::from(of.trace_id.get());
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, state)
}

fn route(trace: &RequestTrace) -> Option<String> {
    let revision = trace.revision.as_ref()?;
    Some(format!("/fn/{}", revision.function.dotted()))
}

fn name(trace: &RequestTrace) -> String {
    let method = trace.about.method.as_str();
    route(trace).map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

fn status(trace: &RequestTrace) -> Status {
    match (trace.end.status, trace.end.fault) {
        (Some(500..), Some(fault)) => Status::error(fault),
        (Some(500..), None) => Status::error(""),
        _ => Status::Unset,
    }
}

fn of_revision(revision: &Revision) -> Vec<KeyValue> {
    vec![
        KeyValue::new("faas.name", revision.function.dotted()),
        KeyValue::new("faas.version", revision.id.to_string()),
        KeyValue::new("usher.owner", revision.function.owner.to_string()),
        KeyValue::new("usher.revision", number(revision.number)),
    ]
}

fn attributes(trace: &RequestTrace) -> Vec<KeyValue> {
    let about = &trace.about;
    let mut attributes = trace.revision.as_deref().map_or_else(Vec::new, of_revision);
    let mut put = |name: &'static str, value: Value| attributes.push(KeyValue::new(name, value));
    put("http.request.method", about.method.to_string().into());
    let scheme = if about.secure { "https" } else { "http" };
    put("url.scheme", scheme.into());
    put("url.path", about.path.clone().into());
    if let Some(version) = version(about.version) {
        put("network.protocol.version", version.into());
    }
    if let Some(route) = route(trace) {
        put("http.route", route.into());
    }
    if let Some(status) = trace.end.status {
        put("http.response.status_code", i64::from(status).into());
    }
    match (trace.end.fault, trace.end.status) {
        (Some(fault), _) => put("error.type", fault.into()),
        (None, Some(status @ 500..)) => put("error.type", status.to_string().into()),
        (None, _) => {}
    }
    put("faas.trigger", "http".into());
    put("faas.invocation_id", about.request.to_string().into());
    if let Some(proof) = &trace.end.proof {
        put("faas.coldstart", (proof.start != Start::Warm).into());
        put("usher.environment", number(proof.environment.0).into());
        put("usher.area", number(proof.area.0).into());
        put("usher.generation", number(proof.generation.0).into());
        put("usher.start", proof.start.word().into());
        put("usher.renewal", proof.renewal.word().into());
        put("usher.renew_us", i64::from(proof.renew_us).into());
    }
    attributes
}

fn version(version: http::Version) -> Option<&'static str> {
    Some(match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => return None,
    })
}

/// Numbers of ours as the protocol has them.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
