//! What a manifest says of a program, and of the requests of the platform's own.

use usher_core::function::{Contract, LintChoice, Sample};

use super::*;

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
