//! A program that does nothing differs in nothing, however often it is put back.

use std::time::{Duration, Instant};

use super::guest::Guest;
use crate::renewal::stopped::Stopped;

const CYCLES: u32 = 300;

#[test]
fn a_program_at_rest_is_put_back_again_and_again() {
    again_and_again("some of everything", Guest::start());
    again_and_again("as an interpreter", Guest::start_plain());
}

fn again_and_again(name: &str, mut guest: Guest) {
    let mut renewed = guest.take().unwrap();
    let mut spent = [const { Vec::new() }; 3];
    for _ in 0..CYCLES {
        guest.tell("nothing");
        let mut stopped = Stopped::stop(guest.pid).unwrap();
        let begun = Instant::now();
        let batch = renewed.plan(&mut stopped).unwrap();
        let planned = Instant::now();
        let answers = renewed.run(&mut stopped, &batch);
        let ran = Instant::now();
        renewed.done(&mut stopped, &answers).unwrap();
        spent[0].push(planned - begun);
        spent[1].push(ran - planned);
        spent[2].push(ran.elapsed());
        renewed.compare(&mut stopped).unwrap();
        stopped.resume().unwrap();
    }
    let [plan, run, done] = spent.map(|mut all: Vec<Duration>| {
        all.sort();
        format!("{:?} at best, {:?} as a rule", all[0], all[all.len() / 2])
    });
    eprintln!("{name}: plan {plan}; batch {run}; done {done}");
}
