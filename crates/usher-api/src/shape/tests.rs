//! Folders as people have them.

use proptest::prelude::*;

use super::*;

/// Files of a folder; those whose name ends in `*` may be run.
fn folder(files: &[(&str, &str)]) -> Files {
    let mut all = Files::default();
    for (path, head) in files {
        let name = path.trim_end_matches('*');
        all.add(name, name != *path, head.as_bytes().to_vec());
    }
    all
}

fn process(files: &[(&str, &str)]) -> Process {
    recognise(&folder(files)).unwrap().process
}

fn command(files: &[(&str, &str)]) -> String {
    process(files).command.join(" ")
}

fn error(files: &[(&str, &str)]) -> String {
    recognise(&folder(files)).unwrap_err().to_string()
}

const RIC: (&str, &str) = ("awslambdaric/__init__.py", "");
const NODE_RIC: (&str, &str) = ("node_modules/aws-lambda-ric/bin/index.mjs", "");

#[test]
fn lambda_functions_are_recognised() {
    let python = process(&[("handler.py", "def handler(event, context):\n"), RIC]);
    assert_eq!(python.contract, Contract::Lambda);
    assert_eq!(
        python.command.join(" "),
        "python3 -m awslambdaric handler.handler"
    );
    assert_eq!(python.handler.as_deref(), Some("handler.handler"));
    let by_name = command(&[("lambda_function.py", "lambda_handler = make()\n"), RIC]);
    assert_eq!(
        by_name,
        "python3 -m awslambdaric lambda_function.lambda_handler"
    );
    for export in [
        "exports.handler = async () => {}",
        "export const handler = 1",
    ] {
        let node = process(&[("index.mjs", export), NODE_RIC, ("package.json", "{}")]);
        assert_eq!(node.contract, Contract::Lambda);
        let words = "node node_modules/aws-lambda-ric/bin/index.mjs index.handler";
        assert_eq!(node.command.join(" "), words);
    }
    let newest = ("node_modules/aws-lambda-ric/index.mjs", "");
    let words = command(&[("handler.js", "exports.handler = 1"), newest, NODE_RIC]);
    assert_eq!(
        words,
        "node node_modules/aws-lambda-ric/index.mjs handler.handler"
    );
    let own = process(&[("bootstrap*", "\x7fELF"), ("app.py", "")]);
    assert_eq!(
        (own.contract, own.command),
        (Contract::Lambda, vec!["./bootstrap".to_owned()])
    );
}

#[test]
fn what_a_lambda_function_lacks_is_told() {
    for (files, said) in [
        (
            &[("handler.py", "def handler(e, c):")][..],
            "pip install --target . awslambdaric",
        ),
        (
            &[("handler.py", "def other():"), RIC][..],
            "neither handler nor lambda_handler",
        ),
        (
            &[("index.js", "exports.handler = 1")][..],
            "npm install aws-lambda-ric",
        ),
        (&[("bootstrap", "\x7fELF")][..], "chmod +x"),
    ] {
        let told = error(files);
        assert!(told.contains(said), "{told}");
    }
    // A module of this name in a server is no function.
    let server = [("handler.py", "def handler(e, c):"), ("app.py", "")];
    assert_eq!(command(&server), "python3 app.py");
}

#[test]
fn python_servers_are_recognised() {
    for (text, expected) in [
        (
            "from flask import Flask\napp = Flask(__name__)",
            "flask --app main run --host 127.0.0.1 --port $PORT",
        ),
        (
            "import flask\napi = flask.Flask(__name__)",
            "flask --app main:api run --host 127.0.0.1 --port $PORT",
        ),
        (
            "from fastapi import FastAPI\napp = FastAPI()",
            "uvicorn main:app --host 127.0.0.1 --port $PORT",
        ),
        (
            "web: Starlette = Starlette(routes)",
            "uvicorn main:web --host 127.0.0.1 --port $PORT",
        ),
        (
            "async def app(scope, receive, send):",
            "uvicorn main:app --host 127.0.0.1 --port $PORT",
        ),
    ] {
        assert_eq!(
            command(&[("main.py", text)]),
            format!("python3 -m {expected}"),
            "{text}"
        );
    }
    assert_eq!(
        command(&[("server.py", "# app = Flask(1)\nimport http.server")]),
        "python3 server.py"
    );
}

#[test]
fn a_virtual_environment_in_the_folder_is_used() {
    let whole = [
        ("app.py", ""),
        (".venv/bin/python", ""),
        (".venv/lib/python3.12/site-packages/a.py", ""),
    ];
    assert_eq!(command(&whole), ".venv/bin/python app.py");
    let without = process(&[
        ("app.py", ""),
        ("venv/lib/python3.12/site-packages/a.py", ""),
    ]);
    assert_eq!(without.command.join(" "), "python3.12 app.py");
    assert_eq!(
        without.environment["PYTHONPATH"],
        "venv/lib/python3.12/site-packages"
    );
    let lambda = [
        ("handler.py", "def handler(e, c):"),
        (
            ".venv/lib/python3.12/site-packages/awslambdaric/__init__.py",
            "",
        ),
    ];
    assert_eq!(
        command(&lambda),
        "python3.12 -m awslambdaric handler.handler"
    );
}

#[test]
fn node_servers_are_recognised() {
    for (package, expected) in [
        (
            r#"{"scripts": {"start": "node  --enable-source-maps src/a.js"}}"#,
            "node --enable-source-maps src/a.js",
        ),
        (
            r#"{"scripts": {"start": "NODE_ENV=x node a.js && true"}}"#,
            "sh -c PATH=\"$PWD/node_modules/.bin:$PATH\"; NODE_ENV=x node a.js && true",
        ),
        (r#"{"main": "./lib/a"}"#, "node lib/a.js"),
        (r#"{"main": "gone.js"}"#, "node server.js"),
        (r#"{"scripts": {"start": " "}}"#, "node server.js"),
        ("{}", "node server.js"),
    ] {
        let files = [
            ("package.json", package),
            ("lib/a.js", ""),
            ("server.js", ""),
            ("index.js", ""),
        ];
        assert_eq!(command(&files), expected, "{package}");
    }
    let needs = r#"{"main": "a.js", "dependencies": {"express": "5"}}"#;
    assert!(error(&[("package.json", needs), ("a.js", "")]).contains("npm install"));
    let there = [
        ("package.json", needs),
        ("a.js", ""),
        ("node_modules/express/index.js", ""),
    ];
    assert_eq!(command(&there), "node a.js");
    assert!(error(&[("package.json", "{")]).contains("no JSON"));
}

#[test]
fn what_is_said_outright_goes_first() {
    let files = [
        ("Procfile", "release: x\nweb: gunicorn app:app -b :$PORT\n"),
        ("app.py", ""),
    ];
    assert_eq!(command(&files), "sh -c gunicorn app:app -b :$PORT");
    assert!(error(&[("Procfile", "web:\n")]).contains("empty web line"));
    assert_eq!(
        command(&[("Procfile", "worker: x\n"), ("app.py", "")]),
        "python3 app.py"
    );
    assert!(error(&[("Procfile", "web: x"), ("bootstrap*", "")]).contains("several"));
}

#[test]
fn one_program_is_recognised_and_two_are_not() {
    let one = [
        ("server*", "\x7fELF"),
        ("libx.so.1*", "\x7fELF"),
        ("data", "\x7fELF"),
        ("x*", "#!"),
    ];
    assert_eq!(command(&one), "./server");
    let two = error(&[("one*", "\x7fELF"), ("two*", "\x7fELF")]);
    assert!(
        two.contains("an HTTP server, one; an HTTP server, two"),
        "{two}"
    );
    assert!(two.contains("[process]"), "{two}");
    let two = error(&[
        ("app.py", ""),
        ("package.json", r#"{"main": "a.js"}"#),
        ("a.js", ""),
    ]);
    assert!(
        two.contains("a server for Node, a.js; a server for Python, app.py"),
        "{two}"
    );
    let none = error(&[("README.md", ""), ("sub/app.py", "")]);
    assert!(
        none.contains("looked for") && none.contains("[process]"),
        "{none}"
    );
}

#[test]
fn a_file_alone_is_recognised_by_its_ending() {
    let file =
        |name: &str, head| recognise_file(name.trim_end_matches('*'), &folder(&[(name, head)]));
    let words = |name, head| file(name, head).unwrap().process.command.join(" ");
    assert_eq!(words("x.py", "print()"), "python3 x.py");
    assert_eq!(
        words("x.py", "app = FastAPI()"),
        "python3 -m uvicorn x:app --host 127.0.0.1 --port $PORT"
    );
    assert_eq!(words("x.mjs", ""), "node x.mjs");
    assert_eq!(words("x*", "\x7fELF"), "./x");
    assert_eq!(words("x*", "#!/bin/sh"), "./x");
    assert!(matches!(
        file("handler.py", "def handler(e, c):"),
        Err(ShapeError::Lacks(_))
    ));
    assert!(matches!(file("x.rs", ""), Err(ShapeError::Unknown)));
    assert!(matches!(file("x", "\x7fELF"), Err(ShapeError::Unknown)));
}

#[test]
fn what_is_recognised_is_what_a_manifest_may_say() {
    for files in [
        &[
            ("app.py", "app = FastAPI()"),
            ("venv/lib/python3/site-packages/a", ""),
        ][..],
        &[("handler.py", "def handler(e, c):"), RIC][..],
        &[("Procfile", "web: x"), RIC][..],
    ] {
        let process = process(files);
        let request = serde_json::json!({
            "name": "f", "artifact": "00".repeat(32), "settings": {"process": process},
        });
        let read = crate::manifest::deploy_request(&request).unwrap();
        assert_eq!(read.settings.process, Some(process));
    }
}

proptest! {
    #[test]
    fn no_folder_makes_it_panic(
        names in proptest::collection::vec(
            ("(app.py|handler.py|index.js|package.json|Procfile|bootstrap|x|venv/lib/[a-z/]*)",
             any::<bool>(), "\\PC{0,40}"),
            0..6,
        ),
    ) {
        let mut files = Files::default();
        for (path, executable, head) in names {
            files.add(&path, executable, head.into_bytes());
        }
        let _ = recognise(&files);
    }
}
