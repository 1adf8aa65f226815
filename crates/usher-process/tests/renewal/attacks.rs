//! Every attack is found where state is kept, and none where it is not.
//!
//! `USHER_COUNT` says how many rounds each mixed sequence has; `USHER_SEED` repeats one.

use std::collections::BTreeMap;
use std::time::Instant;

use usher_api::node::Mode;
use usher_core::function::Isolation;
use usher_core::proof::Renewal;

use crate::chance::Chance;
use crate::channels::{
    C, COUNTERS, Channel, Kept, NOT_RENEWABLE, REPLACED, REPLACED_BEFORE, UNSCANNED, kept_of_told,
};
use crate::rig::{Guest, Image, Rig, Seat, Told, count};
use crate::scan::{Depth, Fingerprint, Needles, hits};
use crate::secret::Secret;

/// Rounds of a mixed sequence where nothing is told.
const ROUNDS: u64 = 12;
/// A program that is new for each run is looked at from outside this seldom.
const NEW_SCANNED_EVERY: u64 = 8;
/// The scan comes after each of the first rounds, and then after every so many.
const SCANNED_FIRST: u64 = 8;
const SCANNED_EVERY: u64 = 16;

/// What came of one channel in a program whose state is kept.
struct Tried {
    planted: Option<Told>,
    looked: Option<Told>,
    /// What is seen from outside: the secret, or what the kernel holds.
    scanned: Vec<String>,
}

/// Plants in a program whose state is kept, and looks.
async fn try_kept(image: &Image, channel: &str, secret: &Secret, scan: bool) -> Tried {
    let mut seat = image.seat().await;
    let first = seat.look(channel).await.unwrap();
    assert!(first.is_clean(), "{channel}: a new program says {first:?}");
    let pid = seat.pid().unwrap();
    let before = scan.then(|| Fingerprint::settled(pid, Depth::Kernel));
    let planted = seat.plant(channel, &secret.hex()).await;
    let mut scanned = Vec::new();
    if let Some(before) = before {
        scanned = before.differences(&Fingerprint::settled(pid, Depth::Kernel));
        scanned.extend(hits(pid, &Needles::planted(secret.bytes())));
    }
    let looked = seat.look(channel).await;
    Tried {
        planted,
        looked,
        scanned,
    }
}

/// Why what came of a channel is not what was expected.
fn wrong(tried: &Tried, kept: Kept) -> Option<String> {
    let planted = tried.planted.as_ref().map(|told| told.told.as_str());
    let looked = tried.looked.as_ref().map(|told| told.told.as_str());
    let found = looked.is_some_and(|looked| looked.starts_with("found "));
    let denied_by = |errors: &[&str]| {
        let error = planted.and_then(|planted| planted.strip_prefix("denied "));
        error.is_some_and(|error| errors.contains(&error))
    };
    let done = planted == Some("planted");
    let well = match kept {
        Kept::Seen => done && found,
        Kept::Perhaps(errors) => (done && found) || denied_by(errors),
        Kept::Denied(errors) => denied_by(errors) && looked == Some("clean"),
        Kept::Shut => done && looked == Some("clean"),
        Kept::Raced => done,
        // The run fails, or the program has gone before, and another one answers.
        Kept::Ends => done && tried.looked.as_ref().is_none_or(|told| told.calls == 1),
    };
    let told = format!("{kept:?} expected, but {planted:?} and then {looked:?}");
    (!well).then_some(told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attack_is_found_with_renewal_off() {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let plain = rig.hostile(Guest::C, Isolation::None, "").await;
    let mut bad = Vec::new();
    for channel in C {
        for &before in channel.ways() {
            let image = match before {
                true => rig.hostile(Guest::C, Isolation::None, channel.name).await,
                false => plain.clone(),
            };
            let (name, kept) = (channel.name, channel.kept(before));
            let scan = kept == Kept::Seen && !UNSCANNED.contains(&name);
            let tried = try_kept(&image, name, &Secret::new(&mut chance), scan).await;
            let why = wrong(&tried, kept);
            bad.extend(why.map(|why| format!("{name}, before: {before}: {why}")));
            if scan && tried.scanned.is_empty() {
                bad.push(format!(
                    "{name}, before: {before}: the scanner sees nothing"
                ));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The control of what is compared only where a program is put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scanner_sees_pages_registers_and_connections() {
    let rig = Rig::new();
    let secret = Secret::new(&mut Chance::new());
    let image = rig.hostile(Guest::C, Isolation::None, "").await;
    for (channel, seen) in [
        ("static", "page "),
        ("rounding", "registers "),
        ("gs-base", "registers "),
        ("half-read", "descriptor "),
    ] {
        let mut seat = image.seat().await;
        let pid = seat.pid().unwrap();
        let before = Fingerprint::settled(pid, Depth::Whole);
        let again = Fingerprint::settled(pid, Depth::Whole);
        assert_eq!(
            before.differences(&again),
            Vec::<String>::new(),
            "of nothing"
        );
        seat.plant(channel, &secret.hex()).await;
        let differences = before.differences(&Fingerprint::settled(pid, Depth::Whole));
        let is_seen = differences.iter().any(|told| told.starts_with(seen));
        assert!(is_seen, "{channel}: {differences:?}");
    }
}

/// Channels of a program that tells them itself: all of them are seen where state is kept.
async fn told_channels(image: &Image) -> Vec<String> {
    let told = image.seat().await.ask("/channels").await.told;
    told.split(' ').map(str::to_owned).collect()
}

async fn each_is_found(guest: Guest) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(guest, Isolation::None, "").await;
    let mut bad = Vec::new();
    for name in told_channels(&image).await {
        let tried = try_kept(&image, &name, &Secret::new(&mut chance), false).await;
        bad.extend(wrong(&tried, kept_of_told(&name)).map(|why| format!("{name}: {why}")));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attack_in_python_is_found_with_renewal_off() {
    each_is_found(Guest::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attack_in_node_is_found_with_renewal_off() {
    each_is_found(Guest::Node).await;
}

/// A seat whose program is compared with what it was before any run, as long as it is the same.
struct Guarded {
    seat: Seat,
    depth: Depth,
    clean: Option<(u32, Fingerprint)>,
    bad: Vec<String>,
    runs: u64,
    /// Whether programs of the image are put back at all.
    put_back: bool,
    /// Channels whose things were made ahead of every run, with commas between them.
    before: String,
    /// How often programs were replaced, and why the first time, by the channel that was planted.
    replaced: BTreeMap<String, (u64, String)>,
    /// How often the programs were put back after each channel.
    back: BTreeMap<String, u64>,
    scans: u64,
}

impl Guarded {
    async fn new(image: &Image, depth: Depth, before: &str) -> Self {
        let renewable = !before.split(',').any(|name| NOT_RENEWABLE.contains(&name));
        let mode = image.mode();
        assert_eq!(mode == Mode::Live, renewable, "before: {before}: {mode:?}");
        let seat = image.seat().await;
        let clean = seat
            .pid()
            .map(|pid| (pid, Fingerprint::settled(pid, depth)));
        Self {
            seat,
            depth,
            clean,
            bad: Vec::new(),
            runs: 0,
            put_back: renewable,
            before: before.to_owned(),
            replaced: BTreeMap::new(),
            back: BTreeMap::new(),
            scans: 0,
        }
    }

    /// Plants in one run, and looks in the next one; between the two it is looked at from outside.
    async fn attack(&mut self, channel: &str, secret: &Secret, scan: bool) {
        let planted = self.seat.plant(channel, &secret.hex()).await;
        self.seat.renewed().await;
        if planted.as_ref().is_none_or(|told| told.calls != 1) {
            self.bad
                .push(format!("{channel}: its plant came to {planted:?}"));
        }
        self.runs += 1;
        self.see_renewal(channel, is_replaced(channel, &self.before));
        if scan && (self.is_put_back() || self.runs % NEW_SCANNED_EVERY == 1) {
            self.scan(channel, secret);
        }
        let Some(looked) = self.seat.look(channel).await else {
            self.bad.push(format!("{channel}: the run after it failed"));
            return;
        };
        self.seat.renewed().await;
        self.see_renewal(channel, Some(false));
        if (!looked.is_clean() && !self.may_be_seen(channel)) || looked.calls != 1 {
            self.bad
                .push(format!("{channel}: the run after it says {looked:?}"));
        }
        let requests = self.seat.served.len() as u128;
        if self.seat.output.of(requests).contains(&secret.hex()) {
            self.bad
                .push(format!("{channel}: it stands in the next run's log"));
        }
    }

    /// Notes how the latest renewal went, which must be as the law has it, if that is known: a
    /// mechanism that never puts back would leave nothing either.
    fn see_renewal(&mut self, channel: &str, replaced: Option<bool>) {
        if !self.put_back {
            return;
        }
        let because = self.seat.replaced_because.clone();
        match (because, replaced) {
            (Some(because), None | Some(true)) => {
                let of = self.replaced.entry(channel.to_owned());
                of.or_insert((0, because)).0 += 1;
            }
            (None, None | Some(false)) => {
                *self.back.entry(channel.to_owned()).or_default() += 1;
            }
            (Some(because), Some(false)) => self.bad.push(format!("{channel}: {because}")),
            (None, Some(true)) => {
                let told = format!("{channel}: it was put back, and not found");
                self.bad.push(told);
            }
        }
    }

    fn may_be_seen(&self, channel: &str) -> bool {
        self.is_put_back() && COUNTERS.contains(&channel)
    }

    /// Whether the latest run was that of a program which was put back, rather than of a new one.
    fn is_put_back(&self) -> bool {
        let last = self.seat.served.last();
        matches!(last, Some(Renewal::InPlace | Renewal::Swap))
    }

    fn scan(&mut self, channel: &str, secret: &Secret) {
        self.scans += 1;
        let Some(pid) = self.seat.pid() else {
            return;
        };
        let found = hits(pid, &Needles::of(secret.bytes()));
        self.bad.extend(
            found
                .iter()
                .map(|place| format!("{channel}: the secret is in {place}")),
        );
        match &self.clean {
            Some((before, clean)) if *before == pid => {
                let differences = clean.differences(&Fingerprint::settled(pid, self.depth));
                let told = differences.iter().map(|told| format!("{channel}: {told}"));
                self.bad.extend(told);
            }
            // Where every program is new, a look at it proves nothing more than its start does.
            _ if self.is_put_back() => {
                self.clean = Some((pid, Fingerprint::settled(pid, self.depth)));
            }
            _ => self.clean = None,
        }
    }

    /// Whether the program works as one does that has done nothing.
    async fn works(&mut self) {
        let told = self.seat.ask("/answer").await;
        if told.told != "works" || told.calls != 1 {
            self.bad.push(format!("it says {told:?}"));
        }
    }

    fn end(mut self) -> Tally {
        // Each run is put back but the first one, and those after which somebody said why not.
        let others = self
            .seat
            .served
            .iter()
            .filter(|it| !matches!(it, Renewal::InPlace | Renewal::Swap));
        let replaced: u64 = self.replaced.values().map(|(times, _)| times).sum();
        if self.put_back && others.count() as u64 > 1 + replaced {
            let told = format!("not put back: {:?}", self.seat.served);
            self.bad.push(told);
        }
        let mut tally = BTreeMap::new();
        for renewal in self.seat.served {
            *tally.entry(format!("{renewal:?}")).or_default() += 1;
        }
        for (channel, (times, because)) in self.replaced {
            println!("replaced after {channel} ({times} times): {because}");
        }
        let back: u64 = self.back.values().sum();
        println!("put back {back} times, scanned {} times", self.scans);
        Tally(tally, self.bad)
    }
}

/// How runs had become clean, and what was wrong.
struct Tally(BTreeMap<String, u64>, Vec<String>);

impl Tally {
    fn check(&self, what: &str) {
        println!("{what}: {:?}", self.0);
        let shown = &self.1[..self.1.len().min(40)];
        assert!(
            shown.is_empty(),
            "{what}: {} faults\n{}",
            self.1.len(),
            shown.join("\n")
        );
    }
}

/// Whether a program in which the channel was used is replaced, for all that `before` names; none
/// where it depends on whether another channel has made the same thing ahead.
fn is_replaced(channel: &str, before: &str) -> Option<bool> {
    let was_before = || before.split(',').any(|name| name == channel);
    match REPLACED_BEFORE.contains(&channel) {
        true if was_before() => Some(true),
        true if !before.is_empty() => None,
        _ => Some(REPLACED.contains(&channel)),
    }
}

fn depth(guest: Guest) -> Depth {
    match guest {
        Guest::C => Depth::Whole,
        // Fresh randomness makes some pages differ, on purpose.
        Guest::Python | Guest::Node => Depth::Connections,
    }
}

/// What is there ahead of every run without being asked for, of which the law speaks.
fn always_before(guest: Guest) -> &'static str {
    match guest {
        Guest::C | Guest::Node => "",
        Guest::Python => "socketpair",
    }
}

/// When programs are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// As soon as the run is over.
    AfterRun,
    /// When the next one begins; what the program does meanwhile is no run's.
    BeforeRun,
}

async fn none_in_c_survives(when: When) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let plain = rig.hostile(Guest::C, Isolation::Request, "").await;
    let mut plain = Guarded::new(&plain, Depth::Whole, "").await;
    plain.seat.late = when == When::BeforeRun;
    for channel in C {
        let secret = Secret::new(&mut chance);
        plain.attack(channel.name, &secret, true).await;
        if channel.before {
            let own = rig
                .hostile(Guest::C, Isolation::Request, channel.name)
                .await;
            let mut own = Guarded::new(&own, Depth::Whole, channel.name).await;
            own.seat.late = when == When::BeforeRun;
            own.attack(channel.name, &secret, true).await;
            own.end().check(channel.name);
        }
    }
    plain.works().await;
    plain.end().check("plain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_survives() {
    none_in_c_survives(When::AfterRun).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_survives_where_renewal_waits_for_the_next_run() {
    none_in_c_survives(When::BeforeRun).await;
}

async fn none_survives(guest: Guest, when: When) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let image = rig.hostile(guest, Isolation::Request, "").await;
    let names = told_channels(&image).await;
    let mut guarded = Guarded::new(&image, depth(guest), always_before(guest)).await;
    guarded.seat.late = when == When::BeforeRun;
    for name in names {
        guarded.attack(&name, &Secret::new(&mut chance), true).await;
    }
    guarded.works().await;
    guarded.end().check("all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_in_python_survives() {
    none_survives(Guest::Python, When::AfterRun).await;
    none_survives(Guest::Python, When::BeforeRun).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_attack_in_node_survives() {
    none_survives(Guest::Node, When::AfterRun).await;
    none_survives(Guest::Node, When::BeforeRun).await;
}

/// Any attack after any other one, in programs that have made all, some or none of what can be
/// misused.
async fn mixed(guest: Guest, befores: &[String], names: &[&str]) {
    let rig = Rig::new();
    let mut chance = Chance::new();
    let mut seats = Vec::new();
    for before in befores {
        let image = rig.hostile(guest, Isolation::Request, before).await;
        seats.push(Guarded::new(&image, depth(guest), before).await);
    }
    let (begun, rounds) = (Instant::now(), count(ROUNDS));
    for round in 0..rounds {
        let at = usize::try_from(chance.below(seats.len() as u64)).unwrap();
        let scan = round < SCANNED_FIRST || round % SCANNED_EVERY == 0;
        let secret = Secret::new(&mut chance);
        let seat = &mut seats[at];
        let name: &&str = chance.of(names);
        seat.attack(name, &secret, scan).await;
        if chance.below(8) == 0 {
            seat.works().await;
        }
        assert!(
            seat.bad.is_empty(),
            "round {round}: {}",
            seat.bad.join("\n")
        );
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = rounds as f64 / seconds;
    println!("{rounds} rounds of two runs, 0 hits, {rate:.1} rounds a second");
    for (seat, before) in seats.into_iter().zip(befores) {
        seat.end().check(&format!("before: {before}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_attacks_survives() {
    let mut chance = Chance::new();
    let able: Vec<&str> = C
        .iter()
        .filter(|it| it.before)
        .map(|it: &Channel| it.name)
        .collect();
    let some: Vec<&str> = able
        .iter()
        .copied()
        .filter(|_| chance.below(2) == 0)
        .collect();
    let befores = [
        String::new(),
        renewable(&some),
        renewable(&able),
        some.join(","),
    ];
    let names: Vec<&str> = C.iter().map(|channel| channel.name).collect();
    mixed(Guest::C, &befores, &names).await;
}

/// Those of them with which a program can be put back.
fn renewable(befores: &[&str]) -> String {
    let can = |name: &&&str| !NOT_RENEWABLE.contains(*name);
    let befores: Vec<&str> = befores.iter().filter(can).copied().collect();
    befores.join(",")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_attacks_in_python_survives() {
    mixed_told(Guest::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_attacks_in_node_survives() {
    mixed_told(Guest::Node).await;
}

async fn mixed_told(guest: Guest) {
    let rig = Rig::new();
    let names = told_channels(&rig.hostile(guest, Isolation::Request, "").await).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    mixed(guest, &[always_before(guest).to_owned()], &names).await;
}
