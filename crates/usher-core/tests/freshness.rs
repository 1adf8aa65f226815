//! The freshness lint: against a twin that knows how each value was made.

use std::collections::BTreeMap;

use proptest::prelude::*;
use usher_core::freshness::{
    Answer, Asked, Finding, GOING_ON_MIN, Kind, Place, RENEWED_MIN, judge,
};

const NOW_S: u64 = 1_764_353_627;

/// How a value comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// It belongs to the code.
    Build,
    /// A word or a small number.
    Plain,
    /// New each time, renewed or not.
    Fresh,
    /// New each time, but for renewals.
    Frozen,
    /// The time, noted and not looked at again after a renewal.
    FrozenTime,
    /// Drawn once by each environment.
    Identity,
    /// Counts from one number.
    Counter,
    /// The real time.
    Clock,
}

use Maker::{Build, Clock, Counter, Fresh, Frozen, FrozenTime, Identity, Plain};

/// How a value is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Hex,
    Uuid,
    Float,
}

/// When and where an answer is given.
#[derive(Clone, Copy, Debug)]
struct Run {
    environment: u64,
    renewed: bool,
    nth: u64,
    /// Thousandths of a second since 1970.
    now_ms: u64,
}

/// A number that looks drawn (SplitMix64).
fn drawn(parts: [u64; 3]) -> u64 {
    parts
        .into_iter()
        .fold(0x9E37_79B9_7F4A_7C15, |state, part| {
            let mixed = (state ^ part).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ (mixed >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB) ^ (mixed >> 32)
        })
}

fn written(form: Form, number: u64) -> String {
    // One digit and one letter at least, as nearly all have that are drawn.
    match form {
        Form::Hex => format!("{number:016x}a1"),
        Form::Uuid => format!(
            "{:08x}-7dec-41d0-a765-{:012x}",
            number >> 32,
            number & 0xffff_ffff
        ),
        Form::Float => format!("0.4{:016}", number % 10_000_000_000_000_000),
    }
}

fn value(maker: Maker, form: Form, field: u64, run: Run) -> String {
    let nth = if run.renewed { 0 } else { run.nth };
    match maker {
        Build => written(form, drawn([field, 1, 1])),
        Plain => {
            ["hello", "7", "200 OK", "18:13:47"][usize::try_from(field % 4).expect("small")].into()
        }
        Fresh => written(form, drawn([field, run.environment + 2, 100 + run.nth])),
        Frozen => written(form, drawn([field, run.environment + 2, 200 + nth])),
        FrozenTime => (NOW_S * 1_000 - 5_000_000 + 2_000 * run.environment + 5 * nth).to_string(),
        Identity => written(form, drawn([field, run.environment + 2, 3])),
        Counter => (7_000_000_000 + nth).to_string(),
        Clock => run.now_ms.to_string(),
    }
}

/// What the lint has to say of it.
fn truth(maker: Maker) -> Option<Kind> {
    match maker {
        Build | Plain | Fresh | Counter | Clock => None,
        Frozen => Some(Kind::Random),
        FrozenTime => Some(Kind::Time),
        Identity => Some(Kind::Identity),
    }
}

/// The runs in the order in which they are asked: of the renewed one, and of the other.
fn runs(ticks: &[u64]) -> (Vec<Run>, Vec<Run>) {
    let mut now_ms = NOW_S * 1_000;
    let mut ticks = ticks.iter();
    let mut run = |environment, nth| {
        now_ms += ticks.next().copied().unwrap_or_default();
        Run {
            environment,
            renewed: environment == 0,
            nth,
            now_ms,
        }
    };
    let mut renewed = vec![run(0, 0)];
    let going_on = (0..GOING_ON_MIN as u64).map(|nth| run(1, nth)).collect();
    renewed.extend((1..RENEWED_MIN as u64).map(|nth| run(0, nth)));
    (renewed, going_on)
}

fn asked(ticks: &[u64], answer: impl Fn(Run) -> Answer) -> Asked {
    let (renewed, going_on) = runs(ticks);
    Asked {
        request: "GET /".to_owned(),
        renewed: renewed.into_iter().map(&answer).collect(),
        going_on: going_on.into_iter().map(&answer).collect(),
    }
}

fn found(findings: &[Finding]) -> BTreeMap<Place, Kind> {
    let places = findings.iter().map(|one| (one.place.clone(), one.kind));
    places.collect()
}

fn fields() -> impl Strategy<Value = Vec<(Maker, Form)>> {
    let maker = prop::sample::select(vec![
        Build, Plain, Fresh, Frozen, FrozenTime, Identity, Counter, Clock,
    ]);
    let form = prop::sample::select(vec![Form::Hex, Form::Uuid, Form::Float]);
    // A frozen time is one and the same everywhere, and is told once.
    let times = |fields: &Vec<(Maker, Form)>| {
        fields
            .iter()
            .filter(|(maker, _)| *maker == FrozenTime)
            .count()
            < 2
    };
    prop::collection::vec((maker, form), 0..8).prop_filter("one time", times)
}

/// What passes between two answers, in thousandths of a second: often nothing.
fn ticks() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop::sample::select(vec![0, 0, 1, 900]), 7)
}

proptest! {
    #[test]
    fn json_and_headers_are_judged_as_their_values_were_made(
        fields in fields(),
        ticks in ticks(),
        in_headers in any::<bool>(),
    ) {
        let texts = |run| {
            let numbered = fields.iter().zip(0..);
            numbered.map(move |((maker, form), at)| (at, value(*maker, *form, at, run)))
        };
        let asked = asked(&ticks, |run| match in_headers {
            true => Answer {
                headers: texts(run).map(|(at, text)| (format!("x-{at}"), text)).collect(),
                body: Vec::new(),
            },
            false => {
                let lines = texts(run).map(|(at, text)| format!("{{\"f{at}\": \"is {text}.\"}}"));
                let lines: Vec<_> = lines.collect();
                Answer {
                    headers: Vec::new(),
                    body: format!("{{\"all\": [{}]}}", lines.join(", ")).into_bytes(),
                }
            }
        });
        let expected = fields.iter().enumerate().filter_map(|(at, (maker, _))| {
            let place = match in_headers {
                true => Place::Header(format!("x-{at}")),
                false => Place::Json(format!("/all/{at}/f{at}")),
            };
            Some((place, truth(*maker)?))
        });
        prop_assert_eq!(found(&judge(&[asked], NOW_S)), expected.collect());
    }

    /// In text a value is found by its number among its kind, whatever words stand before it.
    #[test]
    fn text_is_judged_as_its_values_were_made(fields in fields(), ticks in ticks()) {
        let asked = asked(&ticks, |run| {
            let nth = if run.renewed { 0 } else { run.nth };
            let words = "again and ".repeat(usize::try_from(nth).expect("small"));
            let numbered = fields.iter().zip(0..);
            let texts = numbered.map(|((maker, form), at)| value(*maker, *form, at, run));
            let texts: Vec<_> = texts.map(|text| format!("<b>{text}</b>")).collect();
            Answer {
                headers: Vec::new(),
                body: format!("Said {words}{}", texts.join("\n")).into_bytes(),
            }
        });
        let mut kinds: Vec<_> = judge(&[asked], NOW_S).iter().map(|one| one.kind).collect();
        let mut expected: Vec<_> = fields.iter().filter_map(|(maker, _)| truth(*maker)).collect();
        kinds.sort();
        expected.sort();
        prop_assert_eq!(kinds, expected);
    }

    /// A list that grows where nothing is renewed shifts what stands behind it. It may hide a value
    /// then, but no value is taken for a frozen one.
    #[test]
    fn lists_that_grow_are_no_alarm(ticks in ticks(), newest_first in any::<bool>()) {
        let asked = asked(&ticks, |run| {
            let last = if run.renewed { 0 } else { run.nth };
            let drawn_at = |nth| value(Fresh, Form::Hex, 0, Run { nth, ..run });
            let mut items: Vec<_> = match run.renewed {
                true => vec![drawn_at(run.nth)],
                false => (0..=last).map(drawn_at).collect(),
            };
            if newest_first {
                items.reverse();
            }
            items.push(value(Identity, Form::Hex, 1, run));
            items.push(value(Build, Form::Hex, 2, run));
            Answer { headers: Vec::new(), body: items.join(", ").into_bytes() }
        });
        let frozen = judge(&[asked], NOW_S).into_iter().filter(|one| one.kind.is_frozen());
        prop_assert_eq!(frozen.count(), 0);
    }

    /// Whatever a hostile function answers.
    #[test]
    fn no_answer_is_too_strange(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 7),
        header in ".{0,40}",
    ) {
        let answer = |body: &Vec<u8>| Answer {
            headers: vec![("x".to_owned(), header.clone())],
            body: body.clone(),
        };
        let asked = Asked {
            request: "GET /".to_owned(),
            renewed: bodies[..4].iter().map(answer).collect(),
            going_on: bodies[4..].iter().map(answer).collect(),
        };
        for finding in judge(&[asked], NOW_S) {
            prop_assert!(!finding.to_string().is_empty());
        }
    }
}

#[test]
fn bodies_that_are_no_text_are_looked_at_in_pieces() {
    let asked = asked(&[], |run| {
        let nth = if run.renewed { 0 } else { run.nth };
        let frozen = drawn([9, run.environment, nth]).to_be_bytes();
        Answer {
            headers: Vec::new(),
            body: [&[0xff; 16][..], &frozen, &frozen].concat(),
        }
    });
    let findings = judge(&[asked], NOW_S);
    assert_eq!(found(&findings), [(Place::Body(16), Kind::Random)].into());
    let told = findings[0].to_string();
    assert!(told.starts_with("GET / answers "), "{told}");
    assert!(
        told.contains("at byte 16 again after each renewal"),
        "{told}"
    );
}

#[test]
fn a_finding_names_request_and_place_and_little_of_the_value() {
    let asked = asked(&[], |run| Answer {
        headers: Vec::new(),
        body: format!("{{\"a/b\": [\"{}\"]}}", value(Frozen, Form::Hex, 5, run)).into_bytes(),
    });
    let whole = value(Frozen, Form::Hex, 5, runs(&[]).0[0]);
    let told = judge(&[asked], NOW_S)[0].to_string();
    let beginning = &whole[..6];
    assert!(
        told.contains(&format!("{beginning:?}… (18 bytes) at /a~1b/0")),
        "{told}"
    );
    assert!(!told.contains(&whole), "{told}");
}

#[test]
fn too_few_answers_are_not_judged() {
    let whole = asked(&[], |run| Answer {
        headers: Vec::new(),
        body: value(Frozen, Form::Hex, 5, run).into_bytes(),
    });
    assert_eq!(judge(std::slice::from_ref(&whole), NOW_S).len(), 1);
    let mut fewer = whole.clone();
    fewer.renewed.pop();
    assert_eq!(judge(&[fewer], NOW_S), []);
    let mut fewer = whole;
    fewer.going_on.pop();
    assert_eq!(judge(&[fewer], NOW_S), []);
}
