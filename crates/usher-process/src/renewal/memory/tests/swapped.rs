//! Memory that is swapped: other frames in each run, the used area held and then gone.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::guest::{Guest, Taken, alone, program};
use super::repeated::{interpreter, medians};
use crate::renewal::memory::{Failed, Wanted};

const PAGE: u64 = 4_096;
/// More than the rounds within which every page has its turn to be looked at.
const ROUNDS: usize = 150;

/// Frames of the pages there, by a reader of this test's own; none for pages that are not there.
fn frames(guest: &Guest, start: u64, bytes: u64) -> Vec<Option<u64>> {
    let map = File::open(format!("/proc/{}/pagemap", guest.pid.as_raw_nonzero())).unwrap();
    let word = |page: u64| {
        let mut word = [0; 8];
        map.read_exact_at(&mut word, (start / PAGE + page) * 8)
            .unwrap();
        u64::from_le_bytes(word)
    };
    let own = |word: &u64| word >> 63 == 1 && word >> 61 & 1 == 0;
    (0..bytes / PAGE)
        .map(|page| {
            Some(word(page))
                .filter(own)
                .map(|word| word & ((1 << 55) - 1))
        })
        .collect()
}

/// Pages that are in the same frame, or that one of them does not have.
fn same(one: &[Option<u64>], other: &[Option<u64>]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.filter(|(one, other)| one == other).count()
}

/// Everything that the program owns and may write, but for the agent's pages.
fn owned(guest: &Guest, taken: &Taken) -> Vec<(u64, u64)> {
    let agent = taken.agent.range();
    let maps = format!("/proc/{}/maps", guest.pid.as_raw_nonzero());
    let maps = std::fs::read_to_string(maps).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        if agent.contains(&start) {
            continue;
        }
        let frames = frames(guest, start, end - start);
        let owned = (0..).zip(frames);
        all.extend(owned.filter_map(|(page, frame)| Some((start + page * PAGE, frame?))));
    }
    all
}

#[test]
fn no_page_that_is_written_is_in_the_same_frame_in_the_next_run() {
    let mut guest = Guest::start();
    let mut taken = guest.taken().swapped();
    let big = u64::try_from(guest.ask("big 0")).unwrap();
    let bytes = 256 * PAGE;
    let mut former: Option<Vec<Option<u64>>> = None;
    for round in 0..ROUNDS {
        assert_eq!(guest.ask(&format!("dirty {bytes}")), 2, "round {round}");
        let now = frames(&guest, big, bytes);
        assert!(now.iter().all(Option::is_some));
        if let Some(former) = former.replace(now.clone()) {
            assert_eq!(same(&former, &now), 0, "round {round}");
            // Nor in that of any other page.
            assert!(!former.iter().any(|frame| now.contains(frame)));
        }
        let put_back = taken.put_back(&guest);
        assert!(put_back.swapped_pages >= 256, "{put_back:?}");
    }
}

/// The control: what is put back where it is stays where it is.
#[test]
fn pages_that_are_put_back_in_place_keep_their_frames() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let big = u64::try_from(guest.ask("big 0")).unwrap();
    let mut stayed = 0;
    let mut former = Vec::new();
    for _ in 0..8 {
        guest.ask("dirty 65536");
        let now = frames(&guest, big, 65_536);
        stayed += same(&former, &now);
        former = now;
        taken.put_back(&guest);
    }
    assert!(stayed > 32, "{stayed}");
}

#[test]
fn every_own_page_of_a_program_that_writes_everywhere_moves() {
    let mut guest = Guest::start();
    let mut taken = guest.taken().swapped();
    let run = |guest: &mut Guest| {
        for line in [
            "dirty 65536",
            "untouched 8192",
            "bss 0",
            "wiped 0",
            "locked 0",
        ] {
            guest.ask(line);
        }
        assert_eq!(guest.ask("count 0"), 2);
    };
    let mut former: Vec<(u64, u64)> = Vec::new();
    for round in 0..ROUNDS {
        run(&mut guest);
        let owned = owned(&guest, &taken);
        let stayed: Vec<_> = owned.iter().filter(|it| former.contains(it)).collect();
        assert!(stayed.is_empty(), "round {round}: {stayed:x?}");
        former = owned;
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        if round % 25 == 3 {
            taken.memory.compare(&stopped).unwrap();
        }
        stopped.resume().unwrap();
    }
}

#[test]
fn a_count_in_every_kind_of_memory_is_two_each_time_memory_is_swapped() {
    for program in [program(), alone()] {
        let mut guest = Guest::of(program);
        let mut taken = guest.taken().swapped();
        for round in 0..300 {
            assert_eq!(guest.ask("count 0"), 2, "round {round}");
            let put_back = taken.put_back(&guest);
            assert!(!put_back.searched_all, "in round {round}");
        }
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        taken.memory.compare(&stopped).unwrap();
    }
}

/// The run's bytes are in the area that it has used until that is scrubbed, and nowhere else.
#[test]
fn the_used_area_holds_what_the_run_wrote_and_the_new_one_does_not() {
    let mut guest = Guest::start();
    let mut taken = guest.taken().swapped();
    let big = u64::try_from(guest.ask("big 0")).unwrap();
    for mark in 0x61..0x65_u8 {
        guest.ask(&format!("mark {mark}"));
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        let used = taken.aside.take().unwrap().bytes().unwrap();
        let marked = used.chunks(8).filter(|word| *word == [mark; 8]).count();
        assert!(marked >= 8 * 4_096 / 8, "{marked} words of the run's");
        let former = used.chunks(8).filter(|word| *word == [mark - 1; 8]);
        assert_eq!(former.count(), 0, "of the run before that");
        let mut now = vec![0; 8 * 4_096];
        stopped.read(big, &mut now).unwrap();
        assert!(now.iter().all(|byte| *byte == 1));
        stopped.resume().unwrap();
    }
}

#[test]
fn what_is_written_once_is_given_up_and_many_pages_go_by_many_pipes() {
    let mut guest = Guest::start();
    let mut taken = guest.taken().swapped();
    guest.ask("dirty 16777216");
    let put_back = taken.put_back(&guest);
    assert!(put_back.swapped_pages >= 4_096, "{put_back:?}");
    guest.ask("count 0");
    let put_back = taken.put_back(&guest);
    assert!(put_back.dropped_pages >= 4_090, "{put_back:?}");
    assert!(put_back.swapped_pages < 64, "{put_back:?}");
}

#[test]
fn too_much_is_put_back_in_place() {
    let mut guest = Guest::start();
    let state = u64::try_from(guest.ask("state 134217728")).unwrap();
    let mut taken = guest.taken().swapped();
    guest.ask("dirty 4096");
    assert!(taken.put_back(&guest).swapped_pages > 0);
    let stopped = crate::renewal::stopped::Stopped::stop(guest.pid).unwrap();
    for page in 0..20_000 {
        stopped.write(state + page * PAGE, b"!").unwrap();
    }
    stopped.resume().unwrap();
    let put_back = taken.put_back(&guest);
    assert_eq!(put_back.swapped_pages, 0, "{put_back:?}");
    let (stopped, put_back) = taken.stopped_and_put_back(&guest).unwrap();
    assert!(put_back.swapped_pages > 0);
    taken.memory.compare(&stopped).unwrap();
}

/// Ids may say what they like: the frames themselves are read.
#[test]
fn a_swap_that_did_not_happen_is_seen() {
    for rounds in 0..4 {
        let mut guest = Guest::start();
        let mut taken = guest.taken().swapped();
        for _ in 0..rounds {
            guest.ask("dirty 65536");
            taken.put_back(&guest);
            taken.memory.determine(guest.pid).unwrap();
        }
        taken.wanted = Wanted::Skipped;
        guest.ask("dirty 65536");
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        taken.memory.compare(&stopped).unwrap();
        stopped.resume().unwrap();
        taken.memory.determine(guest.pid).unwrap_err();
    }
}

#[test]
fn a_swap_that_was_not_carried_out_is_found() {
    use crate::renewal::stopped::{Batch, Stopped};
    let mut guest = Guest::start();
    let mut taken = guest.taken().swapped();
    for _ in 0..3 {
        guest.ask("dirty 65536");
        taken.put_back(&guest);
    }
    guest.ask("dirty 65536");
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let mut batch = Batch::new();
    let planned = taken
        .memory
        .plan(&mut stopped, &taken.agent, &mut batch, taken.wanted);
    let ended = taken.memory.done(&stopped, planned.unwrap()).unwrap_err();
    let found = matches!(ended, Failed::Canary | Failed::Hidden { .. });
    assert!(found, "{ended}");
}

#[test]
fn an_interpreter_is_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let program = interpreter(folder.path());
    let mut guest = Guest::of(&program);
    for _ in 0..20 {
        guest.ask("run 65536");
    }
    let next = guest.ask("run 65536") + 1_001;
    let mut taken = guest.taken().swapped();
    let mut all = Vec::new();
    let mut former: Vec<(u64, u64)> = Vec::new();
    for round in 0..ROUNDS {
        assert_eq!(guest.ask("run 65536"), next, "round {round}");
        let owned = owned(&guest, &taken);
        let stayed: Vec<_> = owned.iter().filter(|it| former.contains(it)).collect();
        assert!(stayed.is_empty(), "round {round}: {stayed:x?}");
        former = owned;
        all.push(taken.put_back(&guest));
    }
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    eprintln!("an interpreter, medians: {:?}", medians(&all));
}

/// The same pages written in states of any size: what is exchanged does not grow with the state.
/// Prints figures; with `USHER_COUNT` so many put-backs each, and up to a gigabyte.
#[test]
fn what_a_swap_takes_by_the_size_of_the_state() {
    let count = std::env::var("USHER_COUNT").map(|count| count.parse().unwrap());
    let largest = if count.is_ok() { 1 << 30 } else { 64 << 20 };
    let states = [64 << 10, 1 << 20, 64 << 20, 1_u64 << 30];
    let mut pages = Vec::new();
    for state in states.into_iter().filter(|state| *state <= largest) {
        let mut guest = Guest::start();
        assert!(guest.ask(&format!("state {state}")) > 0);
        let mut taken = guest.taken().swapped();
        let all: Vec<_> = (0..count.clone().unwrap_or(11))
            .map(|_| {
                assert_eq!(guest.ask("dirty 65536"), 2);
                taken.put_back(&guest)
            })
            .collect();
        let medians = medians(&all);
        eprintln!("{state} bytes of state, medians: {medians:?}");
        pages.push(medians.swapped_pages);
    }
    let (most, least) = (pages.iter().max().unwrap(), pages.iter().min().unwrap());
    assert!(*least >= 16 && most - least < 16, "{pages:?}");
}
