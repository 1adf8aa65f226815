//! The manifest as people write it, with all the mistakes they make.

use proptest::prelude::*;
use serde_json::json;
use usher_core::function::{
    Contract, Delivery, EventMode, InvokeBy, Isolation, LintChoice, RenewWhen, RenewalChoice,
    Sample, Twins,
};

use super::*;

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

#[test]
fn a_program_is_read() {
    let manifest = Manifest::read(PROGRAM).unwrap();
    assert_eq!(manifest.content, Content::Folder("dist/app".to_owned()));
    let process = manifest.settings.process.clone().unwrap();
    assert_eq!(process.contract, Contract::Lambda);
    assert_eq!(process.command.len(), 4);
    assert_eq!(process.handler.as_deref(), Some("handler.handler"));
    assert_eq!(process.environment["COLOUR"], "blue");
    assert!(process.snap_start && !process.reuse);
    let least = "name = \"f\"\n[process]\ncontract = \"http\"\ncommand = [\"./f\"]\n";
    let least = Manifest::read(least).unwrap();
    assert_eq!(least.content, Content::Folder(".".to_owned()));

    // As JSON, which has no folder.
    let request = DeployRequest {
        owner: None,
        name: manifest.name,
        artifact: usher_core::id::Digest([7; 32]),
        settings: manifest.settings,
    };
    let json = serde_json::to_value(&request).unwrap();
    assert_eq!(deploy_request(&json).unwrap(), request);
    for key in json["settings"]["process"].as_object().unwrap().keys() {
        assert!(process::KEYS.contains(&key.as_str()), "{key}");
    }
}

/// The same without what takes no warm-up.
fn warmed() -> String {
    PROGRAM.replace("snap_start = true", "")
}

#[test]
fn requests_of_the_platforms_own_are_read() {
    let program = warmed();
    let text = format!(
        "{program}
        [[warm_up]]
        method = \"POST\"
        path = \"/login?next=home\"
        headers = {{ content-type = \"text/plain\" }}
        body = \"hello\"
        [[warm_up]]
        event = '{{\"do\": \"hello\"}}'
        [lint]
        freshness = \"off\"
        [[lint.requests]]
        path = \"/token\"
        [[lint.requests]]"
    );
    let settings = Manifest::read(&text).unwrap().settings;
    let [login, event] = settings.warm_up.as_slice() else {
        panic!("{settings:?}");
    };
    assert_eq!(login.to_string(), "POST /login?next=home");
    assert_eq!(login.headers["content-type"], "text/plain");
    assert_eq!(login.body, "hello");
    assert_eq!(event.event.as_deref(), Some("{\"do\": \"hello\"}"));
    assert_eq!(settings.lint.freshness, LintChoice::Off);
    let asked: Vec<_> = settings
        .lint
        .requests
        .iter()
        .map(|it| it.to_string())
        .collect();
    assert_eq!(asked, ["GET /token", "GET /"]);
    // What is read can be sent to the API.
    let request = DeployRequest {
        owner: None,
        name: "f".parse().unwrap(),
        artifact: usher_core::id::Digest([7; 32]),
        settings,
    };
    let json = serde_json::to_value(&request).unwrap();
    assert_eq!(deploy_request(&json).unwrap(), request);
}

#[test]
fn mistakes_in_requests_of_the_platforms_own_are_told() {
    for (lines, said) in [
        (
            "[[warm_up]]\npath = \"x\"",
            "warm_up[0].path: \"x\" is no path",
        ),
        (
            "[[warm_up]]\nmethod = \"get\"",
            "warm_up[0].method: \"get\" is no method",
        ),
        (
            "[[warm_up]]\nheaders = { \"a b\" = \"x\" }",
            "warm_up[0].headers.a b: no header",
        ),
        (
            "[[warm_up]]\nheaders = { a = \"\\n\" }",
            "warm_up[0].headers.a: no header",
        ),
        (
            "[[warm_up]]\nevent = \"{\"",
            "warm_up[0].event: this is not JSON",
        ),
        (
            "[[warm_up]]\nevent = \"1\"\npath = \"/\"",
            "is the whole request",
        ),
        (
            "[[warm_up]]\n[[warm_up]]\ncolour = 1",
            "warm_up[1].colour: unknown",
        ),
        (
            "[lint]\nfreshness = \"no\"",
            "lint.freshness: \"no\" is none",
        ),
        ("[lint]\nrequests = 1", "each under [[requests]]"),
    ] {
        let told = mistakes(&format!("{}\n{lines}", warmed()));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(said), "{told:?}");
    }
    let many = "[[warm_up]]\n".repeat(17);
    assert!(mistakes(&format!("{}\n{many}", warmed()))[0].contains("at most 16"));
    let both = mistakes(&format!("{PROGRAM}\n[[warm_up]]"));
    assert!(both[0].contains("leave out one of the two"), "{both:?}");
    let server = warmed().replace("handler = \"handler.handler\"", "");
    let server = server.replace("lambda", "http");
    let event = format!("{server}\n[[warm_up]]\nevent = \"1\"");
    assert!(mistakes(&event)[0].contains("only a Lambda function"));
    assert!(one_mistake("[[warm_up]]\nevent = \"1\"").contains("only a Lambda function"));
    // A component has them like a program.
    let component =
        "name = \"f\"\ncomponent = \"f.wasm\"\n[[warm_up]]\n[lint]\nfreshness = \"off\"";
    let settings = Manifest::read(component).unwrap().settings;
    assert_eq!(settings.warm_up, [Sample::default()]);
    assert_eq!(settings.lint.freshness, LintChoice::Off);
}

#[test]
fn all_mistakes_of_a_program_are_told_at_once() {
    let told = mistakes(
        "name = \"f\"\n\
         handler = \"a.b\"\n\
         [process]\n\
         contract = \"grpc\"\n\
         command = []\n\
         handler = \"a b\"\n\
         folder = \"../x\"\n\
         colour = 1\n\
         [process.environment]\n\
         PORT = \"1\"\n\
         9A = \"1\"\n\
         B = 1\n\
         C = \"\\u0000\"\n",
    );
    let expected = [
        "line 2: handler: unknown here; it belongs under [process]",
        "line 4: process.contract: \"grpc\" is none of its values; write \"lambda\" or \"http\"",
        "line 5: process.command: it names no program; write [\"python3\", \"app.py\"]",
        "line 6: process.handler: \"a b\" is no handler: ",
        "line 7: process.folder: \"../x\" is no folder inside the manifest's; ",
        "line 8: process.colour: unknown; known here: contract, command, handler, environment, \
         reuse, areas, snap_start, folder",
        "line 10: process.environment.PORT: the platform sets this variable itself",
        "line 11: process.environment.9A: no name of a variable: ",
        "line 12: process.environment.B: a whole number was found; write a text in quotes",
        "line 13: process.environment.C: the value holds a zero byte",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn a_function_is_a_component_or_a_program() {
    let both = PROGRAM.replace("name = \"f\"", "name = \"f\"\ncomponent = \"f.wasm\"");
    let told = mistakes(&both);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("process: a function is a component or a program"));
    assert!(mistakes("name = \"f\"\n")[0].contains("or a table [process]"));
    // A component that is wrong is told as such, and not as missing.
    let told = mistakes("name = \"f\"\ncomponent = 1\n");
    assert_eq!(
        told,
        ["line 2: component: a whole number was found; write a text in quotes"]
    );
    for (line, said) in [
        (
            "contract = \"http\"\nhandler = \"a.b\"\ncommand = [\"x\"]",
            "has none",
        ),
        (
            "contract = \"http\"\nsnap_start = true\ncommand = [\"x\"]",
            "has no such hooks",
        ),
        ("contract = \"http\"\ncommand = [\"\"]", "names no program"),
        ("contract = \"http\"\ncommand = [\"a\\u0000\"]", "zero byte"),
        ("contract = \"http\"", "process.command: missing"),
        ("command = [\"x\"]", "process.contract: missing"),
    ] {
        let told = mistakes(&format!("name = \"f\"\n[process]\n{line}\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(said), "{told:?}");
    }
    let long = "x".repeat(5_000);
    let command = format!("command = [\"{long}\"]");
    let told = mistakes(&format!(
        "name = \"f\"\n[process]\ncontract = \"http\"\n{command}"
    ));
    assert!(told[0].contains("at most 4096"), "{told:?}");
}

#[test]
fn settings_from_before_there_were_programs_are_read() {
    let mut then = serde_json::to_value(Settings::default()).unwrap();
    then.as_object_mut().unwrap().remove("process");
    for key in [
        "start_max_ms",
        "tasks_max",
        "scratch_max_mib",
        "files_max",
        "cpu_max_millis",
        "grace_max_ms",
    ] {
        let limits = then["limits"].as_object_mut().unwrap();
        assert!(limits.remove(key).is_some());
    }
    let now: Settings = serde_json::from_value(then).unwrap();
    assert_eq!(now, Settings::default());
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

#[test]
fn a_manifest_says_how_its_artifact_is_made() {
    let text = "name = \"f\"\n[build]\ncommand = [\"make\"]\nartifact = \"out/f.wasm\"\n\
                watch = [\"src\", \"../shared\"]\nignore = [\"*.log\"]\n";
    let manifest = Manifest::read(text).unwrap();
    let build = manifest.build.unwrap();
    assert_eq!(build.command, ["make"]);
    assert_eq!(build.watch, ["src", "../shared"]);
    assert_eq!(build.ignore, ["*.log"]);
    assert_eq!(
        manifest.content,
        Content::Component("out/f.wasm".to_owned())
    );
    let text = "name = \"f\"\n[process]\ncontract = \"http\"\ncommand = [\"./run\"]\n\
                [build]\ncommand = [\"make\"]\nartifact = \"dist\"\n";
    let program = Manifest::read(text).unwrap();
    assert_eq!(program.content, Content::Folder("dist".to_owned()));
}

#[test]
fn a_build_is_no_setting_of_the_revision() {
    let text = "name = \"f\"\ncomponent = \"f.wasm\"\n[build]\ncommand = [\"make\"]\n";
    let manifest = Manifest::read(text).unwrap();
    assert_eq!(manifest.settings, Settings::default());
    assert_eq!(manifest.content, Content::Component("f.wasm".to_owned()));
}

#[test]
fn mistakes_about_the_build_are_told() {
    let all = mistakes(
        "name = \"f\"\ncomponent = \"f.wasm\"\n[build]\ncommand = []\n\
         artifact = \"../f.wasm\"\nwatch = [\"/etc\"]\nignore = [1]\ncomand = 1\n",
    );
    let expected = [
        "line 4: build.command: it names no program; ",
        "line 5: build.artifact: \"../f.wasm\" is nothing inside the manifest's folder; ",
        "line 6: build.watch: \"/etc\" is no path from the manifest's folder; ",
        "line 7: build.ignore: a whole number was found; ",
        "line 8: build.comand: unknown; did you mean \"command\"?",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (said, expected) in all.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said} {expected}");
    }
    let both = "[build]\ncommand = [\"make\"]\nartifact = \"out.wasm\"\n";
    assert_eq!(
        one_mistake(both),
        "line 2: component: build.artifact names the component already; leave out one"
    );
    assert!(mistakes("name = \"f\"\n[build]\nartifact = \"f.wasm\"\n")[0].contains("command"));
}

#[test]
fn what_a_function_is_given_is_read() {
    let text = r#"
        name = "f"
        component = "f.wasm"
        [env]
        COLOUR = "blue"
        [config]
        "any.key with spaces" = "1"
        [secrets]
        DB_PASSWORD = "db-password"
        TOKEN = { secret = "token", as = "env" }
        [keyvalue]
        buckets = ["default", "owner:rates"]
        keys_max = 5
        "#;
    let settings = Manifest::read(text).unwrap().settings;
    assert_eq!(settings.env["COLOUR"], "blue");
    assert_eq!(settings.config["any.key with spaces"], "1");
    let used = |name: &str| {
        let used = &settings.secrets[name];
        (used.secret.as_str(), used.delivery)
    };
    assert_eq!(used("DB_PASSWORD"), ("db-password", Delivery::Store));
    assert_eq!(used("TOKEN"), ("token", Delivery::Env));
    assert_eq!(settings.keyvalue.buckets, ["default", "owner:rates"]);
    assert_eq!(settings.keyvalue.keys_max, 5);
    // What is written is read again: the client sends what it has read.
    let artifact = usher_core::id::Digest([0; 32]);
    let request = json!({"name": "f", "artifact": artifact, "settings": settings});
    assert_eq!(deploy_request(&request).unwrap().settings, settings);
}

#[test]
fn mistakes_in_what_a_function_is_given_are_told() {
    for (lines, at, said) in [
        ("[env]\n\"A=B\" = \"1\"", "env.A=B", "no name of a variable"),
        ("[env]\nA = 1", "env.A", "write a text in quotes"),
        ("[secrets]\nA = \"No Name\"", "secrets.A", "is not a name"),
        (
            "[secrets]\nA = { as = \"env\" }",
            "secrets.A.secret",
            "missing",
        ),
        (
            "[secrets]\nA = { secret = \"a\", as = \"file\" }",
            "secrets.A.as",
            "\"store\"",
        ),
        (
            "[secrets]\nA = { secret = \"a\", value = \"b\" }",
            "secrets.A.value",
            "unknown",
        ),
        (
            "[secrets]\nA = 5",
            "secrets.A",
            "a text in quotes or a table",
        ),
        (
            "[secrets]\n\"../A\" = \"a\"",
            "secrets.../A",
            "no name of a variable",
        ),
        (
            "[config]\nA = \"1\"\n[secrets]\nA = \"a\"",
            "secrets",
            "config too",
        ),
        (
            "[env]\nA = \"1\"\n[secrets]\nA = { secret = \"a\", as = \"env\" }",
            "secrets",
            "env too",
        ),
        (
            "[keyvalue]\nbuckets = [\"a.b\"]",
            "keyvalue.buckets",
            "no name of a bucket",
        ),
        ("[keyvalue]\nkeys_max = 0", "keyvalue.keys_max", "from 1 to"),
    ] {
        let mistake = one_mistake(lines);
        assert!(
            mistake.contains(&format!("{at}: ")) && mistake.contains(said),
            "{lines}: {mistake}"
        );
    }
    let program = "name = \"f\"\n[process]\ncontract = \"http\"\ncommand = [\"x\"]\n";
    for (lines, said) in [
        (
            "[process.environment]\nA = \"1\"\n[env]\nA = \"2\"",
            "process.environment too",
        ),
        ("[config]\nA = \"1\"", "write [env] for a program"),
        ("[keyvalue]\nbuckets = [\"default\"]", "only components"),
    ] {
        let all = mistakes(&format!("{program}{lines}"));
        assert!(all.len() == 1 && all[0].contains(said), "{all:?}");
    }
}
