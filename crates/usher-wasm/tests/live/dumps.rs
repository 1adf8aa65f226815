//! What a core dump of the platform would hold: no area of any environment, and no image.

use std::fs;

use usher_core::function::Settings;

use crate::guests::{Bench, counter_of};

/// What the kernel calls the file that areas are mapped from.
const IMAGE: &str = "/memfd:usher-image";
/// Left out of dumps, and not given to child processes.
const LEFT_OUT: [&str; 2] = ["dd", "dc"];

/// First lines of this process's mappings, and the kernel's notes on each.
fn mappings() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut all = Vec::new();
    for line in text.lines() {
        let first = line.split(' ').next().unwrap();
        match line.strip_prefix("VmFlags:") {
            Some(flags) => {
                let (_, noted): &mut (String, Vec<String>) = all.last_mut().unwrap();
                *noted = flags.split_whitespace().map(str::to_owned).collect();
            }
            None if first.contains('-') => all.push((line.to_owned(), Vec::new())),
            None => {}
        }
    }
    all
}

fn is_left_out(flags: &[String]) -> bool {
    LEFT_OUT
        .iter()
        .all(|flag| flags.iter().any(|it| it == flag))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn areas_are_left_out_of_core_dumps() {
    let bench = Bench::new();
    let image = bench.load("rust-counter", Settings::default()).await;
    let mut environment = bench.start(&image).await;
    // Both areas have been written to, scrubbed, and made current.
    for _ in 0..4 {
        let (reply, _, clean) = bench.visit(environment, "/").await;
        assert_eq!(counter_of(&reply), 1);
        environment = clean;
    }
    let all = mappings();
    let areas = all.iter().filter(|(line, _)| line.contains(IMAGE));
    let areas: Vec<_> = areas.collect();
    for (line, flags) in &areas {
        assert!(is_left_out(flags), "{line}: {flags:?}");
    }
    assert!(areas.len() >= 2, "one environment has two areas: {all:?}");
    // The control: memory of which nobody said so is dumped.
    let (stack, flags) = all
        .iter()
        .find(|(line, _)| line.ends_with("[heap]"))
        .unwrap();
    assert!(!is_left_out(flags), "{stack}: {flags:?}");
}
