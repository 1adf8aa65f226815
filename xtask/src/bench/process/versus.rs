//! Rows P2, P4 and P5: throughput of one program by every arm, in turn, over the work of its
//! handler, the memory that it changes, and the number of connections.
//!
//! What is judged is measured in all rounds, what is only shown in a short one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::super::Plan;
use super::super::row::{Figure, Goal, Latency, Row};
use super::super::server::Server;
use super::super::turns::{self, Measured, Servers};
use super::arm::Arm;
use super::filling::Fillings;
use super::program::Program;
use super::stage::Stage;
use super::work::Work;

/// The rows.
pub(super) const IDS: [&str; 3] = ["P2", "P4", "P5"];
/// Throughput over never restored by work, with the official Lambda clients.
const GOALS: [(u32, f64); 4] = [(0, 0.5), (1, 0.75), (5, 0.95), (20, 0.98)];
/// Over fork per request from a warm parent without work, and with 100 MiB of imports.
const GOAL_FORK: f64 = 3.0;
const GOAL_FORK_BIG: f64 = 20.0;
/// Over a process per request without work, by language.
const GOAL_CGI_PYTHON: f64 = 20.0;
const GOAL_CGI_NODE: f64 = 100.0;
/// The one work, in milliseconds, at which everything is shown.
const MIDDLE_WORK_MS: u32 = 5;
/// Memory that a handler changes, in KiB.
const DIRTY_KIB: [u32; 2] = [1 << 10, 16 << 10];
/// Connections of the rows.
const CONNECTIONS: u32 = 16;
/// A round of what is shown and not judged, and the warming before it, in milliseconds.
const SHOWN_ROUND_MS: u64 = 1_000;
const SHOWN_WARM_MS: u64 = 300;
/// Figures of the whole machine beyond this many times the server's, and this many microseconds,
/// are told.
const UNSEEN_TIMES: f64 = 1.3;
const UNSEEN_US: f64 = 50.0;

/// One measurement: how much work, a byte of each page of how much memory changed, how many
/// connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    work_ms: u32,
    dirty_kib: u32,
    connections: u32,
}

impl Cell {
    /// Without work or changes, by many: the figure that comes first.
    fn is_plain(self) -> bool {
        (self.work_ms, self.dirty_kib, self.connections) == (0, 0, CONNECTIONS)
    }
}

/// Ours over a baseline.
struct Pair {
    id: &'static str,
    ours: Arm,
    baseline: Arm,
}

const fn pair(id: &'static str, ours: Arm, baseline: Arm) -> Pair {
    Pair { id, ours, baseline }
}

const PAIRS: [Pair; 6] = [
    pair("P2", Arm::OursKept, Arm::Bare),
    pair("P2", Arm::OursKept, Arm::Copies),
    pair("P2", Arm::Ours, Arm::OursKept),
    pair("P2", Arm::Ours, Arm::OursUnwarmed),
    pair("P4", Arm::Ours, Arm::Zygote),
    pair("P5", Arm::Ours, Arm::Cgi),
];

/// Measures one program by all its arms.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    stage.program(program)?;
    let wanted = Arm::ALL.into_iter().filter(|arm| arm.runs(program));
    let mut wanted: Vec<Arm> = wanted
        .filter(|arm| is_wanted(plan, program, *arm))
        .collect();
    let mut servers: Servers<Arm> = Servers::new();
    let mut work = Work::NONE;
    if wanted.contains(&Arm::Bare) {
        wanted.retain(|arm| *arm != Arm::Bare);
        let bare = Arm::Bare.start(stage, program, &[])?;
        work = Work::of(&bare)?;
        servers.insert(Arm::Bare, Ok(bare));
    }
    let warm_up = work.warm_up(program);
    for arm in wanted {
        let started = arm.start(stage, program, &warm_up);
        servers.insert(arm, started.map_err(|error| format!("{error:#}")));
    }
    let mut rows: Vec<Row> = (servers.iter())
        .filter(|(arm, _)| arm.is_ours())
        .filter_map(|(arm, server)| Some((arm, server.as_ref().err()?)))
        .map(|(arm, why)| {
            let what = format!("{}, {}", program.name(), arm.name());
            Row::new("P2", what, "not measured").noted(why).unmeasured()
        })
        .collect();
    for cell in cells(plan, program) {
        let path = work.path(cell.work_ms, cell.dirty_kib);
        let plan = plan_of(plan, program, cell);
        let fillings = Fillings::new()?;
        let fill = |arm, server: &Server| {
            fillings.before_round(arm, server, &path, cell.connections);
        };
        let takes_part = |arm| takes_part(arm, cell);
        let measured = turns::rounds(
            &plan,
            &mut servers,
            takes_part,
            fill,
            &path,
            cell.connections,
        );
        for (arm, server) in &servers {
            if let Ok(server) = server {
                fillings.look(*arm, server);
            }
        }
        rows.extend(rows_of(program, cell, &measured, &fillings.notes()));
    }
    Ok(rows)
}

/// The bare program takes part wherever there is work: it says what a millisecond of it is.
fn is_wanted(plan: &Plan, program: Program, arm: Arm) -> bool {
    if program == Program::PythonBig {
        return plan.wants("P4") && matches!(arm, Arm::Ours | Arm::Zygote);
    }
    if plan.quick && arm == Arm::Copies {
        return false;
    }
    let is_of = |pair: &&Pair| pair.ours == arm || pair.baseline == arm;
    let mut ids = PAIRS.iter().filter(is_of).map(|pair| pair.id);
    arm == Arm::Bare || ids.any(|id| plan.wants(id))
}

/// One connection first: it is to find the environments that one connection needs.
fn cells(plan: &Plan, program: Program) -> Vec<Cell> {
    let cell = |work_ms, connections| Cell {
        work_ms,
        dirty_kib: 0,
        connections,
    };
    let plain = cell(0, CONNECTIONS);
    let dirty = |dirty_kib| Cell { dirty_kib, ..plain };
    if plan.quick || program == Program::PythonBig {
        return vec![plain];
    }
    // What is judged by its work is measured with all of it, others in the middle.
    let works = GOALS.map(|(work_ms, _)| work_ms).into_iter();
    let works = works.filter(|ms| program.is_lambda() || [0, MIDDLE_WORK_MS].contains(ms));
    let alone = [cell(0, 1)].into_iter();
    let many = works.map(|work_ms| cell(work_ms, CONNECTIONS));
    alone.chain(many).chain(DIRTY_KIB.map(dirty)).collect()
}

/// Who is compared with whom only in some cells takes part only there.
fn takes_part(arm: Arm, cell: Cell) -> bool {
    match arm {
        Arm::OursUnwarmed => cell.is_plain(),
        Arm::Copies | Arm::Cgi => cell.dirty_kib == 0,
        Arm::Zygote | Arm::Bare | Arm::OursKept | Arm::Ours => true,
    }
}

/// Short where nothing is judged.
fn plan_of(plan: &Plan, program: Program, cell: Cell) -> Plan {
    let is_judged = |pair: &Pair| goal(pair, program, cell).is_some();
    match PAIRS.iter().any(is_judged) {
        true => plan.clone(),
        false => Plan {
            rounds: 1,
            round: plan.round.min(Duration::from_millis(SHOWN_ROUND_MS)),
            warm: plan.warm.min(Duration::from_millis(SHOWN_WARM_MS)),
            ..plan.clone()
        },
    }
}

/// With one more note.
fn with_note(mut row: Row, note: Option<String>) -> Row {
    let notes: Vec<String> = row.note.take().into_iter().chain(note).collect();
    row.note = (!notes.is_empty()).then(|| notes.join("; "));
    row
}

fn rows_of(
    program: Program,
    cell: Cell,
    measured: &BTreeMap<Arm, Measured>,
    notes: &BTreeMap<Arm, String>,
) -> Vec<Row> {
    let there = |arm: Arm| measured.get(&arm).is_some_and(Result::is_ok);
    let mut rows = Vec::new();
    for pair in PAIRS {
        let (ours, baseline) = (pair.ours, pair.baseline);
        let asked = measured.contains_key(&ours) && measured.contains_key(&baseline);
        if asked && (there(ours) || !baseline.is_ours()) {
            let row = throughput(&pair, program, cell, measured);
            let row = with_note(row, notes.get(&ours).cloned());
            let row = with_note(row, notes.get(&baseline).cloned());
            // What is wrong with ours is told once, by a row of its own.
            rows.push(if there(baseline) {
                row
            } else {
                row.unmeasured()
            });
        }
    }
    rows
}

fn throughput(
    pair: &Pair,
    program: Program,
    cell: Cell,
    measured: &BTreeMap<Arm, Measured>,
) -> Row {
    let metric = format!("{}, {}", program.name(), words(cell));
    let named = |arm: Arm| (arm, arm.name());
    let latency = |arm| {
        let of = |of| turns::figure(measured, arm, of);
        Some(Latency {
            p50_us: of(|sample| sample.p50_us)?.median,
            p99_us: of(|sample| sample.p99_us)?.median,
        })
    };
    let (ours, baseline) = (named(pair.ours), named(pair.baseline));
    let row = turns::row(pair.id, metric, measured, ours, baseline)
        .latency(latency(pair.ours), latency(pair.baseline));
    let unseen = [ours, baseline].map(|(arm, name)| unseen(measured.get(&arm), name));
    let row = unseen.into_iter().fold(row, with_note);
    match goal(pair, program, cell) {
        Some(goal) if row.ours.is_some() => row.judged(Goal::TimesAtLeast(goal)),
        _ if cell.is_plain() => row.headline(),
        _ => row,
    }
}

/// How many times the baseline ours is to be, where anything is asked for.
fn goal(pair: &Pair, program: Program, cell: Cell) -> Option<f64> {
    if cell.connections != CONNECTIONS || cell.dirty_kib != 0 {
        return None;
    }
    let by_work = || GOALS.iter().find(|(work, _)| *work == cell.work_ms);
    match (pair.id, pair.baseline, program) {
        ("P2", Arm::OursKept, lambda) if lambda.is_lambda() => by_work().map(|(_, goal)| *goal),
        ("P4", _, Program::Python) if cell.work_ms == 0 => Some(GOAL_FORK),
        ("P4", _, Program::PythonBig) if cell.work_ms == 0 => Some(GOAL_FORK_BIG),
        ("P5", _, Program::Python) if cell.work_ms == 0 => Some(GOAL_CGI_PYTHON),
        ("P5", _, Program::Node) if cell.work_ms == 0 => Some(GOAL_CGI_NODE),
        _ => None,
    }
}

/// What the machine did beside the processes that are known to be the server's.
fn unseen(measured: Option<&Measured>, name: &str) -> Option<String> {
    let samples = measured?.as_ref().ok()?;
    let of = |of: fn(&_) -> f64| Figure::of(samples.iter().map(of)).map(|it| it.median);
    let (own, all) = (of(|it| it.cpu_us)?, of(|it| it.machine_us)?);
    (all > own * UNSEEN_TIMES + UNSEEN_US)
        .then(|| format!("{name}: {own:.0} µs of processor time per request, the machine {all:.0}"))
}

fn words(cell: Cell) -> String {
    let work = match (cell.work_ms, cell.dirty_kib) {
        (0, 0) => "no work".to_owned(),
        (0, kib) => format!("{kib} KiB changed"),
        (ms, _) => format!("{ms} ms of work"),
    };
    match cell.connections {
        1 => format!("{work}, 1 connection"),
        many => format!("{work}, {many} connections"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::super::load::Sample;
    use super::*;

    const PLAIN: Cell = Cell {
        work_ms: 0,
        dirty_kib: 0,
        connections: CONNECTIONS,
    };

    fn at(rps: f64) -> Measured {
        let sample = Sample {
            rps,
            p50_us: 1e6 / rps,
            ..Sample::default()
        };
        Ok(vec![sample; 3])
    }

    #[test]
    fn a_program_is_compared_by_what_was_measured() {
        let gone = || Err("gone".to_owned());
        let measured = BTreeMap::from([
            (Arm::Bare, at(100.0)),
            (Arm::OursKept, gone()),
            (Arm::Ours, gone()),
            (Arm::Cgi, at(10.0)),
        ]);
        let rows = rows_of(Program::Node, PLAIN, &measured, &BTreeMap::new());
        let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        // Nothing of ours is there, but the baselines are shown.
        assert_eq!(ids, ["P2", "P5"]);
        assert_eq!((rows[0].ours, rows[0].baseline), (None, Some(100.0)));
        assert!(
            rows.iter()
                .all(|row| row.goal.is_none() && !row.is_missing())
        );
        assert_eq!(rows[0].note.as_deref(), Some("usher, isolation none: gone"));
    }

    #[test]
    fn lambda_functions_that_are_renewed_are_judged_by_their_work() {
        let measured = BTreeMap::from([(Arm::OursKept, at(100.0)), (Arm::Ours, at(74.0))]);
        let row = |work_ms| {
            let cell = Cell { work_ms, ..PLAIN };
            let notes = BTreeMap::from([(Arm::OursKept, "slow".to_owned())]);
            let row = rows_of(Program::NodeLambda, cell, &measured, &notes)
                .pop()
                .unwrap();
            assert!(row.note.as_ref().unwrap().contains("slow"));
            row
        };
        assert_eq!((row(0).goal, row(0).held), (Some(0.5), Some(true)));
        assert_eq!((row(1).goal, row(1).held), (Some(0.75), Some(false)));
    }

    #[test]
    fn what_is_judged_is_measured_in_all_rounds() {
        let plan = Plan {
            quick: false,
            rows: Vec::new(),
            rounds: 3,
            round: Duration::from_secs(2),
            round_max: Duration::from_secs(8),
            warm: Duration::from_secs(1),
            probes: 0,
        };
        let rounds = |program| {
            let cells = cells(&plan, program).into_iter();
            let whole = cells.filter(|cell| plan_of(&plan, program, *cell).rounds == plan.rounds);
            let whole: Vec<u32> = whole.map(|cell| cell.work_ms).collect();
            whole
        };
        assert_eq!(rounds(Program::NodeLambda), [0, 1, 5, 20]);
        assert_eq!(rounds(Program::Python), [0]);
        assert!(rounds(Program::C).is_empty());
        let cells = cells(&plan, Program::Python);
        assert_eq!(cells[0].connections, 1);
        let short = plan_of(&plan, Program::Python, cells[0]);
        assert!(short.round < plan.round && short.warm < plan.warm);
    }

    #[test]
    fn what_the_machine_did_beside_a_server_is_told() {
        let sample = |machine_us| Sample {
            cpu_us: 100.0,
            machine_us,
            ..Sample::default()
        };
        let told = |machine_us| unseen(Some(&Ok(vec![sample(machine_us)])), "a").is_some();
        assert_eq!([told(150.0), told(200.0)], [false, true]);
    }
}
