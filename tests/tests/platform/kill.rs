//! `kill -9` at any moment of deployments, roll backs, changes of aliases and writes to a bucket:
//! what was acknowledged holds after the restart, and what was not is there whole or not at all.
//!
//! ```text
//!   up ─► several changers at once, each on its own function ─► so many acknowledged ─► killed
//!    ▲                                                                                    │
//!    └── every function is the acknowledged one, or the one that was under way ◄── up ────┘
//! ```
//!
//! The kinds of change are a list ([`KINDS`]): a further one says what it makes of a [`State`],
//! what is sent for it, and how it is seen ([`seen`]). All changers write to the bucket of one more
//! function ([`KEEPER`]), each under keys of its own.

use std::collections::BTreeMap;

use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_api::client::{Client, ClientError};
use usher_core::id::{FunctionKey, Name};
use usher_core::traffic::Alias;
use usher_core::traffic::wanted::{Revision, Wanted};

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::tiny;

/// Changes that are acknowledged, where nobody asks for another number, and most of them.
const CHANGES: [usize; 2] = [20, 200];
/// Functions that are changed at the same time.
const CHANGERS: usize = 3;
/// Most acknowledgements between a start and a kill.
const BETWEEN_MAX: u64 = 9;
/// What revisions answer, by their contents.
const STATUSES: std::ops::Range<u16> = 210..222;
const ALIASES: [&str; 2] = ["canary", "stable"];
/// The function whose bucket all of them write to.
const KEEPER: &str = "keeper";
/// A number there, to which is added.
const COUNT: &str = "count";
/// What is written over again and again.
const SINGLE: [&str; 2] = ["one", "other"];
/// What is written at once, and then deleted at once, by one request.
const BATCH: [&str; 4] = ["b1", "b2", "b3", "b4"];
/// How often a value repeats its number, so that half of one is told from a whole one.
const REPEATED: usize = 100;

/// What a function should be like. Revisions are named by their numbers, from 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The status that each revision answers with, in the order of their numbers.
    deployed: Vec<u16>,
    live: usize,
    aliases: BTreeMap<&'static str, usize>,
    staged: Option<usize>,
    /// Where a roll back leads. It cannot be seen, and a roll back shows it.
    before: Option<usize>,
    /// What is in the bucket, by keys without the changer's name.
    bucket: BTreeMap<&'static str, String>,
}

/// A kind of change.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Deploy,
    Stage,
    Point,
    Unpoint,
    RollBack,
    Write,
}

/// All of them; those that stand here twice come twice as often.
const KINDS: [Kind; 12] = [
    Kind::Deploy,
    Kind::Write,
    Kind::RollBack,
    Kind::Write,
    Kind::Point,
    Kind::Write,
    Kind::Deploy,
    Kind::Write,
    Kind::Stage,
    Kind::RollBack,
    Kind::Unpoint,
    Kind::Point,
];

/// One change, chosen whole before it is sent.
#[derive(Clone, Debug)]
enum Change {
    Deploy(u16),
    Stage(u16),
    Point(&'static str, usize),
    Unpoint(&'static str),
    RollBack(Option<usize>),
    /// One is added, which makes it this.
    Add(u64),
    Set(&'static str, String),
    Batch(String),
}

/// Why a change was not acknowledged.
enum Failed {
    /// The platform says no, which it has no reason to do.
    Refused(String),
    /// It is gone.
    Gone,
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { .. } => Self::Refused(error.to_string()),
            _ => Self::Gone,
        }
    }
}

/// A generator of numbers that are the same in each run of the test.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % below
    }

    fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap()
    }
}

impl State {
    fn status(&self, number: usize) -> u16 {
        self.deployed[number - 1]
    }

    /// What a new revision is to answer: something else than the newest and the one that serves.
    fn fresh(&self) -> u16 {
        let newest = self.deployed.last().copied().unwrap_or(0);
        let serving = self.deployed.get(self.live.wrapping_sub(1)).copied();
        let mut next = STATUSES
            .cycle()
            .skip_while(|status| *status != newest)
            .skip(1);
        match newest {
            0 => STATUSES.start,
            _ => next.find(|status| Some(*status) != serving).unwrap(),
        }
    }

    /// A change that is possible; a first one can only be a deployment.
    fn choose(&self, dice: &mut Dice) -> Change {
        if self.deployed.is_empty() {
            return Change::Deploy(self.fresh());
        }
        let alias = ALIASES[dice.index(ALIASES.len())];
        // Those are kept whole for certain.
        let recent = self.deployed.len() - dice.index(self.deployed.len().min(5));
        match KINDS[dice.index(KINDS.len())] {
            Kind::Deploy => Change::Deploy(self.fresh()),
            Kind::Stage => Change::Stage(self.fresh()),
            Kind::Point => Change::Point(alias, recent),
            Kind::Unpoint if self.aliases.contains_key(alias) => Change::Unpoint(alias),
            Kind::Unpoint => Change::Point(alias, recent),
            Kind::RollBack
                if self.before.is_some_and(|it| it != self.live) && recent.is_multiple_of(2) =>
            {
                Change::RollBack(None)
            }
            Kind::RollBack => Change::RollBack(Some(recent)),
            Kind::Write => self.write(dice),
        }
    }

    fn write(&self, dice: &mut Dice) -> Change {
        let value = format!("{}.", dice.roll(1 << 30)).repeat(REPEATED);
        match dice.roll(3) {
            0 => Change::Add(self.count() + 1),
            1 => Change::Set(SINGLE[dice.index(SINGLE.len())], value),
            _ => Change::Batch(value),
        }
    }

    fn count(&self) -> u64 {
        self.bucket
            .get(COUNT)
            .map_or(0, |count| count.parse().unwrap())
    }

    /// What the change makes of it.
    fn after(&self, change: &Change) -> Self {
        let mut next = self.clone();
        match change {
            Change::Deploy(status) => {
                next.deployed.push(*status);
                next.go_live(self.deployed.len() + 1);
            }
            Change::Stage(status) => {
                next.deployed.push(*status);
                next.staged = Some(self.deployed.len() + 1);
            }
            Change::Point(alias, number) => {
                next.aliases.insert(alias, *number);
            }
            Change::Unpoint(alias) => {
                next.aliases.remove(alias);
            }
            Change::RollBack(to) => next.go_live(to.or(self.before).unwrap()),
            Change::Add(sum) => {
                next.bucket.insert(COUNT, sum.to_string());
            }
            Change::Set(key, value) => {
                next.bucket.insert(key, value.clone());
            }
            Change::Batch(_) => next.bucket.retain(|key, _| !BATCH.contains(key)),
        }
        let named = |number: &usize| {
            *number == next.live || next.aliases.values().any(|named| named == number)
        };
        next.staged = next.staged.filter(|staged| !named(staged));
        next
    }

    /// All that may be found where the change was under way, besides what was before.
    fn meanwhile(&self, change: &Change) -> Vec<Self> {
        let after = self.after(change);
        match change {
            // Its function writes all of it at once, and then deletes it at once.
            Change::Batch(value) => {
                let mut written = after.clone();
                written.bucket.extend(BATCH.map(|key| (key, value.clone())));
                vec![written, after]
            }
            _ => vec![after],
        }
    }

    fn go_live(&mut self, number: usize) {
        if self.live != number {
            self.before = Some(self.live).filter(|before| *before > 0);
        }
        self.live = number;
    }
}

fn key(name: &str) -> FunctionKey {
    FunctionKey {
        owner: Name::default_owner(),
        name: name.parse().unwrap(),
    }
}

fn revision(number: usize) -> Revision {
    format!("v{number}").parse().unwrap()
}

fn alias(alias: &str) -> Alias {
    alias.parse().unwrap()
}

async fn send(client: &Client, caller: &Caller, name: &str, change: &Change) -> Result<(), Failed> {
    let function = key(name);
    let acknowledged = match change {
        Change::Deploy(status) => tiny::deploy(client, name, *status).await.map(drop),
        Change::Stage(status) => tiny::stage(client, name, *status).await.map(drop),
        Change::Add(sum) => {
            let answer = keeper(caller, &format!("add={name}.{COUNT}")).await?;
            assert_eq!(answer, sum.to_string(), "{name} counts");
            return Ok(());
        }
        Change::Set(key, value) => {
            let query = format!("set={name}.{key}&value={value}");
            return keeper(caller, &query).await.map(drop);
        }
        Change::Batch(value) => {
            let keys = BATCH.map(|key| format!("{name}.{key}")).join(",");
            let query = format!("batch={keys}&value={value}");
            return keeper(caller, &query).await.map(drop);
        }
        Change::Point(to, number) => {
            let (to, revision) = (alias(to), revision(*number));
            let weight = None;
            let wanted = vec![Wanted { revision, weight }];
            client.set_alias(&function, &to, wanted).await.map(drop)
        }
        Change::Unpoint(from) => {
            let from = alias(from);
            client.delete_alias(&function, &from).await.map(drop)
        }
        Change::RollBack(to) => {
            let to = to.map(revision);
            client.roll_back(&function, to).await.map(drop)
        }
    };
    acknowledged.map_err(Failed::from)
}

/// What the function with the bucket answers, if it comes to that.
async fn keeper(caller: &Caller, query: &str) -> Result<String, Failed> {
    let request = caller.request(&format!("/fn/{KEEPER}/?{query}"));
    let request = request.body(Body::Empty).unwrap();
    let answer = caller.try_send(request).await.map_err(|_| Failed::Gone)?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|_| Failed::Gone)?.to_bytes();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match head.status.is_success() {
        true => Ok(text),
        false => Err(Failed::Refused(format!("{}: {text}", head.status))),
    }
}

/// One function, and what is known of it.
struct Changer {
    name: String,
    dice: Dice,
    acknowledged: State,
    /// What was sent when the platform was killed may have made of it.
    under_way: Vec<State>,
}

impl Changer {
    /// Changes the function until the platform is gone.
    async fn run(mut self, client: Client, caller: Caller, told: mpsc::Sender<()>) -> Self {
        loop {
            let change = self.acknowledged.choose(&mut self.dice);
            match send(&client, &caller, &self.name, &change).await {
                Ok(()) => self.acknowledged = self.acknowledged.after(&change),
                Err(Failed::Refused(error)) => {
                    panic!("{}: {change:?} was refused: {error}", self.name)
                }
                Err(Failed::Gone) => {
                    self.under_way = self.acknowledged.meanwhile(&change);
                    return self;
                }
            }
            // Nobody counts any more once the platform is killed.
            let _ = told.send(()).await;
        }
    }

    /// Looks at the function after a restart, by the API and by asking it.
    async fn look(&mut self, server: &Server) {
        let Err(mut why) = seen(server, &self.name, &self.acknowledged).await else {
            self.under_way.clear();
            return;
        };
        for under_way in std::mem::take(&mut self.under_way) {
            let Err(other) = seen(server, &self.name, &under_way).await else {
                self.acknowledged = under_way;
                return;
            };
            why = format!("{why}; and of what was under way: {other}");
        }
        panic!("{}: {why}; {:?}", self.name, self.acknowledged);
    }
}

/// Whether the function is in this state, whole.
async fn seen(server: &Server, name: &str, state: &State) -> Result<(), String> {
    let caller = Caller::new(server.gateway);
    let answers = async |path: String| caller.get(&path).await.status.as_u16();
    let differs = |what: &str, is: String, should: String| match is == should {
        true => Ok(()),
        false => Err(format!("{what} is {is} and not {should}")),
    };
    let held = held(&caller, name).await;
    differs(
        "its bucket",
        format!("{held:?}"),
        format!("{:?}", state.bucket),
    )?;
    if state.deployed.is_empty() {
        let status = answers(format!("/fn/{name}/")).await;
        return differs(
            "a function that is not there",
            status.to_string(),
            "404".to_owned(),
        );
    }
    let (client, function) = (server.client(), key(name));
    let view = match client.show(&function).await {
        Ok(view) => view,
        Err(error) if error.is_not_found() => return Err("it is not there".to_owned()),
        Err(error) => panic!("{error}"),
    };
    let revisions = client.revisions(&function).await.unwrap().revisions;
    let newest = revisions.iter().map(|revision| revision.number).max();
    differs(
        "the newest",
        format!("{newest:?}"),
        format!("{:?}", Some(state.deployed.len())),
    )?;
    differs(
        "live",
        view.revision.number.to_string(),
        state.live.to_string(),
    )?;
    differs(
        "staged",
        format!("{:?}", view.staged),
        format!("{:?}", state.staged),
    )?;
    let status = answers(format!("/fn/{name}/")).await;
    differs(
        "its answer",
        status.to_string(),
        state.status(state.live).to_string(),
    )?;
    for alias in ALIASES {
        let is = answers(format!("/fn/{name}@{alias}/")).await;
        let number = state.aliases.get(alias);
        let should = number.map_or(404, |number| state.status(*number));
        differs(alias, is.to_string(), should.to_string())?;
    }
    Ok(())
}

/// What of a function is in the bucket.
async fn held(caller: &Caller, name: &str) -> BTreeMap<String, String> {
    let prefix = format!("{name}.");
    let mut held = BTreeMap::new();
    let all = caller.get(&format!("/fn/{KEEPER}/?keys")).await;
    for key in all.text().lines() {
        if let Some(own) = key.strip_prefix(&prefix) {
            let value = caller.get(&format!("/fn/{KEEPER}/?get={key}")).await;
            held.insert(own.to_owned(), value.text().to_owned());
        }
    }
    held
}

fn changes() -> usize {
    match std::env::var("USHER_COUNT") {
        Ok(count) => count.parse::<usize>().unwrap().min(CHANGES[1]),
        Err(_) => CHANGES[0],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_holds_after_a_kill_at_any_moment() {
    let data = Folder::new();
    let mut dice = Dice(11);
    let mut changers: Vec<_> = (0..CHANGERS)
        .map(|at| Changer {
            name: format!("f{at}"),
            dice: Dice(at as u64 + 1),
            acknowledged: State::default(),
            under_way: Vec::new(),
        })
        .collect();
    let mut acknowledged = 0;
    let mut server = Server::up(data.path()).await;
    let grant = "[keyvalue]\nbuckets = [\"default\"]\n";
    let keeper = Folder::function(KEEPER, "rust-bucket", grant);
    server.run(&["deploy", keeper.text()]).await.done();
    while acknowledged < changes() {
        let (told, mut tellings) = mpsc::channel(64);
        let running: Vec<_> = changers
            .drain(..)
            .map(|changer| {
                let caller = Caller::new(server.gateway);
                tokio::spawn(changer.run(server.client(), caller, told.clone()))
            })
            .collect();
        drop(told);
        // Others are under way when so many have been acknowledged.
        for _ in 0..=dice.roll(BETWEEN_MAX) {
            tellings.recv().await.unwrap();
            acknowledged += 1;
        }
        server.kill().await;
        tellings.close();
        for changer in running {
            changers.push(changer.await.unwrap());
        }
        server = Server::up(data.path()).await;
        for changer in &mut changers {
            changer.look(&server).await;
        }
    }
    // The control: a state that the functions are not in is told from the one that they are in.
    let changer = &changers[0];
    let half = "1.".repeat(REPEATED / 2);
    for change in [
        Change::Deploy(211),
        Change::Point("canary", 1),
        Change::Add(changer.acknowledged.count() + 1),
        Change::Set(SINGLE[0], half),
    ] {
        let other = changer.acknowledged.after(&change);
        if other != changer.acknowledged {
            let seen = seen(&server, &changer.name, &other).await;
            assert!(seen.is_err(), "{other:?} is not {:?}", changer.acknowledged);
        }
    }
}
