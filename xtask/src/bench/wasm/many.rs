//! Row W11: what a deployed, idle function costs, with many of them; and, beside it, how quick the
//! platform still is.
//!
//! ```text
//! empty platform ─► all deployed ─► idle, nothing loaded ─► restarted ─► some asked, listed
//!      memory                            memory                time, memory       times
//! ```
//!
//! The components are one example (`examples/wat/globals`) with another word of the same length in
//! each, so that each is compiled for itself and answers its own word; ten functions have the same.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::load;
use super::super::row::{Figure, Goal, Row};
use super::super::server::{Addresses, Server};
use super::kind::Programs;
use super::ready;
use super::stage;
use crate::child::Watched;

/// The row.
pub(crate) const ID: &str = "W11";
/// KiB of a deployed, idle function.
const GOAL_KIB: f64 = 64.0;
/// Functions, and how many have the same component.
const FUNCTIONS: usize = 10_000;
const QUICK_FUNCTIONS: usize = 200;
const SHARED_BY: usize = 10;
/// What the components are made of, and the word in it.
const EXAMPLE: &str = "wat-globals";
const WORD: &[u8] = b"planted";
/// What makes a function answer with its word.
const TARGET: &str = "?seek=00000000000000000000000000000000";
/// Deployments at once.
const IN_FLIGHT: usize = 8;
/// Functions that are asked after the restart.
const ASKED: usize = 200;
/// How long until nothing is loaded any more, in seconds.
const IDLE_MAX_S: u64 = 60;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 200;
/// How long one command may take, in seconds.
const COMMAND_MAX_S: u64 = 60;

/// One look at what runs, for as short as it can be.
const TOP: [&str; 5] = ["top", "--once", "--json", "--window-ms", "100"];

/// Deploys them all, and measures.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    let functions = if plan.quick {
        QUICK_FUNCTIONS
    } else {
        FUNCTIONS
    };
    println!("-- {functions} functions");
    let example = std::fs::read(stage::function(programs, EXAMPLE)?.component)?;
    let folder = tempfile::tempdir()?;
    let runtime = runtime()?;

    let up = Up::start(&programs.built.usher, folder.path())?;
    up.server.rest();
    let empty_kib = up.kib()?;
    let begun = Instant::now();
    runtime.block_on(deploy_all(&up.api, &example, functions))?;
    let deploying_s = begun.elapsed().as_secs_f64();
    up.until_idle(&runtime)?;
    let deployed_kib = up.kib()?;
    drop(up);

    let begun = Instant::now();
    let up = Up::start(&programs.built.usher, folder.path())?;
    let restart_ms = begun.elapsed().as_secs_f64() * 1e3;
    up.server.rest();
    let restarted_kib = up.kib()?;
    let firsts = runtime.block_on(ask(&up.server, functions))?;
    let (list_ms, listed) = up.told(&programs.built.usher, &["list", "--json"])?;
    ensure!(
        listed == functions,
        "usher list told of {listed} of {functions} functions"
    );
    let (top_ms, shown_by_top) = up.told(&programs.built.usher, &TOP)?;
    ensure!(shown_by_top > 0, "usher top showed no function");
    let (metrics_ms, metrics_bytes) = runtime.block_on(up.metrics())?;
    drop(up);

    let count = load::whole(functions as u64);
    let shown = |what: &str, unit: &str, samples: Vec<f64>| {
        Row::new(ID, format!("{what}, {functions} functions"), unit).ours(Figure::of(samples))
    };
    let per_function = |what: &str, kib: f64| {
        shown(what, "KiB", vec![(kib - empty_kib) / count]).judged(Goal::AtMost(GOAL_KIB))
    };
    let mut rows = vec![
        per_function("memory per deployed, idle function", deployed_kib),
        per_function("the same after a restart", restarted_kib),
        shown("restart until ready", "ms", vec![restart_ms]),
        shown("first request to any of them", "ms", firsts),
        shown("usher list", "ms", vec![list_ms]),
        shown(
            "usher top, its window of 100 ms included",
            "ms",
            vec![top_ms],
        ),
        shown("/metrics", "ms", vec![metrics_ms]),
        shown("size of /metrics", "MiB", vec![metrics_bytes / 1048576.0]),
        shown(
            "deploying one, several at once",
            "ms",
            vec![deploying_s * 1e3 / count],
        ),
    ];
    rows.extend(ready::measure(plan, programs)?);
    Ok(rows)
}

/// What the platform's own process has to itself, in KiB.
pub(super) fn private_kib(server: &Server) -> Option<f64> {
    let platform = server.processes().into_iter().next()?;
    let memory = platform.first()?.memory()?;
    Some(load::whole(memory.private_kib))
}

/// A platform on a data folder.
struct Up {
    server: Server,
    api: String,
}

impl Up {
    fn start(usher: &Path, data: &Path) -> Result<Self> {
        let mut command = Command::new(usher);
        command
            .args([
                "up",
                "--json",
                "--gateway",
                "127.0.0.1:0",
                "--api",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data);
        let mut watched = Watched::start("usher up", &mut command)?;
        let Addresses { gateway, api } = Server::wait_for_addresses(&mut watched)?;
        let api = api.context("the platform does not say where its API is")?;
        let server = Server::of("usher", vec![watched], gateway);
        let api = api.trim_start_matches("http://").to_owned();
        Ok(Self { server, api })
    }

    fn kib(&self) -> Result<f64> {
        private_kib(&self.server).context("the platform's memory was not read")
    }

    /// Waits until no environment is left, and the platform does nothing.
    fn until_idle(&self, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(IDLE_MAX_S);
        loop {
            let (_, text) = runtime.block_on(get(&format!("http://{}/metrics", self.api)))?;
            let left: f64 = String::from_utf8_lossy(&text)
                .lines()
                .filter(|line| line.starts_with("usher_environments{"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum();
            if left == 0.0 {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "{left} environments are left after {IDLE_MAX_S} s"
            );
            std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
        }
        // Images are given up in the round after their environments.
        std::thread::sleep(Duration::from_secs(2));
        self.server.rest();
        Ok(())
    }

    /// Runs a command to its end: how long it took, in milliseconds, and the lines that it told.
    fn told(&self, usher: &Path, words: &[&str]) -> Result<(f64, usize)> {
        let name = format!("usher {}", words.join(" "));
        let mut command = Command::new(usher);
        command
            .args(words)
            .env("USHER_API", format!("http://{}", self.api));
        let begun = Instant::now();
        let mut lines = 0;
        let limit = Duration::from_secs(COMMAND_MAX_S);
        let status = Watched::start(&name, &mut command)?.finish(limit, |_| lines += 1)?;
        let took_ms = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(status.success(), "{name} failed ({status})");
        Ok((took_ms, lines))
    }

    /// How long they take, in milliseconds, and how long they are, in bytes.
    async fn metrics(&self) -> Result<(f64, f64)> {
        let begun = Instant::now();
        let (status, text) = get(&format!("http://{}/metrics", self.api)).await?;
        ensure!(status == 200, "the metrics were answered {status}");
        Ok((
            begun.elapsed().as_secs_f64() * 1e3,
            load::whole(text.len() as u64),
        ))
    }
}

type Poster = Client<HttpConnector, Full<Bytes>>;

fn poster() -> Poster {
    Client::builder(TokioExecutor::new()).build(HttpConnector::new())
}

async fn get(url: &str) -> Result<(u16, Bytes)> {
    let response = poster().get(url.parse()?).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

async fn post(client: &Poster, url: &str, json: bool, body: Bytes) -> Result<Bytes> {
    let mut request = http::Request::post(url);
    if json {
        request = request.header("content-type", "application/json");
    }
    let response = client.request(request.body(Full::new(body))?).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success(),
        "{url} answered {status}: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(answer)
}

fn word(component: usize) -> String {
    format!("w{component:06}")
}

/// The example with another word.
fn component(example: &[u8], nth: usize) -> Result<Bytes> {
    let mut bytes = example.to_vec();
    let at = bytes.windows(WORD.len()).position(|part| part == WORD);
    let at = at.context("the example has no such word")?;
    bytes[at..at + WORD.len()].copy_from_slice(word(nth).as_bytes());
    Ok(bytes.into())
}

/// Deploys all, several at once.
async fn deploy_all(api: &str, example: &[u8], functions: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let components = functions.div_ceil(SHARED_BY);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (next, api, example) = (next.clone(), api.to_owned(), example.to_vec());
        workers.spawn(async move {
            let client = poster();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= components {
                    return anyhow::Ok(());
                }
                let first = nth * SHARED_BY;
                let names = first..functions.min(first + SHARED_BY);
                deploy(&client, &api, component(&example, nth)?, names).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn deploy(
    client: &Poster,
    api: &str,
    component: Bytes,
    names: std::ops::Range<usize>,
) -> Result<()> {
    let stored = post(
        client,
        &format!("http://{api}/v1/artifacts"),
        false,
        component,
    )
    .await?;
    let stored: Value = serde_json::from_slice(&stored)?;
    for nth in names {
        let request = json!({
            "name": format!("f{nth}"),
            "artifact": stored["digest"],
            "settings": { "keep": { "idle_max_s": 1 } },
        });
        let body = serde_json::to_vec(&request)?.into();
        let told = post(client, &format!("http://{api}/v1/functions"), true, body).await?;
        let told = String::from_utf8_lossy(&told).into_owned();
        if !told.contains("\"revision\"") {
            bail!("f{nth} was not deployed: {told}");
        }
    }
    Ok(())
}

/// From asking to the first byte on a new connection, in milliseconds, of some spread over all.
async fn ask(server: &Server, functions: usize) -> Result<Vec<f64>> {
    let asked = ASKED.min(functions);
    let mut firsts = Vec::new();
    for place in 0..asked {
        // Neighbours have the same component, so that steps of one more than a tenth meet others.
        let nth = (place * (functions / asked) + place) % functions;
        let url = server.url(&format!("/fn/f{nth}/{TARGET}"));
        let answer = Http::closing().get(&url).await?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(
            answer.status == 200 && body.contains(&word(nth / SHARED_BY)),
            "f{nth} answered {}: {body}",
            answer.status
        );
        firsts.push(answer.first_byte.as_secs_f64() * 1e3);
    }
    Ok(firsts)
}
