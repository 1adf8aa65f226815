//! All pages that a program owns and may write are in other frames in the next run, whatever they
//! are for: heap, stacks, libraries' data, what was never written before.
//!
//! Left out are the platform's own pages in the program, and what a run has mapped itself, which is
//! gone in the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use usher_core::function::Isolation;
use usher_core::proof::Renewal;

use crate::rig::{Guest, Rig, Seat, Told, count};

const PAGE: u64 = 4_096;
/// Bytes of the platform's pages that a program may write.
const AGENT_BYTES: u64 = 16 * PAGE;
/// More than the rounds within which each page is looked at.
const RUNS: u64 = 80;

/// Private mappings that the program may write.
fn writable(pid: u32) -> BTreeSet<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut all = BTreeSet::new();
    let mut before = (0, String::new());
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        let access = fields.next().unwrap().to_owned();
        let is_agents = end - start == AGENT_BYTES && before == (start, "r-xp".to_owned());
        if access == "rw-p" && !is_agents {
            all.insert((start, end));
        }
        before = (end, access);
    }
    all
}

/// The frames of the program's own pages there, by page. One that many pages share is that of
/// zeros, which a page is in that was only read.
fn owned(pid: u32, mappings: &BTreeSet<(u64, u64)>) -> BTreeMap<u64, u64> {
    let map = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let mut all = BTreeMap::new();
    for (start, end) in mappings {
        let pages = usize::try_from((end - start) / PAGE).unwrap();
        let mut words = vec![0; pages * 8];
        map.read_exact_at(&mut words, start / PAGE * 8).unwrap();
        for (page, word) in (start / PAGE..).zip(words.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().unwrap());
            // In memory, and not of a file.
            if word >> 61 & 0b101 == 0b100 {
                all.insert(page * PAGE, word & ((1 << 55) - 1));
            }
        }
    }
    let mut shared: BTreeMap<u64, usize> = BTreeMap::new();
    for frame in all.values() {
        *shared.entry(*frame).or_default() += 1;
    }
    all.retain(|_, frame| shared[frame] == 1);
    all
}

/// Pages that were where they had been in the run before, over all runs; and how many were owned
/// in one of them.
async fn stayed(guest: Guest, isolation: Isolation) -> (BTreeSet<u64>, usize) {
    let rig = Rig::new();
    let image = rig.hostile(guest, isolation.clone(), "").await;
    let mut seat = image.seat().await;
    let first = writable(seat.pid().unwrap());
    let mut former = BTreeMap::new();
    let mut stayed = BTreeSet::new();
    for _ in 0..count(RUNS) {
        let look = |seat: &Seat, _: &Told| {
            let pid = seat.pid().unwrap();
            let still = writable(pid).intersection(&first).copied().collect();
            owned(pid, &still)
        };
        let now = seat.ask_and("/answer", look).await;
        let same = now.iter().filter(|it| former.get(it.0) == Some(it.1));
        stayed.extend(same.map(|(page, _)| *page));
        former = now;
    }
    let renewal = match isolation {
        Isolation::None => Renewal::Kept,
        _ => Renewal::Swap,
    };
    assert!(
        seat.served[1..].iter().all(|it| *it == renewal),
        "{:?}",
        seat.served
    );
    (stayed, former.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_a_program_moves() {
    for guest in [Guest::C, Guest::Python, Guest::Node] {
        let (stayed, owned) = stayed(guest, Isolation::Request).await;
        println!("{guest:?}: {owned} pages are owned after a run");
        assert!(stayed.is_empty(), "{guest:?}: {stayed:x?}");
    }
}

/// The control: where state is kept, nearly all of them stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_kept_program_stay() {
    let (stayed, owned) = stayed(Guest::Python, Isolation::None).await;
    assert!(stayed.len() * 2 > owned, "{} of {owned}", stayed.len());
}
