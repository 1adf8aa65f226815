//! What a platform tells those who watch it: metrics as a real Prometheus reads them, the logs of
//! all functions, the table of the busiest, its own log.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use usher_api::body::Body;
use usher_api::node::{LogEvent, LogQuery};

use crate::caller::Caller;
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// Debian's Prometheus, and the tool beside it.
const PROMETHEUS: &str = "/usr/bin/prometheus";
const PROMTOOL: &str = "/usr/bin/promtool";

fn is_there(program: &str) {
    assert!(
        Path::new(program).exists(),
        "{program} is not there; `cargo xtask peers` installs it"
    );
}

/// A platform with a component and a program that were called, one of them with a fault.
async fn busy(data: &Folder, more: &[&str]) -> Server {
    let server = Server::up_with(data.path(), more).await;
    let patient = "[limits]\nstart_max_ms = 60000\nqueue_wait_max_ms = 60000\n";
    for folder in [
        Folder::function("component", "rust-hello", ""),
        Folder::function("hog", "rust-hog", ""),
        Folder::program("http-c", "program", "", patient),
    ] {
        server.run(&["deploy", folder.text()]).await.done();
    }
    let caller = Caller::new(server.gateway);
    for path in ["/fn/component/", "/fn/program/hello", "/fn/component/"] {
        assert_eq!(caller.get(path).await.status, 200, "{path}");
    }
    assert_eq!(caller.get("/fn/hog/?oob=1").await.status, 502);
    assert_eq!(caller.get("/fn/nobody/").await.status, 404);
    server
}

/// A Prometheus that runs until it is dropped.
struct Prometheus {
    address: SocketAddr,
    _child: Child,
    _folder: Folder,
}

impl Prometheus {
    /// One that scrapes this platform each second. It says at which port it listens.
    async fn watching(server: &Server) -> Self {
        is_there(PROMETHEUS);
        let folder = Folder::new();
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: usher\n    \
             static_configs:\n      - targets: [\"{}\"]\n",
            server.api
        );
        let path = folder.path().join("prometheus.yml");
        fs::write(&path, config).unwrap();
        let storage = folder.path().join("data");
        let mut child = Command::new(PROMETHEUS)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", storage.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it listens");
                if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                    break address.trim().parse().unwrap();
                }
            }
        };
        let address = event("Prometheus listens", told).await;
        // Read on, so that it never waits for whoever reads what it says.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            address,
            _child: child,
            _folder: folder,
        }
    }

    /// What it answers to a query, by the value of one label.
    async fn asked(&self, query: &str, label: &str) -> BTreeMap<String, f64> {
        let caller = Caller::new(self.address);
        let request = caller
            .request("/api/v1/query")
            .method("POST")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(format!("query={query}")))
            .unwrap();
        let answer = caller.whole(request).await;
        if answer.status == http::StatusCode::SERVICE_UNAVAILABLE {
            // It listens before it is ready.
            return BTreeMap::new();
        }
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(told["status"], "success", "{told}");
        let rows = told["data"]["result"].as_array().unwrap();
        let row = |row: &Value| {
            let name = row["metric"][label].as_str().unwrap_or_default().to_owned();
            let value = row["value"][1].as_str().unwrap().parse().unwrap();
            (name, value)
        };
        rows.iter().map(row).collect()
    }

    /// Waits until it has seen this.
    async fn knows(&self, query: &str, label: &str, expected: &[(&str, f64)]) {
        let expected = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        let expected: BTreeMap<_, _> = expected.collect();
        let asks = async { while self.asked(query, label).await != expected {} };
        event(&format!("{query} is {expected:?}"), asks).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_reads_the_metrics() {
    let data = Folder::new();
    let server = busy(&data, &[]).await;
    let prometheus = Prometheus::watching(&server).await;
    prometheus.knows("up", "job", &[("usher", 1.0)]).await;
    let by = "http_server_request_duration_seconds_count{http_response_status_code=\"200\"}";
    let counted = [("component", 2.0), ("program", 1.0)];
    prometheus.knows(by, "function", &counted).await;
    prometheus
        .knows("faas_errors_total>0", "faas_name", &[("hog", 1.0)])
        .await;
    prometheus
        .knows(
            "http_server_request_duration_seconds_count{error_type=\"trap\"}",
            "http_route",
            &[("/fn/hog", 1.0)],
        )
        .await;
    // Cold starts by phase, of both engines.
    for (engine, phase) in [("wasm", "instantiate"), ("process", "ready")] {
        let query = format!(
            "usher_coldstart_seconds_count{{engine=\"{engine}\",phase=\"{phase}\"}}>bool 0"
        );
        let query = query.replace('>', "%3E");
        prometheus.knows(&query, "absent", &[("", 1.0)]).await;
    }
    prometheus
        .knows(
            "process_resident_memory_bytes%3Ebool 0",
            "absent",
            &[("", 1.0)],
        )
        .await;
    prometheus
        .knows("usher_build_info", "job", &[("usher", 1.0)])
        .await;
}

/// The text of metrics in a format.
async fn scraped(server: &Server, accept: &str) -> (String, String) {
    let caller = Caller::new(server.api);
    let request = caller.request("/metrics").header("accept", accept);
    let answer = caller.whole(request.body(Body::Empty).unwrap()).await;
    let kind = answer.headers["content-type"].to_str().unwrap().to_owned();
    (kind, answer.text().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_metrics_is_as_its_readers_want_it() {
    is_there(PROMTOOL);
    let data = Folder::new();
    let server = busy(&data, &[]).await;
    let (kind, text) = scraped(&server, "*/*").await;
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let mut promtool = Command::new(PROMTOOL)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    let text = format!("{text}\n");
    input.write_all(text.as_bytes()).await.unwrap();
    drop(input);
    let told = event("promtool ends", promtool.wait_with_output())
        .await
        .unwrap();
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.status.success(),
        "{words}{}",
        String::from_utf8_lossy(&told.stdout)
    );

    let (kind, open) = scraped(&server, "application/openmetrics-text; version=1.0.0").await;
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    assert!(open.ends_with("# EOF"), "{open}");
    for line in [
        "# TYPE faas_coldstarts counter",
        "# UNIT http_server_request_duration_seconds seconds",
    ] {
        assert!(open.lines().any(|other| other == line), "{line}\n{open}");
    }
}

/// Only so many functions have figures of their own; all others are told together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_rows_is_bounded() {
    let data = Folder::new();
    let server = busy(&data, &["--metrics-functions-max", "1"]).await;
    let metrics = server.client().metrics().await.unwrap();
    let series = "http_server_active_requests{";
    let rows: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with(series))
        .collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[1].contains("function=\"_other\""), "{rows:?}");
    let sum = |name: &str| {
        let of = metrics.lines().filter(|line| line.starts_with(name));
        of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("faas_invocations_total{"), 3, "{metrics}");
    assert_eq!(sum("usher_gateway_served_total{"), 3, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_all_functions_sees_those_that_come_later_too() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let first = Folder::function("first", "rust-log", "");
    server.run(&["deploy", first.text()]).await.done();
    let caller = Caller::new(server.gateway);
    assert_eq!(caller.get("/fn/first/?msg=early").await.status, 200);
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let client = server.client();
    let mut lines = client.all_logs(None, &query).await.unwrap();
    let mut until = async |name: &str, words: &str| {
        let comes = async {
            loop {
                let line = lines.next().await.expect("it follows").unwrap();
                let text = match &line.line.event {
                    LogEvent::Stdout { text } => text.as_str(),
                    _ => "",
                };
                if line.function.name.to_string() == name && text == words {
                    break;
                }
            }
        };
        event(&format!("{name} says {words}"), comes).await;
    };
    until("first", "out: early").await;
    let second = Folder::function("second", "rust-log", "");
    server.run(&["deploy", second.text()]).await.done();
    assert_eq!(caller.get("/fn/second/?msg=late").await.status, 200);
    until("second", "out: late").await;

    let told = server.run(&["logs", "--tail", "2"]).await.done();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line["name"] == "second"), "{told:?}");
    let strangers = server.run(&["logs", "--owner", "stranger"]).await.done();
    assert_eq!(strangers, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_the_busiest_tells_how_functions_stand() {
    let data = Folder::new();
    let server = busy(&data, &[]).await;
    let look = server
        .run(&["top", "--once", "--window-ms", "100", "--sort", "name"])
        .await;
    let look = look.done();
    assert_eq!(look.len(), 1);
    let rows = look[0]["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["component", "hog", "program"]);
    assert_eq!(
        (&rows[0]["requests"], &rows[0]["errors"]),
        (&2.into(), &0.into())
    );
    assert_eq!(
        (&rows[1]["requests"], &rows[1]["errors"]),
        (&1.into(), &1.into())
    );
    assert!(rows[2]["clean"].as_u64().unwrap() > 0, "{look:?}");
    assert_eq!(look[0]["all"]["requests"], 4, "{look:?}");
    // What comes while it is looked is a rate.
    let caller = Caller::new(server.gateway);
    let calls = tokio::spawn(async move {
        loop {
            assert_eq!(caller.get("/fn/component/").await.status, 200);
        }
    });
    let busy = async {
        loop {
            let look = server.run(&["top", "--once", "--limit", "1"]).await.done();
            let row = look[0]["rows"][0].clone();
            if row["requests_per_s"].as_f64().unwrap() > 0.0 {
                break row;
            }
        }
    };
    let row = event("requests are seen", busy).await;
    calls.abort();
    assert_eq!(row["name"], "component", "{row}");
    assert!(row["p50_us"].as_u64() <= row["p99_us"].as_u64(), "{row}");
    assert!(row["p50_us"].as_u64() > Some(0), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_own_log_is_lines_of_json_in_files_of_a_bounded_size() {
    let (data, logs) = (Folder::new(), Folder::new());
    let path = logs.path().join("own.log");
    let own = ["--log-format", "json", "--log-file", path.to_str().unwrap()];
    let small = ["--log-file-max-bytes", "1000", "--log-files-max", "3"];
    let loud = ["--log", "usher_controller=info,usher_gateway=debug"];
    let told = [&own[..], &small, &loud].concat();
    let mut server = Server::up_with(data.path(), &told).await;
    let function = Folder::function("it", "rust-hello", "");
    for _ in 0..10 {
        server.run(&["deploy", function.text()]).await.done();
        server.run(&["delete", "it"]).await.done();
    }
    server.terminate();
    assert!(server.ended().await.success());
    let files = fs::read_dir(logs.path()).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.len() <= 1_000 && !text.is_empty(), "{file:?}");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["timestamp"].is_string() && line["level"].is_string(),
                "{line}"
            );
        }
    }
}
