//! The gateway's figures, under our names and under those of OpenTelemetry's HTTP metrics.

use usher_core::histogram::Reading;
use usher_gateway::{Figures, FunctionFigures, GatewayFigures, HttpFigures, Latency};

use super::text::{Kind, MICROSECONDS, NANOSECONDS, OTHER, Scaled, Text, labels};

/// Appends the figures of a gateway.
pub(crate) fn append(figures: &GatewayFigures, text: &mut Text) {
    requests(figures, text);
    heads(&figures.functions, text);
    http(figures, text);
    for (name, help, value) in [
        (
            "usher_gateway_connections",
            "Connections that are open.",
            figures.connections,
        ),
        (
            "usher_gateway_running",
            "Requests that run.",
            figures.running,
        ),
        (
            "usher_gateway_waiting",
            "Requests that wait until they may run.",
            figures.waiting,
        ),
    ] {
        text.gauge(name, help, value);
    }
    text.counter(
        "usher_gateway_accepted_total",
        "Connections that were accepted.",
        figures.accepted,
    );
}

fn requests(figures: &GatewayFigures, text: &mut Text) {
    let mut replies = text.family(
        "usher_gateway_requests_total",
        Kind::Counter,
        "Requests that have ended, by the class of the status or the label of the fault.",
    );
    for function in &figures.functions {
        let of = labels(function.function.as_ref());
        for (outcome, count) in &function.figures.outcomes {
            replies.line(&format!("{of},outcome=\"{outcome}\""), count);
        }
    }
    let mut unrouted = text.family(
        "usher_gateway_unrouted_total",
        Kind::Counter,
        "Requests that reached no function, by the label of the fault.",
    );
    for (outcome, count) in &figures.unrouted.outcomes {
        unrouted.line(&format!("outcome=\"{outcome}\""), count);
    }
    let mut served = text.family(
        "usher_gateway_served_total",
        Kind::Counter,
        "Requests that were served, by how the environment was come by and had become clean.",
    );
    for function in &figures.functions {
        let of = labels(function.function.as_ref());
        for way in &function.figures.served {
            let (start, renewal) = (way.start.word(), way.renewal.word());
            let labels = format!("{of},start=\"{start}\",renewal=\"{renewal}\"");
            served.line(&labels, way.count);
        }
    }
}

fn heads(functions: &[FunctionFigures], text: &mut Text) {
    let mut heads = text.family(
        "usher_gateway_head_seconds",
        Kind::Histogram,
        "From the request's head to the reply's head.",
    );
    for function in functions {
        let Latency {
            buckets,
            count,
            sum_us,
        } = &function.figures.head_latency;
        let of = labels(function.function.as_ref());
        for (bound, count) in buckets {
            let le = Scaled(*bound, MICROSECONDS);
            heads.part("_bucket", &format!("{of},le=\"{le}\""), count);
        }
        heads.part("_bucket", &format!("{of},le=\"+Inf\""), count);
        heads.part("_sum", &of, Scaled(*sum_us, MICROSECONDS));
        heads.part("_count", &of, count);
    }
}

fn http(figures: &GatewayFigures, text: &mut Text) {
    let mut active = text.family(
        "http_server_active_requests",
        Kind::Gauge,
        "Requests that have begun and not ended.",
    );
    for function in &figures.functions {
        active.line(&route(function), function.figures.active);
    }
    let mut times = text.family(
        "http_server_request_duration_seconds",
        Kind::Histogram,
        "From the request's head to the last byte of the reply.",
    );
    let unrouted = std::iter::once((String::new(), &figures.unrouted));
    let functions = figures.functions.iter();
    let functions = functions.map(|function| (route(function), &function.figures));
    for (of, Figures { http, .. }) in functions.chain(unrouted) {
        for series in &http.series {
            let mut labels = of.clone();
            let mut label = |name: &str, value: &str| {
                let comma = if labels.is_empty() { "" } else { "," };
                labels.push_str(&format!("{comma}{name}=\"{value}\""));
            };
            label("http_request_method", series.method());
            label("url_scheme", series.scheme());
            if let Some(status) = series.status() {
                label("http_response_status_code", &status.to_string());
            }
            if let Some(error) = series.error() {
                label("error_type", &error);
            }
            times.histogram(&labels, &series.times, NANOSECONDS, series.example.as_ref());
        }
    }
    type Sizes = fn(&HttpFigures) -> Option<&Reading>;
    let sizes: [(&str, &str, Sizes); 2] = [
        (
            "http_server_request_body_size_bytes",
            "Bodies of requests, where their length was announced.",
            |http| http.request_bytes.as_ref(),
        ),
        (
            "http_server_response_body_size_bytes",
            "What was sent of the bodies of replies.",
            |http| http.reply_bytes.as_ref(),
        ),
    ];
    for (name, help, of) in sizes {
        let mut all = None;
        for function in &figures.functions {
            let more = of(&function.figures.http).cloned();
            usher_core::histogram::gather(&mut all, more);
        }
        let mut family = text.family(name, Kind::Histogram, help);
        if let Some(all) = all {
            family.histogram("", &all, 1, None);
        }
    }
}

/// The labels of a function among HTTP's: the address by path is its route.
fn route(function: &FunctionFigures) -> String {
    let of = labels(function.function.as_ref());
    match &function.function {
        Some(key) => format!("{of},http_route=\"/fn/{}\"", key.dotted()),
        None => format!("{of},http_route=\"{OTHER}\""),
    }
}
