//! What changes make of a record: tables, and random changes against a naive twin.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use usher_core::traffic::wanted::NoRevision;

use super::*;

fn function() -> FunctionKey {
    FunctionKey {
        owner: "default".parse().unwrap(),
        name: "f".parse().unwrap(),
    }
}

fn wanted(content: u8) -> Wanted {
    Wanted {
        function: function(),
        artifact: Digest([content; 32]),
        settings: Settings::default(),
        id: RevisionId(Digest([content; 32])),
    }
}

fn deploy(content: u8) -> Change {
    Change::Deploy {
        wanted: wanted(content),
        traffic: true,
    }
}

fn stage(content: u8) -> Change {
    Change::Deploy {
        wanted: wanted(content),
        traffic: false,
    }
}

fn point(alias: &str, shares: &[&str]) -> Change {
    Change::Point {
        alias: alias.parse().unwrap(),
        shares: shares.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn roll_back(to: Option<&str>) -> Change {
    Change::RollBack {
        to: to.map(|text| text.parse().unwrap()),
    }
}

/// The record after these changes, each of which must be possible, at times from 1 on.
fn after(changes: &[Change]) -> Kept {
    let mut kept: Option<Kept> = None;
    for (now_us, change) in (1..).zip(changes) {
        let plan = plan(&function(), change, kept.as_ref(), now_us).unwrap();
        kept = Some(Kept {
            record: plan.record,
            revision: now_us,
        });
    }
    kept.unwrap()
}

fn of(change: &Change, kept: &Kept) -> Result<Plan, Refusal> {
    plan(&function(), change, Some(kept), 100)
}

fn ids(contents: &[u8]) -> Vec<RevisionId> {
    contents.iter().map(|content| wanted(*content).id).collect()
}

#[test]
fn a_first_deployment_has_number_one() {
    let Plan { record, step, .. } = plan(&function(), &deploy(1), None, 7).unwrap();
    assert_eq!(step, Step::Create);
    assert_eq!(record.current.number, 1);
    assert_eq!((record.created_us, record.updated_us), (7, 7));
    assert!(record.history.is_empty() && record.kept.is_empty());
    let staged = plan(&function(), &stage(1), None, 7);
    assert_eq!(staged.unwrap_err(), Refusal::FirstWithoutTraffic);
    let missing = plan(&function(), &roll_back(None), None, 7);
    assert!(matches!(missing, Err(Refusal::NoFunction { .. })));
}

#[test]
fn the_same_revision_leaves_the_record_and_is_prepared() {
    let before = after(&[deploy(1)]);
    let plan = of(&deploy(1), &before).unwrap();
    assert_eq!(plan.step, Step::Keep { since: 1 });
    assert_eq!(plan.record, before.record);
    assert_eq!(plan.prepare.len(), 1);
    let staged = of(&stage(1), &before).unwrap();
    assert_eq!(staged.step, Step::Keep { since: 1 });
}

#[test]
fn another_revision_expects_the_record_that_was_read_and_the_old_one_leaves() {
    let plan = of(&deploy(2), &after(&[deploy(1)])).unwrap();
    assert_eq!(plan.step, Step::Change { last: 1 });
    assert_eq!(plan.leaves, ids(&[1]));
    assert_eq!(plan.prepare[0].id, wanted(2).id);
    assert!(plan.record.live.is_none(), "an older version reads it too");
}

#[test]
fn history_is_newest_first_and_bounded_and_time_does_not_run_back() {
    let mut kept = Kept {
        record: plan(&function(), &deploy(0), None, 1_000).unwrap().record,
        revision: 1,
    };
    for content in 1..=100 {
        let now_us = u64::from(content);
        let plan = plan(&function(), &deploy(content), Some(&kept), now_us);
        kept.record = plan.unwrap().record;
    }
    let record = kept.record;
    assert_eq!(record.current.number, 101);
    assert_eq!(record.history.len(), HISTORY_MAX);
    assert_eq!(record.history[0].number, 100);
    assert!(
        record
            .history
            .is_sorted_by(|newer, older| newer.number > older.number)
    );
    assert_eq!((record.created_us, record.updated_us), (1_000, 1_000));
    let restorable: Vec<_> = record.revisions().iter().map(|it| it.number).collect();
    assert_eq!(restorable, (91..=101).rev().collect::<Vec<_>>());
}

#[test]
fn a_roll_back_leads_to_what_had_all_traffic_before_and_forth_again() {
    let before = after(&[deploy(1), deploy(2)]);
    let back = of(&roll_back(None), &before).unwrap();
    assert_eq!(back.record.current.number, 1);
    assert_eq!(back.record.current.id, wanted(1).id);
    assert_eq!(back.leaves, ids(&[2]));
    assert_eq!(back.prepare[0].id, wanted(1).id);
    let back = Kept {
        record: back.record,
        revision: 3,
    };
    let forth = of(&roll_back(None), &back).unwrap();
    assert_eq!(forth.record.current.number, 2);
    // The number of a revision that is not current is not given out again.
    let next = of(&deploy(3), &back).unwrap();
    assert_eq!(next.record.current.number, 3);
    let numbers: Vec<_> = next.record.history.iter().map(|past| past.number).collect();
    assert_eq!(numbers, [2, 1]);
}

#[test]
fn a_roll_back_out_of_a_split_leads_to_what_was_before_it() {
    let canary = [
        deploy(1),
        stage(2),
        point("live", &["v2=10", "v1=90"]),
        point("live", &["v2=50", "v1=50"]),
    ];
    let back = of(&roll_back(None), &after(&canary)).unwrap();
    assert_eq!(back.record.live(), Split::whole(1));
    let back = Kept {
        record: back.record,
        revision: 9,
    };
    assert_eq!(
        of(&roll_back(None), &back).unwrap_err(),
        Refusal::NothingBefore
    );
    assert_eq!(
        of(&roll_back(Some("v2")), &back)
            .unwrap()
            .record
            .current
            .number,
        2
    );
    let alone = of(&roll_back(None), &after(&[deploy(1)]));
    assert_eq!(alone.unwrap_err(), Refusal::NothingBefore);
}

#[test]
fn what_is_deployed_without_traffic_is_ready_and_serves_nothing() {
    let staged = after(&[deploy(1), stage(2)]);
    assert_eq!(staged.record.current.number, 1);
    assert_eq!(staged.record.staged, Some(2));
    assert!(staged.record.serves(wanted(2).id));
    // The next one takes its place, and it leaves.
    let next = of(&stage(3), &staged).unwrap();
    assert_eq!(next.record.staged, Some(3));
    assert_eq!(next.leaves, ids(&[2]));
    // Deploying the same with traffic makes no new revision of it.
    let live = of(&deploy(2), &staged).unwrap();
    assert_eq!(live.record.current.number, 2);
    assert_eq!(live.record.staged, None);
    assert_eq!(live.leaves, ids(&[1]));
}

#[test]
fn an_alias_keeps_its_revision_in_service() {
    let aliased = after(&[deploy(1), point("old", &["latest"]), deploy(2)]);
    assert!(aliased.record.serves(wanted(1).id));
    let gone = of(
        &Change::Unpoint {
            alias: "old".parse().unwrap(),
        },
        &aliased,
    );
    assert_eq!(gone.unwrap().leaves, ids(&[1]));
    let moved = of(&point("old", &["v2"]), &aliased).unwrap();
    assert_eq!(moved.leaves, ids(&[1]));
    let same = of(&point("old", &["v1"]), &aliased).unwrap();
    assert_eq!(same.step, Step::Keep { since: 3 });
    for (change, refusal) in [
        (
            Change::Unpoint {
                alias: Alias::live(),
            },
            Refusal::LiveStays,
        ),
        (
            Change::Unpoint {
                alias: "new".parse().unwrap(),
            },
            Refusal::NoAlias {
                alias: "new".parse().unwrap(),
            },
        ),
        (
            point("old", &["v9"]),
            Refusal::NotSplit(NotSplit::Revision(NoRevision::Unknown {
                wanted: "v9".to_owned(),
                there: "v2, v1".to_owned(),
            })),
        ),
    ] {
        assert_eq!(of(&change, &aliased).unwrap_err(), refusal);
    }
}

#[test]
fn aliases_are_bounded() {
    let mut changes = vec![deploy(1)];
    changes.extend((0..ALIASES_MAX).map(|at| point(&format!("alias{at}"), &["v1"])));
    let full = after(&changes);
    let more = of(&point("more", &["v1"]), &full);
    assert_eq!(more.unwrap_err(), Refusal::TooManyAliases);
    assert!(of(&point("alias0", &["v1"]), &full).is_ok());
}

#[test]
fn one_revision_under_two_numbers_leaves_with_the_last_of_them() {
    let twice = after(&[deploy(1), point("old", &["v1"]), deploy(2), deploy(1)]);
    assert_eq!(twice.record.current.number, 3);
    let gone = of(
        &Change::Unpoint {
            alias: "old".parse().unwrap(),
        },
        &twice,
    );
    assert!(
        gone.unwrap().leaves.is_empty(),
        "v3 has the same id and serves"
    );
}

#[test]
fn settings_that_are_large_do_not_fill_the_record() {
    let large = |content: u8| {
        let mut wanted = wanted(content);
        wanted.settings.outbound = vec!["a".repeat(KEPT_MAX_BYTES / 3)];
        Change::Deploy {
            wanted,
            traffic: true,
        }
    };
    let mut changes: Vec<_> = (0..8).map(large).collect();
    changes.insert(1, point("old", &["v1"]));
    let record = after(&changes).record;
    let numbers: Vec<_> = record.revisions().iter().map(|it| it.number).collect();
    // Current, what a roll back leads to, two for which there is room, and what an alias names.
    assert_eq!(numbers, [8, 7, 6, 5, 1]);
}

#[test]
fn a_record_of_an_earlier_version_is_changed_like_any_other() {
    let mut old = after(&[deploy(1)]);
    old.record.deployed_us = None;
    old.record.updated_us = 5;
    assert_eq!(of(&deploy(1), &old).unwrap().step, Step::Keep { since: 1 });
    let next = of(&deploy(2), &old).unwrap().record;
    assert_eq!(
        (next.history[0].number, next.history[0].deployed_us),
        (1, 5)
    );
    assert_eq!(next.revision(1).unwrap().id, wanted(1).id);
    assert_eq!(next.before, Some(1));
}

#[test]
fn environments_are_started_ahead_by_the_new_weights() {
    let before = after(&[deploy(1), stage(2)]).record;
    let split = of(
        &point("live", &["v2=10", "v1=90"]),
        &Kept {
            record: before.clone(),
            revision: 2,
        },
    );
    let split = split.unwrap().record;
    let count =
        |one: u32, two: u32| move |id: RevisionId| if id == wanted(1).id { one } else { two };
    let ahead = |have: (u32, u32), max| super::ahead(&before, &split, count(have.0, have.1), max);
    let only = |environments| BTreeMap::from([(wanted(2).id, environments)]);
    assert_eq!(ahead((20, 1), 16), only(2));
    assert_eq!(ahead((15, 0), 16), only(2), "rounded up");
    assert_eq!(ahead((20, 2), 16), BTreeMap::new());
    assert_eq!(ahead((0, 0), 16), BTreeMap::new());
    assert_eq!(ahead((1_000, 0), 16), only(16));
    let same = super::ahead(&split, &split, count(9, 0), 16);
    assert_eq!(same, BTreeMap::new(), "nothing moves");
}

/// Everything that was ever deployed, and what points where; no bound on what is kept.
#[derive(Debug, Default)]
struct Twin {
    /// Contents by number.
    deployed: BTreeMap<u64, u8>,
    live: BTreeMap<u64, u32>,
    aliases: BTreeMap<Alias, BTreeMap<u64, u32>>,
    before: Option<u64>,
    staged: Option<u64>,
}

impl Twin {
    fn whole(number: u64) -> BTreeMap<u64, u32> {
        BTreeMap::from([(number, 100)])
    }

    fn only(&self) -> Option<u64> {
        let (number, _) = self.live.first_key_value()?;
        (self.live.len() == 1).then_some(*number)
    }

    fn go_live(&mut self, live: BTreeMap<u64, u32>) {
        if live != self.live && self.only().is_some() {
            self.before = self.only();
        }
        self.live = live;
    }

    /// False: it is refused.
    fn change(&mut self, change: &Doing) -> bool {
        let last = self.deployed.last_key_value().map(|(a, b)| (*a, *b));
        match change {
            Doing::Deploy(content, traffic) => {
                if last.is_none() && !traffic {
                    return false;
                }
                let serving = self.only().and_then(|only| self.deployed.get(&only));
                if serving == Some(content) {
                    return true;
                }
                let number = match last {
                    Some((number, newest)) if newest == *content => number,
                    _ => last.map_or(0, |(number, _)| number) + 1,
                };
                self.deployed.insert(number, *content);
                match traffic {
                    true => self.go_live(Self::whole(number)),
                    false => self.staged = Some(number),
                }
            }
            Doing::Point(alias, back, weight) => {
                let Some((newest, _)) = last else {
                    return false;
                };
                let other = newest.saturating_sub(*back).max(1);
                let split = match other == newest || *weight == 100 {
                    true => Self::whole(newest),
                    false => BTreeMap::from([(newest, *weight), (other, 100 - weight)]),
                };
                match alias {
                    0 => self.go_live(split),
                    alias => {
                        self.aliases.insert(name(*alias), split);
                    }
                }
            }
            Doing::Unpoint(alias) => {
                return *alias > 0 && self.aliases.remove(&name(*alias)).is_some();
            }
            Doing::RollBack => {
                let Some(before) = self.before.filter(|before| self.only() != Some(*before)) else {
                    return false;
                };
                self.go_live(Self::whole(before));
            }
        }
        let named = self.named();
        self.staged = self.staged.filter(|staged| !named.contains(staged));
        true
    }

    fn named(&self) -> BTreeSet<u64> {
        let splits = self.aliases.values().chain([&self.live]);
        splits.flat_map(|split| split.keys().copied()).collect()
    }

    fn in_service(&self) -> BTreeSet<u8> {
        let named = self.named().into_iter().chain(self.staged);
        named.map(|number| self.deployed[&number]).collect()
    }
}

fn name(alias: u8) -> Alias {
    match alias {
        0 => Alias::live(),
        alias => format!("alias{alias}").parse().unwrap(),
    }
}

#[derive(Clone, Debug)]
enum Doing {
    Deploy(u8, bool),
    /// Alias, how far back the other revision is, weight of the newest.
    Point(u8, u64, u32),
    Unpoint(u8),
    RollBack,
}

impl Doing {
    fn change(&self, newest: u64) -> Change {
        match self {
            Self::Deploy(content, true) => deploy(*content),
            Self::Deploy(content, false) => stage(*content),
            Self::Point(alias, back, weight) => {
                let other = newest.saturating_sub(*back).max(1);
                let one = format!("v{newest}={weight}");
                let two = format!("v{other}={}", 100 - weight);
                match other == newest || *weight == 100 {
                    true => point(name(*alias).as_str(), &["latest"]),
                    false => point(name(*alias).as_str(), &[&one, &two]),
                }
            }
            Self::Unpoint(alias) => Change::Unpoint {
                alias: name(*alias),
            },
            Self::RollBack => roll_back(None),
        }
    }
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => (0..6_u8, prop::bool::weighted(0.7)).prop_map(|(a, b)| Doing::Deploy(a, b)),
        3 => (0..4_u8, 0..4_u64, 1..=100_u32).prop_map(|(a, b, c)| Doing::Point(a, b, c)),
        1 => (0..4_u8).prop_map(Doing::Unpoint),
        2 => Just(Doing::RollBack),
    ]
}

proptest! {
    #[test]
    fn random_changes_are_what_a_naive_twin_says(doings in prop::collection::vec(doing(), 1..40)) {
        let mut twin = Twin::default();
        let mut kept: Option<Kept> = None;
        for (now_us, doing) in (1..).zip(&doings) {
            let newest = twin.deployed.last_key_value().map_or(1, |(number, _)| *number);
            let was = twin.in_service();
            let before = kept.as_ref().map(|kept| kept.record.clone());
            let planned = plan(&function(), &doing.change(newest), kept.as_ref(), now_us);
            prop_assert_eq!(planned.is_ok(), twin.change(doing), "{:?}: {:?}", doing, planned);
            let Ok(Plan { record, step, prepare, leaves }) = planned else { continue };
            let unchanged = before.is_some_and(|before| before == record);
            let kept_step = matches!(step, Step::Keep { .. });
            prop_assert_eq!(unchanged, kept_step);
            // Pointers.
            let weights = |split: &Split| -> BTreeMap<u64, u32> {
                split.shares().iter().map(|share| (share.revision, share.weight)).collect()
            };
            prop_assert_eq!(weights(&record.live()), twin.live.clone());
            let aliases = record.aliases.iter();
            let aliases: BTreeMap<_, _> =
                aliases.map(|(alias, split)| (alias.clone(), weights(split))).collect();
            prop_assert_eq!(&aliases, &twin.aliases);
            prop_assert_eq!((record.before, record.staged), (twin.before, twin.staged));
            prop_assert_eq!(record.current.number, record.live().main());
            // What can serve is whole, and the right thing.
            let content = |revision: &Revision| revision.id.0.0[0];
            for revision in record.revisions() {
                prop_assert_eq!(content(revision), twin.deployed[&revision.number]);
            }
            let serves: BTreeSet<_> = record.in_service().into_iter().map(content).collect();
            let now = twin.in_service();
            prop_assert_eq!(&serves, &now);
            let newest: Vec<_> = twin.deployed.keys().rev().take(RESTORABLE_MAX).collect();
            prop_assert!(newest.iter().all(|number| record.revision(**number).is_some()));
            // What leaves was in service and is not any more; what comes is prepared.
            let left: BTreeSet<_> = leaves.iter().map(|id| id.0.0[0]).collect();
            prop_assert_eq!(left, was.difference(&now).copied().collect::<BTreeSet<_>>());
            let prepared: BTreeSet<_> = prepare.iter().map(content).collect();
            prop_assert!(now.difference(&was).all(|new| prepared.contains(new)));
            kept = Some(Kept { record, revision: now_us });
        }
    }
}
