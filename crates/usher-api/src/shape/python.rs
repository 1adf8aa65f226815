//! Programs for Python.

use usher_core::function::Contract;

use super::{Candidate, Files, Shape};

/// Virtual environments, as people call them.
const VENVS: [&str; 2] = [".venv", "venv"];
/// Modules that AWS calls handlers by, and what they are called in each, the usual one first.
const LAMBDAS: [(&str, [&str; 2]); 2] = [
    ("lambda_function", ["lambda_handler", "handler"]),
    ("handler", ["handler", "lambda_handler"]),
];
/// Modules that are servers.
const SERVERS: [&str; 3] = ["app", "main", "server"];
/// What makes an application for ASGI.
const ASGI: [&str; 6] = [
    "FastAPI(",
    "Starlette(",
    "Quart(",
    "Litestar(",
    "Sanic(",
    "get_asgi_application(",
];
/// Names that Flask finds by itself.
const FOUND_BY_FLASK: [&str; 2] = ["app", "application"];

/// An interpreter and what it has to be told.
struct Interpreter {
    program: String,
    /// Where the packages of a virtual environment are, if it does not know by itself.
    packages: Option<String>,
}

impl Interpreter {
    /// That of a virtual environment in the folder, else the machine's.
    fn of(files: &Files) -> Self {
        for venv in VENVS {
            let program = format!("{venv}/bin/python");
            if files.has(&program) {
                return Self {
                    program,
                    packages: None,
                };
            }
            // An environment's interpreter is mostly a link to the machine's, which is not packed.
            let lib = format!("{venv}/lib/");
            let found = files.find(&format!("{lib}python"), "").and_then(|path| {
                let (version, rest) = path.strip_prefix(&lib)?.split_once('/')?;
                rest.starts_with("site-packages/").then_some(version)
            });
            if let Some(version) = found {
                return Self {
                    program: version.to_owned(),
                    packages: Some(format!("{lib}{version}/site-packages")),
                };
            }
        }
        Self {
            program: "python3".to_owned(),
            packages: None,
        }
    }

    fn has(&self, files: &Files, package: &str) -> bool {
        let init = format!("{package}/__init__.py");
        let packages = VENVS.map(|venv| format!("{venv}/lib/"));
        let in_venv = |lib: &String| files.find(lib, &format!("/site-packages/{init}")).is_some();
        files.has(&init) || packages.iter().any(in_venv)
    }

    fn shape(self, what: String, contract: Contract, arguments: &[&str]) -> Shape {
        let command = [&[self.program.as_str()], arguments].concat();
        let mut shape = Shape::new(what, contract, &command);
        if let Some(packages) = self.packages {
            let environment = &mut shape.process.environment;
            environment.insert("PYTHONPATH".to_owned(), packages);
        }
        shape
    }
}

/// Lambda functions.
pub(super) fn lambdas(files: &Files) -> Vec<Candidate> {
    let there = LAMBDAS.iter().filter_map(|(module, functions)| {
        let name = format!("{module}.py");
        let text = files.text(&name)?;
        Some(lambda(files, module, functions, &text))
    });
    there.collect()
}

fn lambda(files: &Files, module: &str, functions: &[&str; 2], text: &str) -> Candidate {
    let defined = functions.iter().find(|name| defines(text, name));
    let Some(function) = defined else {
        return Err(format!(
            "{module}.py defines neither {} nor {}; name one so, or say which it is in a \
             function.toml",
            functions[0], functions[1]
        ));
    };
    let interpreter = Interpreter::of(files);
    if !interpreter.has(files, "awslambdaric") {
        return Err(format!(
            "{module}.py is a Lambda function, and the Lambda runtime is missing; install it into \
             the folder: pip install --target . awslambdaric"
        ));
    }
    let handler = format!("{module}.{function}");
    let what = format!("a Lambda function for Python, {module}.py");
    let arguments = ["-m", "awslambdaric", &handler];
    let mut shape = interpreter.shape(what, Contract::Lambda, &arguments);
    shape.process.handler = Some(handler);
    Ok(shape)
}

/// Whether a module gives a name to something at its top.
fn defines(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.strip_prefix("def ").unwrap_or(line);
        let rest = rest.strip_prefix(name).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with(['(', '=', ':']))
    })
}

/// Servers.
pub(super) fn servers(files: &Files) -> Vec<Candidate> {
    let there = SERVERS.iter().filter_map(|module| {
        let text = files.text(&format!("{module}.py"))?;
        Some(Ok(server(files, module, &text)))
    });
    there.collect()
}

/// A file that is shipped alone.
pub(super) fn one_file(name: &str, files: &Files) -> Candidate {
    let module = name.strip_suffix(".py").unwrap_or(name);
    let text = files.text(name).unwrap_or_default();
    let lambda_of = |(known, functions): &(&str, [&str; 2])| {
        (*known == module).then(|| lambda(files, module, functions, &text))
    };
    let lambda = LAMBDAS.iter().find_map(lambda_of);
    lambda.unwrap_or_else(|| Ok(server(files, module, &text)))
}

fn server(files: &Files, module: &str, text: &str) -> Shape {
    let interpreter = Interpreter::of(files);
    let http = Contract::Http;
    let flask = assigned(text, &["Flask("]);
    if flask.is_some()
        || text
            .lines()
            .any(|line| line.starts_with("from flask import"))
    {
        let app = match flask {
            Some(name) if !FOUND_BY_FLASK.contains(&name) => format!("{module}:{name}"),
            _ => module.to_owned(),
        };
        let what = format!("a Flask application, {module}.py");
        let arguments = [
            "-m",
            "flask",
            "--app",
            &app,
            "run",
            "--host",
            "127.0.0.1",
            "--port",
            "$PORT",
        ];
        return interpreter.shape(what, http, &arguments);
    }
    if let Some(name) = assigned(text, &ASGI).or_else(|| bare_asgi(text)) {
        let app = format!("{module}:{name}");
        let what = format!("an ASGI application, {module}.py");
        let arguments = [
            "-m",
            "uvicorn",
            &app,
            "--host",
            "127.0.0.1",
            "--port",
            "$PORT",
        ];
        return interpreter.shape(what, http, &arguments);
    }
    let file = format!("{module}.py");
    interpreter.shape(format!("a server for Python, {file}"), http, &[&file])
}

/// The name that is given to the first of these at the top of a module.
fn assigned<'t>(text: &'t str, makers: &[&str]) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        // Such as `app: FastAPI = fastapi.FastAPI(…)`.
        let name = name
            .split_once(':')
            .map_or(name, |(name, _)| name)
            .trim_end();
        let value = value.trim_start();
        let begins =
            |maker: &&str| value.starts_with(*maker) || value.contains(&format!(".{maker}"));
        (is_name(name) && makers.iter().any(begins)).then_some(name)
    })
}

/// The name of a function that is an ASGI application itself.
fn bare_asgi(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let (name, arguments) = line.strip_prefix("async def ")?.split_once('(')?;
        arguments
            .replace(' ', "")
            .starts_with("scope,receive,send")
            .then_some(name)
    })
}

fn is_name(text: &str) -> bool {
    let letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    !text.is_empty() && text.chars().all(letter)
}
