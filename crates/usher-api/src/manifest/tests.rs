//! The manifest as people write it, with all the mistakes they make.

use proptest::prelude::*;
use serde_json::json;
use usher_core::function::{
    Delivery, EventMode, InvokeBy, Isolation, RenewWhen, RenewalChoice, Twins,
};

use super::*;

mod made;
mod programs;

const PROGRAM: &str = r#"
    name = "f"
    [process]
    contract = "lambda"
    command = ["python3", "-m", "awslambdaric", "handler.handler"]
    handler = "handler.handler"
    folder = "dist/app"
    snap_start = true
    environment = { COLOUR = "blue", _x9 = "" }
    "#;

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = Manifest::read(text).unwrap_err();
    mistakes.list().iter().map(Mistake::to_string).collect()
}

fn one_mistake(lines: &str) -> String {
    let text = format!("name = \"f\"\ncomponent = \"f.wasm\"\n{lines}");
    let all = mistakes(&text);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn the_smallest_manifest_has_all_defaults() {
    let manifest = Manifest::read("name = \"hello\"\ncomponent = \"hello.wasm\"\n").unwrap();
    assert_eq!(manifest.name.as_str(), "hello");
    assert_eq!(
        manifest.content,
        Content::Component("hello.wasm".to_owned())
    );
    assert_eq!(manifest.settings, Settings::default());
}

#[test]
fn every_setting_is_read() {
    let manifest = Manifest::read(
        r#"
        name = "f"
        component = "target/f.wasm"
        isolation = "none"
        renewal = "fresh"
        renew = "before-run"
        outbound = ["https://api.example.com"]
        invoke = "key"
        hide_proof = true
        [limits]
        first_byte_max_ms = 1_000
        total_max_ms = 0x1000
        memory_max_mib = 64
        [keep]
        ready_min = 2
        "#,
    )
    .unwrap();
    let settings = manifest.settings;
    assert_eq!(settings.isolation, Isolation::None);
    assert_eq!(settings.renewal, RenewalChoice::Fresh);
    assert_eq!(settings.renew, RenewWhen::BeforeRun);
    assert_eq!(settings.outbound, ["https://api.example.com"]);
    assert_eq!(settings.invoke, InvokeBy::Key);
    assert!(settings.hide_proof);
    assert_eq!(settings.limits.first_byte_max_ms, 1_000);
    assert_eq!(settings.limits.total_max_ms, Some(0x1000));
    assert_eq!(settings.limits.memory_max_mib, 64);
    assert_eq!(
        settings.limits.idle_max_ms,
        Settings::default().limits.idle_max_ms
    );
    assert_eq!(settings.keep.ready_min, 2);
}

#[test]
fn twins_are_kept_as_the_manifest_says() {
    let read = |line: &str| {
        let text = format!("name = \"f\"\ncomponent = \"f.wasm\"\n[keep]\n{line}\n");
        Manifest::read(&text).unwrap().settings.keep.twins
    };
    for (line, twins) in [
        ("", Twins::Auto),
        ("twins = \"auto\"", Twins::Auto),
        ("twins = \"always\"", Twins::Always),
        ("twins = \"off\"", Twins::Off),
    ] {
        assert_eq!(read(line), twins);
    }
    let said = one_mistake("[keep]\ntwins = \"two\"\n");
    assert!(said.contains("\"always\" or \"off\""), "{said}");
}

#[test]
fn isolation_by_key_names_a_header() {
    let text = "name = \"f\"\ncomponent = \"f.wasm\"\n\
                isolation = { key = \"header:X-Tenant\" }\n\
                [keep]\nkeys_max = 7\nkey_idle_max_s = 60\n";
    let settings = Manifest::read(text).unwrap().settings;
    let source = "header:x-tenant".parse().unwrap();
    assert_eq!(settings.isolation, Isolation::Key(source));
    assert_eq!(
        (settings.keep.keys_max, settings.keep.key_idle_max_s),
        (7, 60)
    );
    for (isolation, said) in [
        (
            "\"key\"",
            "line 3: isolation: \"key\" is none of its values; \
             write \"request\", \"none\" or { key = \"header:NAME\" }",
        ),
        (
            "{}",
            "isolation.key: missing; write key = \"header:NAME\", such as \"header:x-tenant\"",
        ),
        (
            "{ key = \"x-tenant\" }",
            "line 3: isolation.key: a key is read from a header; \
             write \"header:NAME\", such as \"header:x-tenant\"",
        ),
        (
            "{ key = \"header:host\" }",
            "line 3: isolation.key: the header host belongs to the connection or to the \
             platform; name another one",
        ),
    ] {
        assert_eq!(one_mistake(&format!("isolation = {isolation}\n")), said);
    }
}

#[test]
fn five_mistakes_are_told_at_once_each_with_its_line() {
    let told = mistakes(
        "name = \"Hello World\"\n\
         component = \"../hello.wasm\"\n\
         isolaton = \"request\"\n\
         renewal = \"sometimes\"\n\
         [limits]\n\
         idle_max_ms = 0\n",
    );
    assert_eq!(
        told,
        [
            "line 1: name: \"Hello World\" is not a name: 1 to 63 characters, a-z, 0-9 and '-', \
             beginning with a letter, not ending in '-'",
            "line 2: component: \"../hello.wasm\" is no file inside the manifest's folder; \
             write a path such as \"hello.wasm\"",
            "line 3: isolaton: unknown; did you mean \"isolation\"?",
            "line 4: renewal: \"sometimes\" is none of its values; \
             write \"auto\", \"live\", \"fresh\", \"swap\" or \"in-place\"",
            "line 6: limits.idle_max_ms: 0 is out of bounds; write a whole number of milliseconds \
             from 1 to 3600000",
        ]
    );
}

#[test]
fn ways_of_programs_are_for_programs() {
    let of = |way: &str| format!("name = \"f\"\ncomponent = \"f.wasm\"\nrenewal = \"{way}\"\n");
    for way in ["swap", "in-place"] {
        let told = mistakes(&of(way));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("line 3: renewal: "), "{told:?}");
        assert!(told[0].contains("for programs"), "{told:?}");
    }
}

#[test]
fn mistakes_of_syntax_stand_beside_mistakes_of_meaning() {
    let told = mistakes("name = \"f\"\ncomponent = hello.wasm\nrenew = \"never\"\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("line 2: "), "{told:?}");
    assert!(told[1].starts_with("line 3: renew: "), "{told:?}");
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    assert_eq!(
        one_mistake("idle_max_ms = 5\n"),
        "line 3: idle_max_ms: unknown here; it belongs under [limits]"
    );
    assert_eq!(
        one_mistake("[limits]\nhide_proof = true\n"),
        "line 4: limits.hide_proof: unknown here; it belongs at the top, before any table"
    );
    assert_eq!(
        one_mistake("[limit]\nidle_max_ms = 5\n"),
        "line 3: limit: unknown; did you mean \"limits\"?"
    );
    assert_eq!(
        one_mistake("colour = \"red\"\n"),
        "line 3: colour: unknown; known here: name, component, isolation, renewal, renew, \
         outbound, invoke, hide_proof, limits, keep, cors, process, warm_up, lint, events, \
         env, config, secrets, keyvalue, build"
    );
}

#[test]
fn wrong_types_say_what_was_found_and_what_to_write() {
    for (line, said) in [
        (
            "hide_proof = \"yes\"",
            "a text was found; write true or false",
        ),
        (
            "outbound = \"x\"",
            "a text was found; write a list of texts in quotes",
        ),
        (
            "outbound = [1]",
            "a whole number was found; write a text in quotes",
        ),
        (
            "outbound = [\"https://a b\"]",
            "outbound: \"https://a b\": ",
        ),
        (
            "renew = 1",
            "a whole number was found; write \"after-run\" or \"before-run\"",
        ),
        ("keep = 1", "a whole number was found; write a table"),
        (
            "limits = { idle_max_ms = 1.5 }",
            "a number with a fraction was found",
        ),
        (
            "limits = { idle_max_ms = 1979-05-27 }",
            "a date or time was found",
        ),
        (
            "limits = { queue_max = 99999999999999999999999 }",
            "is out of bounds",
        ),
        ("limits = { queue_max = -1 }", "-1 is out of bounds"),
    ] {
        let told = one_mistake(line);
        assert!(told.contains(said), "{line} was answered with {told}");
    }
}

#[test]
fn a_component_stays_inside_its_folder() {
    for bad in [
        "/etc/passwd",
        "..",
        "a/../../b",
        "",
        ".",
        "a\\\\b",
        "C:/x",
        "a\\u0000b",
        "a/",
    ] {
        let told = mistakes(&format!("name = \"f\"\ncomponent = \"{bad}\"\n"));
        assert!(
            told[0].starts_with("line 2: component: "),
            "{bad} gave {told:?}"
        );
    }
    for good in [
        "f.wasm",
        "./f.wasm",
        "target/wasm32-wasip2/release/f.wasm",
        "..f/a..b",
    ] {
        let text = format!("name = \"f\"\ncomponent = \"{good}\"\n");
        assert!(Manifest::read(&text).is_ok(), "{good} was refused");
    }
}

#[test]
fn what_is_missing_is_told() {
    let told = mistakes("");
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("name: missing"), "{told:?}");
    assert!(told[1].starts_with("component: missing"), "{told:?}");
}

#[test]
fn a_name_given_twice_and_a_text_without_end_are_mistakes() {
    assert!(mistakes("name = \"f\"\nname = \"g\"\ncomponent = \"f\"\n")[0].starts_with("line 2: "));
    assert!(!mistakes("name = \"f").is_empty());
    assert_eq!(mistakes(&" ".repeat(MANIFEST_MAX_BYTES + 1)).len(), 1);
}

#[test]
fn json_is_judged_by_the_same_rules() {
    let told = deploy_request(&json!({
        "name": "-", "artifact": "00", "setings": {},
        "settings": {"renewal": "sometimes", "limits": {"idle_max_ms": 0, "nonsense": 1}},
    }))
    .unwrap_err();
    let told: Vec<_> = told.list().iter().map(Mistake::to_string).collect();
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(
        told.iter()
            .any(|one| one.starts_with("settings.limits.idle_max_ms: 0 is out of"))
    );
    assert!(deploy_request(&json!([])).is_err());
}

#[test]
fn settings_written_as_json_are_read_back() {
    let mut settings = Settings::default();
    settings.limits.total_max_ms = Some(5);
    settings.isolation = Isolation::None;
    settings.renew = RenewWhen::BeforeRun;
    let by_key = Settings {
        isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
        ..Settings::default()
    };
    for settings in [settings, by_key, Settings::default()] {
        let request = DeployRequest {
            owner: None,
            name: "f".parse().unwrap(),
            artifact: usher_core::id::Digest([7; 32]),
            settings,
        };
        let json = serde_json::to_value(&request).unwrap();
        assert_eq!(deploy_request(&json).unwrap(), request);
    }
}

#[test]
fn events_are_read_and_their_mistakes_told() {
    let read = |text: &str| Manifest::read(&format!("name = \"f\"\ncomponent = \"f\"\n{text}"));
    let events = read("[events]\nmode = \"structured\"\nbatches = true\nevent_max_bytes = 5\n");
    let events = events.unwrap().settings.events;
    assert_eq!(events.mode, EventMode::Structured);
    assert!(events.batches);
    assert_eq!(events.event_max_bytes, 5);
    for (text, told) in [
        ("[events]\nmode = \"batch\"\n", "events.mode: "),
        (
            "[events]\nbatches = true\n",
            "events.batches: a list of events",
        ),
        (
            "[events]\nevent_max_bytes = 0\n",
            "events.event_max_bytes: 0 is out of",
        ),
    ] {
        let mistakes = read(text).unwrap_err().to_string();
        assert!(mistakes.contains(told), "{mistakes}");
    }
    let lambda = format!("{PROGRAM}\n[events]\nmode = \"binary\"\n");
    let mistakes = Manifest::read(&lambda).unwrap_err().to_string();
    assert!(
        mistakes.contains("a Lambda function gets an event as JSON"),
        "{mistakes}"
    );
}

#[test]
fn every_field_of_the_settings_can_be_written() {
    // The words come from the types, so a field that the checker forgot is found here.
    let json = serde_json::to_value(Settings::default()).unwrap();
    for (key, value) in json.as_object().unwrap() {
        let text = match value {
            serde_json::Value::Object(table) => {
                let lines = table.iter().map(|(key, value)| match value {
                    serde_json::Value::Null => format!("{key} = 10\n"),
                    value => format!("{key} = {value}\n"),
                });
                format!("[{key}]\n{}", lines.collect::<String>())
            }
            // Told below.
            serde_json::Value::Null if key == "process" => continue,
            value => format!("{key} = {value}\n"),
        };
        let text = format!("name = \"f\"\ncomponent = \"f\"\n{text}");
        assert!(Manifest::read(&text).is_ok(), "{text}");
    }
}

/// What manifests are made of, and what breaks them.
const WORDS: &[&str] = &[
    "name",
    "limits",
    "process",
    "environment",
    "command",
    "idle_max_ms",
    "outbound",
    "= ",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'''",
    ".",
    ",",
    "0x",
    "-1",
    "1e9",
    "nan",
    "\u{feff}",
    "\r",
    "ä",
    "1979-05-27T07:32:00Z",
    "#",
    "\\u",
];

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        let _ = Manifest::read(&text);
    }

    #[test]
    fn no_text_made_of_the_manifests_own_words_makes_it_panic(
        words in proptest::collection::vec(
            proptest::sample::select(WORDS),
            0..60,
        ),
    ) {
        let _ = Manifest::read(&words.concat());
    }
}
