//! What it takes to put the examples back, by part, printed: nothing is judged by its time.
//!
//! `USHER_COUNT` says how many requests each program gets, `USHER_ONLY` which program gets any;
//! `USHER_SWAP` has its memory swapped.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/rig.rs"]
mod rig;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/scan.rs"]
#[expect(unused_imports, reason = "shared with other tests")]
mod scan;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use usher_api::node::Mode;
use usher_core::function::{Isolation, RenewalChoice};
use usher_engine::contract::get;

use crate::rig::{Example, LAMBDAS, Rig, SERVERS, count};

/// Put-backs that are not counted: what is learnt of a program takes some.
const LEARNING: usize = 16;

/// By which way programs are put back.
fn renewal() -> RenewalChoice {
    match std::env::var_os("USHER_SWAP") {
        Some(_) => RenewalChoice::Swap,
        None => RenewalChoice::InPlace,
    }
}

/// What was told of each put-back, as text.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Hears of put-backs, and of nothing else.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target().starts_with("usher_process::renewal")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.0.contains("a program was put back") {
            TOLD.lock().unwrap().push(fields.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

/// The figures in what was told, by their names; times in microseconds.
fn figures(told: &str) -> BTreeMap<String, f64> {
    let parts = ["stop", "kernel", "memory", "batch", "registers", "resume"];
    let mut figures = BTreeMap::new();
    let nanos = told.split("nanos: [").nth(1).unwrap();
    let nanos = nanos.split(']').next().unwrap().split(", ");
    for (name, nanos) in parts.iter().zip(nanos) {
        figures.insert(format!("{name}_us"), nanos.parse::<f64>().unwrap() / 1e3);
    }
    let total = figures.values().sum();
    figures.insert("all_us".to_owned(), total);
    let pages = told.split("PutBack {").nth(1).unwrap();
    for field in pages.split('}').next().unwrap().split(", ") {
        if let Some((name, value)) = field.split_once(": ")
            && let Ok(value) = value.parse()
        {
            figures.insert(name.trim().to_owned(), value);
        }
    }
    figures
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Medians of what one request, and the put-back after it, take.
async fn price(example: Example, isolation: Isolation, requests: usize) -> BTreeMap<String, f64> {
    let rig = Rig::new();
    let image = rig.image(example, isolation.clone(), &[]).await;
    let mut seat = image.seat().await;
    let mut cycles = Vec::new();
    TOLD.lock().unwrap().clear();
    for _ in 0..LEARNING + requests {
        let begun = Instant::now();
        let answer = seat.answer(get("http://server.test/")).await;
        cycles.push(begun.elapsed().as_secs_f64() * 1e6);
        assert!(answer.is_some(), "{} did not answer", example.name);
    }
    let told = std::mem::take(&mut *TOLD.lock().unwrap());
    let mut medians = BTreeMap::new();
    medians.insert("cycle_us".to_owned(), median(cycles.split_off(LEARNING)));
    if isolation == Isolation::Request && image.mode() == Mode::Live {
        assert_eq!(told.len(), LEARNING + requests, "{}", example.name);
        let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for one in &told[LEARNING..] {
            for (name, value) in figures(one) {
                all.entry(name).or_default().push(value);
            }
        }
        medians.extend(all.into_iter().map(|(name, all)| (name, median(all))));
    }
    drop((seat, image));
    rig.engine.close().await;
    medians
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_have_a_price() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let requests = usize::try_from(count(8)).unwrap();
    let only = std::env::var("USHER_ONLY").ok();
    let chosen = |it: &&Example| {
        let only = only.as_deref();
        only.map_or(it.name == "http-c", |only| {
            only == "all" || only.split(',').any(|one| one == it.name)
        })
    };
    for example in SERVERS.iter().chain(&LAMBDAS).filter(chosen) {
        let kept = price(*example, Isolation::None, requests).await;
        let back = price(*example, Isolation::Request, requests).await;
        let told = back
            .iter()
            .map(|(name, value)| format!("{name}={value:.1}"));
        let told: Vec<_> = told.collect();
        println!(
            "{}: kept cycle_us={:.1}; put back {}",
            example.name,
            kept["cycle_us"],
            told.join(" ")
        );
        assert!(back["cycle_us"] > 0.0);
    }
}
