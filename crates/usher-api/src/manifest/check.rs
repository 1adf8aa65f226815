//! Which settings exist, their bounds, and what is said where a text does not keep to them.
//!
//! Deliberately absent: the form the text was written in.

use usher_core::function::{
    InvokeBy, Isolation, Keep, Limits, RenewWhen, RenewalChoice, Settings, Twins,
};
use usher_core::id::Name;
use usher_core::outbound::ENTRIES_MAX;
use usher_core::outbound::entry::{BadEntry, Entry};

use super::build;
use super::cors;
use super::events;
use super::process;
use super::sample;
use super::section::{Found, Section, shown};
use super::tree::Node;
use super::{Content, Manifest, Mistake, Mistakes};
use crate::http::DeployRequest;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const DAY_S: u64 = 86_400;
const TIB: u64 = 1 << 40;

/// Checks a manifest; `broken` are the mistakes of syntax that were found before.
pub(super) fn manifest(root: &Node, broken: Vec<Mistake>) -> Result<Manifest, Mistakes> {
    let mut found = Found::after(broken);
    let manifest = Section::root(root, &mut found).and_then(|mut top| {
        let name = name(&mut top);
        let component = top.text("component", "a text in quotes", file_inside);
        let mut folder = ".".to_owned();
        let settings = settings(&mut top, Some(&mut folder));
        let mut build = None;
        top.table("build", |section| build = Some(build::read(section)));
        let made = build.as_ref().and_then(|build| build.artifact.clone());
        one_of_two(&mut top, made.is_some());
        top.close();
        let content = match &settings.process {
            Some(_) => Content::Folder(made.unwrap_or(folder)),
            None => Content::Component(made.or(component)?),
        };
        Some(Manifest {
            name: name?,
            content,
            settings,
            build,
        })
    });
    found.into_result(manifest)
}

/// Checks the body of a deployment.
pub(super) fn deploy_request(root: &Node) -> Result<DeployRequest, Mistakes> {
    let mut found = Found::after(Vec::new());
    let request = Section::root(root, &mut found).and_then(|mut top| {
        let name = name(&mut top);
        let owner = top.parsed("owner");
        top.require("artifact", "the digest that POST /v1/artifacts answered");
        let artifact = top.parsed("artifact");
        let mut read = Settings::default();
        top.table("settings", |section| read = settings(section, None));
        top.close();
        Some(DeployRequest {
            owner,
            name: name?,
            artifact: artifact?,
            settings: read,
        })
    });
    found.into_result(request)
}

fn name(top: &mut Section<'_, '_>) -> Option<Name> {
    top.require("name", "name = \"my-function\"");
    top.parsed("name")
}

/// A function is a component or a program; a component that is built needs no other name.
fn one_of_two(top: &mut Section<'_, '_>, built: bool) {
    match (top.has("component"), top.has("process")) {
        (true, false) if built => top.mistake(
            "component",
            "build.artifact names the component already; leave out one",
        ),
        (false, false) if built => {}
        (true, true) => top.mistake(
            "process",
            "a function is a component or a program, and component is given too; leave out one",
        ),
        (false, false) => top.require(
            "component",
            "component = \"my-function.wasm\", or a table [process] for a Linux program",
        ),
        _ => {}
    }
}

fn file_inside(path: &str) -> Result<String, String> {
    let is_file = !path.is_empty() && path != "." && !path.ends_with("/.");
    match is_file && is_inside(path) {
        true => Ok(path.to_owned()),
        false => Err(format!(
            "{} is no file inside the manifest's folder; write a path such as \"hello.wasm\"",
            shown(path)
        )),
    }
}

/// Whether a path names something inside the manifest's folder, on every system.
pub(super) fn is_inside(path: &str) -> bool {
    let parts_are_names = path.split('/').all(|part| !matches!(part, "" | ".."));
    parts_are_names && !path.contains(['\\', ':', '\0'])
}

/// Reads the settings; only a manifest has a folder.
fn settings(section: &mut Section<'_, '_>, folder: Option<&mut String>) -> Settings {
    let mut settings = Settings::default();
    isolation(section, &mut settings.isolation);
    section.choice(
        "renewal",
        &[
            ("auto", RenewalChoice::Auto),
            ("live", RenewalChoice::Live),
            ("fresh", RenewalChoice::Fresh),
            ("swap", RenewalChoice::Swap),
            ("in-place", RenewalChoice::InPlace),
        ],
        &mut settings.renewal,
    );
    section.choice(
        "renew",
        &[
            ("after-run", RenewWhen::AfterRun),
            ("before-run", RenewWhen::BeforeRun),
        ],
        &mut settings.renew,
    );
    section.texts("outbound", ENTRIES_MAX, outbound, &mut settings.outbound);
    section.choice(
        "invoke",
        &[("public", InvokeBy::Public), ("key", InvokeBy::Key)],
        &mut settings.invoke,
    );
    section.flag("hide_proof", &mut settings.hide_proof);
    section.table("limits", |section| limits(section, &mut settings.limits));
    section.table("keep", |section| keep(section, &mut settings.keep));
    section.table("cors", |section| settings.cors = Some(cors::read(section)));
    section.table("process", |section| {
        settings.process = process::read(section, folder);
    });
    sample::read(section, &mut settings);
    events::read(section, &mut settings);
    let of_programs = matches!(
        settings.renewal,
        RenewalChoice::Swap | RenewalChoice::InPlace
    );
    if of_programs && settings.process.is_none() {
        section.mistake(
            "renewal",
            "\"swap\" and \"in-place\" are for programs, and there is no table [process]; \
             a component is swapped wherever it is live, so write \"live\"",
        );
    }
    settings
}

/// What may stand for `isolation`.
const ISOLATION: &str = "\"request\", \"none\" or { key = \"header:NAME\" }";

fn isolation(section: &mut Section<'_, '_>, into: &mut Isolation) {
    if section.is_table("isolation") {
        return section.table("isolation", |table| {
            table.require("key", "key = \"header:NAME\", such as \"header:x-tenant\"");
            if let Some(source) = table.parsed("key") {
                *into = Isolation::Key(source);
            }
        });
    }
    let word = section.text("isolation", ISOLATION, |text| match text {
        "request" => Ok(Isolation::Request),
        "none" => Ok(Isolation::None),
        other => Err(format!(
            "{} is none of its values; write {ISOLATION}",
            shown(other)
        )),
    });
    if let Some(word) = word {
        *into = word;
    }
}

fn outbound(entry: &str) -> Result<(), String> {
    let mistake = |bad: BadEntry| format!("{}: {}", shown(&bad.text), bad.reason);
    entry.parse::<Entry>().map(drop).map_err(mistake)
}

fn limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    let ms = "milliseconds";
    section.number(
        "first_byte_max_ms",
        ms,
        1..=HOUR_MS,
        &mut limits.first_byte_max_ms,
    );
    section.number("idle_max_ms", ms, 1..=HOUR_MS, &mut limits.idle_max_ms);
    section.optional("total_max_ms", ms, 1..=DAY_MS, &mut limits.total_max_ms);
    section.number(
        "memory_max_mib",
        "MiB",
        1..=4_096,
        &mut limits.memory_max_mib,
    );
    let elements = &mut limits.table_max_elements;
    section.number("table_max_elements", "elements", 1..=10_000_000, elements);
    section.number(
        "instances_max",
        "core instances",
        1..=10_000,
        &mut limits.instances_max,
    );
    section.number(
        "concurrency_max",
        "requests",
        1..=10_000,
        &mut limits.concurrency_max,
    );
    // Zero is of use here: a function without a waiting room answers 429 at once.
    section.number(
        "queue_max",
        "requests",
        0..=1_000_000,
        &mut limits.queue_max,
    );
    section.number(
        "queue_wait_max_ms",
        ms,
        1..=HOUR_MS,
        &mut limits.queue_wait_max_ms,
    );
    section.optional(
        "body_max_bytes",
        "bytes",
        1..=TIB,
        &mut limits.body_max_bytes,
    );
    section.number(
        "handles_max",
        "handles",
        1..=10_000_000,
        &mut limits.handles_max,
    );
    programs(section, limits);
}

/// The limits that only a program has.
fn programs(section: &mut Section<'_, '_>, limits: &mut Limits) {
    let ms = "milliseconds";
    section.number("start_max_ms", ms, 1..=HOUR_MS, &mut limits.start_max_ms);
    section.number("tasks_max", "tasks", 1..=32_768, &mut limits.tasks_max);
    section.number(
        "scratch_max_mib",
        "MiB",
        1..=4_096,
        &mut limits.scratch_max_mib,
    );
    section.number("files_max", "files", 16..=1_048_576, &mut limits.files_max);
    section.optional(
        "cpu_max_millis",
        "thousandths of a core",
        10..=1_000_000,
        &mut limits.cpu_max_millis,
    );
    section.number("grace_max_ms", ms, 0..=MINUTE_MS, &mut limits.grace_max_ms);
}

fn keep(section: &mut Section<'_, '_>, keep: &mut Keep) {
    section.number("ready_min", "environments", 0..=1_000, &mut keep.ready_min);
    section.number("idle_max_s", "seconds", 1..=DAY_S, &mut keep.idle_max_s);
    section.number("keys_max", "keys", 1..=100_000, &mut keep.keys_max);
    let unused = &mut keep.key_idle_max_s;
    section.number("key_idle_max_s", "seconds", 1..=DAY_S, unused);
    let twins = [
        ("auto", Twins::Auto),
        ("always", Twins::Always),
        ("off", Twins::Off),
    ];
    section.choice("twins", &twins, &mut keep.twins);
}
