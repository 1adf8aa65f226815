//! A clone answers as a started program does, and is to the kernel what that one is.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Instant;

use usher_core::function::Isolation;
use usher_core::proof::Renewal;
use usher_engine::contract::get;

use crate::rig::{Example, Image, LAMBDAS, Rig, SERVERS, Seat};
use crate::scan::{self, Depth, Fingerprint};

/// The variable by which the programs of one image are found.
pub(crate) const VARIABLE: &str = "USHER_TEST_CLONES";
/// Lines of a status that tell how a program is confined.
const CONFINED: [&str; 11] = [
    "Umask",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Speculation_Store_Bypass",
];

/// Bytes of fresh randomness that a program is told, and some that it makes of them.
const ENTROPY_BYTES: usize = 48 + 16;

pub(crate) fn cloned(rig: &Rig) -> u64 {
    rig.engine.counters().cloned.load(Ordering::Relaxed)
}

pub(crate) fn why_not(rig: &Rig) -> Option<String> {
    rig.engine.counters().latest_not_cloned.lock().clone()
}

/// An image whose programs are found by `value`.
pub(crate) async fn image(rig: &std::sync::Arc<Rig>, example: Example, value: &str) -> Image {
    rig.image(example, Isolation::Request, &[(VARIABLE, value)])
        .await
}

/// The programs of an image, as the host sees them.
pub(crate) fn programs(value: &str) -> Vec<u32> {
    let variable = format!("{VARIABLE}={value}\0");
    let all = scan::processes().into_iter();
    all.filter(|&pid| scan::has_variable(pid, &variable))
        .collect()
}

/// What a program answers, or nothing.
pub(crate) async fn said(seat: &mut Seat, path: &str) -> String {
    let reply = seat.answer(get(&format!("http://server.test{path}"))).await;
    let reply = reply.unwrap_or_else(|| panic!("{path} was not answered"));
    String::from_utf8_lossy(&reply.into_body())
        .trim()
        .to_owned()
}

/// Whether new programs of an example are cloned; prints how long both ways take.
async fn answers_as_a_started_one(example: Example, path: &str) {
    let rig = Rig::new();
    let began = Instant::now();
    let image = image(&rig, example, example.name).await;
    let mut first = image.seat().await;
    let told = said(&mut first, path).await;
    let started = began.elapsed();
    let mut times = Vec::new();
    for round in 1..=3 {
        let began = Instant::now();
        let mut seat = image.seat().await;
        let made = began.elapsed();
        assert_eq!(said(&mut seat, path).await, told, "{}", example.name);
        times.push((made, began.elapsed()));
        let why = why_not(&rig);
        assert_eq!(cloned(&rig), round, "{}: {why:?}", example.name);
        // And again, when it was put back.
        for _ in 0..3 {
            assert_eq!(said(&mut seat, path).await, told, "{}", example.name);
        }
        let because = &seat.replaced_because;
        assert_eq!(seat.served[0], Renewal::Fresh);
        assert_eq!(seat.put_back(), 3, "{}: {because:?}", example.name);
    }
    println!(
        "{}: load, start and first reply {started:?}; clones made, and first reply: {times:?}",
        example.name
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_program_in_c_answers_as_a_started_one() {
    answers_as_a_started_one(SERVERS[0], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_flask_answers_as_a_started_one() {
    answers_as_a_started_one(SERVERS[4], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_uvicorn_answers_as_a_started_one() {
    answers_as_a_started_one(SERVERS[5], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_lambda_function_in_python_answers_as_a_started_one() {
    answers_as_a_started_one(LAMBDAS[0], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_node_answers_as_a_started_one() {
    answers_as_a_started_one(SERVERS[2], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_lambda_function_in_node_answers_as_a_started_one() {
    answers_as_a_started_one(LAMBDAS[1], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_lambda_function_in_rust_answers_as_a_started_one() {
    answers_as_a_started_one(LAMBDAS[2], "/counter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_program_in_go_answers_as_a_started_one() {
    answers_as_a_started_one(SERVERS[1], "/counter").await;
}

/// What of a program tells how it is confined.
fn confinement(pid: u32) -> BTreeMap<String, String> {
    let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let status = text("status");
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let lines = lines.filter(|(name, _)| CONFINED.contains(name));
    let mut all: BTreeMap<_, _> = lines
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let kept = all.len();
    assert!(kept >= 10, "{all:?}");
    for name in [
        "limits",
        "oom_score_adj",
        "setgroups",
        "personality",
        "coredump_filter",
    ] {
        all.insert(name.to_owned(), text(name));
    }
    // Numbers of mounts and of its user differ from sandbox to sandbox.
    let mounts = text("mountinfo");
    let mounts = mounts.lines().map(|line| {
        let words: Vec<_> = line.split(' ').skip(3).collect();
        words.join(" ").replace(|it: char| it.is_ascii_digit(), "0")
    });
    all.insert("mounts".to_owned(), mounts.collect::<Vec<_>>().join("\n"));
    all
}

/// The namespaces that a program is in.
fn namespaces(pid: u32) -> BTreeMap<String, String> {
    let names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    let links = names.map(|name| {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        (name.to_owned(), link.display().to_string())
    });
    links.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_is_confined_as_a_started_one_and_is_the_same_to_who_looks() {
    let rig = Rig::new();
    let value = "confined";
    let image = image(&rig, SERVERS[0], value).await;
    let mut first = image.seat().await;
    assert_eq!(said(&mut first, "/counter").await, "1");
    let [started] = programs(value)[..] else {
        panic!("one program was started");
    };
    let seat = image.seat().await;
    assert_eq!(cloned(&rig), 1, "{:?}", why_not(&rig));
    let clone = programs(value).into_iter().find(|pid| *pid != started);
    let clone = clone.unwrap();
    assert_eq!(confinement(started), confinement(clone));
    let (theirs, its) = (namespaces(started), namespaces(clone));
    for (name, namespace) in &theirs {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        match name.as_str() {
            "time" => assert_eq!(its[name], *namespace),
            _ => {
                assert_ne!(its[name], *namespace, "{name}");
                assert_ne!(its[name], host.display().to_string(), "{name}");
            }
        }
    }
    let group = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_ne!(group(started), group(clone));
    assert_eq!(group(started).lines().count(), group(clone).lines().count());
    // All that a look from outside finds, registers and writable memory included.
    let then = Fingerprint::settled(started, Depth::Whole);
    let now = Fingerprint::settled(clone, Depth::Whole);
    let differences = then.differences(&now);
    let mut differences: Vec<_> = differences.iter().filter(|it| !is_passing(it)).collect();
    differences.retain(|it| !is_fresh(it, started, clone));
    assert!(differences.is_empty(), "{differences:#?}");
    drop(seat);
}

/// Differences that are between any two sandboxes: numbers that the host gives.
fn is_passing(difference: &str) -> bool {
    let passing = [
        "status ",
        "thread ",
        "stat ",
        "sockets ",
        "file ",
        "descriptor ",
        "registers ",
    ];
    passing.iter().any(|name| difference.starts_with(name))
}

/// Whether a page differs by no more than what each of both was told when it was restored, and by
/// the processor that the kernel writes for a thread.
fn is_fresh(difference: &str, started: u32, clone: u32) -> bool {
    let page = difference
        .strip_prefix("page ")
        .and_then(|it| it.split_once(':'));
    let page = page.and_then(|(page, _)| u64::from_str_radix(page, 16).ok());
    let Some(page) = page else {
        return false;
    };
    let read = |pid: u32| {
        let mut bytes = vec![0; 4096];
        let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, page).unwrap();
        bytes
    };
    let (then, now) = (read(started), read(clone));
    then.iter()
        .zip(&now)
        .filter(|(then, now)| then != now)
        .count()
        <= ENTROPY_BYTES
}
