//! Clients, processors and environments in virtual time: what twins do to the wait, and that there
//! are none where the processors are busy anyway.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use usher_core::environment::Policy;
use usher_core::function::Twins;
use usher_core::id::EnvironmentId;
use usher_core::keep::twin::{Facts, Host, judge};
use usher_core::start::{Acquired, Bounds, Moves, Pool, Served, Ticket};

/// One step, in microseconds.
const STEP_US: u64 = 10;
/// The whole, in microseconds; the last half of it is looked at.
const WHOLE_US: u64 = 8_000_000;
/// How often it is judged, in microseconds.
const ROUND_US: u64 = 1_000_000;
const START_US: u64 = 20_000;

/// What is simulated.
#[derive(Clone, Copy)]
struct Case {
    clients: usize,
    processors: u64,
    /// A run, which needs a processor or waits for something else.
    run_us: u64,
    computes: bool,
    renew_us: u64,
    /// From a reply until the same client's next request.
    pause_us: u64,
    twins: Twins,
}

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Run { client: usize },
    Renewal { since_us: u64 },
    Start,
}

/// Work on a processor, or a wait for something else.
struct Job {
    doing: Doing,
    environment: EnvironmentId,
    /// In thousandths of a microsecond.
    left: u64,
    computes: bool,
}

#[derive(Clone, Copy)]
enum Client {
    Pauses { until_us: u64 },
    Waits { since_us: u64 },
    Runs,
}

struct World {
    case: Case,
    now_us: u64,
    pool: Pool,
    jobs: Vec<Job>,
    clients: Vec<Client>,
    tickets: BTreeMap<Ticket, usize>,
    made: u64,
    /// What each request waited, in microseconds, and which environment served it.
    served: Vec<(u64, EnvironmentId)>,
    /// Processor time not used since the last round, in thousandths of a microsecond.
    idle: u64,
}

#[derive(Debug)]
struct Outcome {
    /// Median of the waits in the second half.
    wait_us: u64,
    requests: usize,
    environments: usize,
    /// Requests in a row that the same environment served.
    same: usize,
}

impl World {
    fn new(case: Case) -> Self {
        let many = NonZeroUsize::new(64).expect("not zero");
        Self {
            case,
            now_us: 0,
            pool: Pool::new(Bounds {
                environments_max: many,
                starts_parallel_max: many,
                waiting_max: 1_000,
            }),
            jobs: Vec::new(),
            clients: vec![Client::Pauses { until_us: 0 }; case.clients],
            tickets: BTreeMap::new(),
            made: 0,
            served: Vec::new(),
            idle: 0,
        }
    }

    fn job(&mut self, doing: Doing, environment: EnvironmentId) {
        let (left_us, computes) = match doing {
            Doing::Run { .. } => (self.case.run_us, self.case.computes),
            Doing::Renewal { .. } => (self.case.renew_us, true),
            Doing::Start => (START_US, true),
        };
        self.jobs.push(Job {
            doing,
            environment,
            left: left_us * 1_000,
            computes,
        });
    }

    fn run(&mut self, client: usize, environment: EnvironmentId, waited_us: u64) {
        self.served.push((waited_us, environment));
        self.clients[client] = Client::Runs;
        self.job(Doing::Run { client }, environment);
    }

    /// `renewing_since_us`: of the environment that is served.
    fn carry_out(&mut self, moves: Moves, renewing_since_us: Option<u64>) {
        for _ in 0..moves.starts {
            self.job(Doing::Start, EnvironmentId(0));
        }
        let Some(Served {
            ticket,
            environment,
            renewal_wait_us,
            ..
        }) = moves.serve
        else {
            return;
        };
        let client = self.tickets.remove(&ticket).expect("it waits");
        let Client::Waits { since_us } = self.clients[client] else {
            panic!("client {client} does not wait");
        };
        // What the pool has measured is what can be seen from here.
        let measured =
            renewing_since_us.map_or(0, |renewing_us| self.now_us - renewing_us.max(since_us));
        assert_eq!(renewal_wait_us, measured);
        self.run(client, environment, self.now_us - since_us);
    }

    fn ask(&mut self, client: usize) {
        match self.pool.acquire(self.now_us) {
            Acquired::Taken(environment) => self.run(client, environment, 0),
            Acquired::Waits { ticket, moves } => {
                let since_us = self.now_us;
                self.clients[client] = Client::Waits { since_us };
                self.tickets.insert(ticket, client);
                self.carry_out(moves, None);
            }
            Acquired::Refused => panic!("refused"),
        }
    }

    /// Shares the processors out for one step, and carries out what is done.
    fn work(&mut self) {
        let computing = self.jobs.iter().filter(|job| job.computes).count() as u64;
        let (step, processors) = (STEP_US * 1_000, self.case.processors);
        self.idle += step * processors.saturating_sub(computing);
        let share = step * processors.min(computing) / computing.max(1);
        for job in &mut self.jobs {
            let part = if job.computes { share } else { step };
            job.left = job.left.saturating_sub(part);
        }
        self.now_us += STEP_US;
        let (done, left) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job| job.left == 0);
        self.jobs = left;
        let done: Vec<Job> = done;
        for job in done {
            self.end(&job);
        }
    }

    fn end(&mut self, job: &Job) {
        let now_us = self.now_us;
        match job.doing {
            Doing::Run { client } => {
                let renewing = self.pool.renewing(job.environment, now_us);
                renewing.expect("it is out");
                self.job(Doing::Renewal { since_us: now_us }, job.environment);
                let until_us = now_us + self.case.pause_us;
                self.clients[client] = Client::Pauses { until_us };
            }
            Doing::Renewal { since_us } => {
                let moves = self.pool.released(job.environment, now_us);
                self.carry_out(moves.expect("it is out"), Some(since_us));
            }
            Doing::Start => {
                self.made += 1;
                let moves = self.pool.started(EnvironmentId(self.made), now_us);
                self.carry_out(moves, None);
            }
        }
    }

    fn judge(&mut self) {
        let idle_millis = self.idle / ROUND_US;
        self.idle = 0;
        let why = judge(&Facts {
            policy: Policy::AfterRun,
            twins: self.case.twins,
            counts: self.pool.counts(),
            environments_max: 64,
            figures: self.pool.figures(self.now_us),
            memory_max_mib: 1,
            start_failed: false,
            host: Host {
                processors_millis: self.case.processors * 1_000,
                idle_millis: Some(idle_millis),
                memory_mib: 100,
                memory_free_mib: 100,
            },
        });
        if why.judged() {
            self.pool.judged();
        }
        if why.starts() && self.pool.start_ahead() {
            self.job(Doing::Start, EnvironmentId(0));
        }
    }
}

fn simulate(case: Case) -> Outcome {
    let mut world = World::new(case);
    let mut half = 0;
    while world.now_us < WHOLE_US {
        for client in 0..case.clients {
            if let Client::Pauses { until_us } = world.clients[client]
                && until_us <= world.now_us
            {
                world.ask(client);
            }
        }
        world.work();
        if world.now_us.is_multiple_of(ROUND_US) {
            world.judge();
        }
        if world.now_us == WHOLE_US / 2 {
            half = world.served.len();
        }
    }
    let late = world.served.split_off(half);
    let same = late.windows(2).filter(|pair| pair[0].1 == pair[1].1);
    let same = same.count();
    let mut waits: Vec<u64> = late.iter().map(|(wait_us, _)| *wait_us).collect();
    waits.sort_unstable();
    Outcome {
        wait_us: waits[waits.len() / 2],
        requests: waits.len(),
        environments: world.pool.counts().environments(),
        same,
    }
}

const ALONE: Case = Case {
    clients: 1,
    processors: 2,
    run_us: 1_000,
    computes: true,
    renew_us: 700,
    pause_us: 100,
    twins: Twins::Auto,
};

#[test]
fn one_client_waits_for_each_renewal_without_a_twin_and_for_none_with_one() {
    let off = simulate(Case {
        twins: Twins::Off,
        ..ALONE
    });
    assert_eq!((off.environments, off.wait_us), (1, 600), "{off:?}");
    assert_eq!(off.same, off.requests - 1, "{off:?}");
    let on = simulate(ALONE);
    assert_eq!((on.environments, on.wait_us), (2, 0), "{on:?}");
    assert_eq!(on.same, 0, "they take turns: {on:?}");
    assert!(on.requests * 10 > off.requests * 15, "{on:?} {off:?}");
}

#[test]
fn eight_clients_on_two_processors_get_no_twins() {
    let case = Case {
        clients: 8,
        ..ALONE
    };
    let (auto, always) = (
        simulate(case),
        simulate(Case {
            twins: Twins::Always,
            ..case
        }),
    );
    assert_eq!(auto.environments, 8, "{auto:?}");
    // The control: with them as much is done, because the work is the same.
    assert!(always.environments > 8, "{always:?}");
    assert!(
        always.requests * 100 <= auto.requests * 102,
        "{always:?} {auto:?}"
    );
}

#[test]
fn two_clients_that_keep_two_processors_busy_get_no_twins() {
    let case = Case {
        clients: 2,
        pause_us: 0,
        ..ALONE
    };
    assert_eq!(simulate(case).environments, 2);
}

#[test]
fn clients_whose_functions_wait_for_others_get_twins_where_processors_are_free() {
    let case = Case {
        clients: 4,
        processors: 8,
        run_us: 5_000,
        computes: false,
        renew_us: 3_000,
        ..ALONE
    };
    let off = simulate(Case {
        twins: Twins::Off,
        ..case
    });
    let on = simulate(case);
    assert_eq!(off.environments, 4, "{off:?}");
    assert!(off.wait_us > 2_000, "{off:?}");
    assert!((5..=8).contains(&on.environments), "{on:?}");
    assert_eq!(on.wait_us, 0, "{on:?}");
}

#[test]
fn who_pauses_longer_than_a_renewal_takes_gets_no_twin() {
    let case = Case {
        pause_us: 800,
        ..ALONE
    };
    let alone = simulate(case);
    assert_eq!((alone.environments, alone.wait_us), (1, 0), "{alone:?}");
}
