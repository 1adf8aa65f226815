//! The words about watching the platform: metrics, traces, its own log.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use usher_api::top::TopSort;
use usher_core::id::{Name, RequestId};

use super::{Remote, request_id};

/// What a platform is told of metrics and traces.
#[derive(Clone, Debug, Args)]
pub(crate) struct Observe {
    /// Send traces of requests to this OpenTelemetry collector, by OTLP over HTTP; headers for it
    /// are taken from OTEL_EXPORTER_OTLP_HEADERS
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) otlp: Option<String>,
    /// The platform's name in traces
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        value_name = "NAME",
        default_value = "usher"
    )]
    pub(crate) otlp_service: String,
    /// Which traces are sent: always_on, always_off, traceidratio, or one of them after
    /// parentbased_, which lets a caller's own decision go first
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_always_on"
    )]
    pub(crate) otlp_sampler: String,
    /// The share of traces that traceidratio sends, from 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE")]
    pub(crate) otlp_sampler_arg: Option<String>,
    /// Functions with metrics of their own; the figures of all others are told together
    #[arg(long, value_name = "N", default_value_t = crate::metrics::FUNCTIONS_MAX)]
    pub(crate) metrics_functions_max: usize,
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            otlp: None,
            otlp_service: "usher".to_owned(),
            otlp_sampler: "parentbased_always_on".to_owned(),
            otlp_sampler_arg: None,
            metrics_functions_max: crate::metrics::FUNCTIONS_MAX,
        }
    }
}

/// How the platform's own log is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct OwnLog {
    /// How to write the platform's own log
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Where to write the platform's own log [default: standard error]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// When a file of the platform's own log is this large, another one is begun
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 16 << 20)]
    pub(crate) log_file_max_bytes: u64,
    /// So many files of the platform's own log are kept, the current one included
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub(crate) log_files_max: u32,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// `usher logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The function; without one, all of them
    pub(crate) name: Option<Name>,
    /// Whose function it is, or whose functions [default: default, or everybody's]
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// At most so many of the latest lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Only those of one request
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub(crate) request: Option<RequestId>,
}

/// `usher top`.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Only the functions of one owner
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    /// Sort by it, the most first
    #[arg(long, value_name = "COLUMN", default_value = "requests", value_parser = sort)]
    pub(crate) sort: TopSort,
    /// At most so many functions [default: 20]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Look once, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// For how long to look each time, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(100..=60_000)
    )]
    pub(crate) window_ms: u64,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

fn sort(text: &str) -> Result<TopSort, String> {
    const ALL: [TopSort; 9] = [
        TopSort::Requests,
        TopSort::Errors,
        TopSort::P50,
        TopSort::P99,
        TopSort::Running,
        TopSort::Environments,
        TopSort::Memory,
        TopSort::Cold,
        TopSort::Name,
    ];
    let found = ALL.into_iter().find(|sort| sort.word() == text);
    found.ok_or_else(|| {
        let words: Vec<_> = ALL.iter().map(|sort| sort.word()).collect();
        format!("write one of {}", words.join(", "))
    })
}
