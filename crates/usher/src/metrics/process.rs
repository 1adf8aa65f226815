//! What the platform's own process takes of the machine, under the names that Prometheus's own
//! clients use.
//!
//! Read from `/proc`; what cannot be read there is left out.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use super::text::{Kind, Scaled, Text};

/// What was read.
#[derive(Debug, PartialEq)]
struct Own {
    cpu_ticks: u64,
    start_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

/// Appends them.
pub(crate) fn append(text: &mut Text) {
    let mut build = text.family(
        "usher_build_info",
        Kind::Gauge,
        "Which build this is; always 1.",
    );
    build.line(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    let ticks = clock_ticks_per_second();
    let stat = fs::read_to_string("/proc/self/stat").ok();
    if let Some(own) = stat.and_then(|stat| read(&stat, page_size() as u64)) {
        text.counter(
            "process_cpu_seconds_total",
            "Processor time of the platform itself.",
            Scaled(own.cpu_ticks, ticks),
        );
        text.gauge(
            "process_resident_memory_bytes",
            "Memory that the platform itself holds.",
            own.resident_bytes,
        );
        text.gauge(
            "process_virtual_memory_bytes",
            "Address space of the platform itself; most of it is reserved and not used.",
            own.virtual_bytes,
        );
        text.gauge("process_threads", "Threads.", own.threads);
        if let Some(booted_s) = booted_s() {
            text.gauge(
                "process_start_time_seconds",
                "When the platform started, since the Unix epoch.",
                Scaled(booted_s * ticks + own.start_ticks, ticks),
            );
        }
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        text.gauge(
            "process_open_fds",
            "Files and sockets that are open.",
            descriptors.count(),
        );
    }
    let limits = fs::read_to_string("/proc/self/limits").ok();
    if let Some(most) = limits.and_then(|limits| open_files(&limits)) {
        text.gauge("process_max_fds", "So many may be open.", most);
    }
}

/// Reads `/proc/self/stat`. The name in it may hold anything, so the fields are counted from its
/// closing parenthesis on.
fn read(stat: &str, page_bytes: u64) -> Option<Own> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    // The first one here is the third of the manual page.
    let field = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
    Some(Own {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes,
    })
}

fn booted_s() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 11 22 0 0 20 0 5 0 333 4096 2 0 0";
        assert_eq!(
            read(stat, 4_096),
            Some(Own {
                cpu_ticks: 33,
                start_ticks: 333,
                threads: 5,
                virtual_bytes: 4_096,
                resident_bytes: 8_192,
            })
        );
        assert_eq!(read("7 (a) S 1", 4_096), None);
    }

    #[test]
    fn the_own_process_is_read() {
        let mut text = Text::new(super::super::text::Format::Prometheus);
        append(&mut text);
        let text = text.end();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
            "usher_build_info{version=",
        ] {
            let line = text.lines().find(|line| line.starts_with(name));
            assert!(line.is_some(), "{name}\n{text}");
        }
    }
}
