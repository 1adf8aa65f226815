//! Programs for Node.

use serde_json::Value as Json;
use usher_core::function::Contract;

use super::{Candidate, Files, Shape};

/// How the Lambda runtime's own package is started, newest first: of 4, 3 and 2. The newest is told
/// the handler by `_HANDLER` only, the others by their argument as well.
const RUNTIMES: [&str; 3] = [
    "node_modules/aws-lambda-ric/index.mjs",
    "node_modules/aws-lambda-ric/bin/index.mjs",
    "node_modules/aws-lambda-ric/bin/index.js",
];
/// Files that AWS calls handlers by.
const MODULES: [&str; 2] = ["index", "handler"];
const EXTENSIONS: [&str; 3] = ["js", "mjs", "cjs"];
/// How a module exports what is called `handler`.
const EXPORTS: [&str; 7] = [
    "exports.handler",
    "export const handler",
    "export let handler",
    "export function handler",
    "export async function handler",
    "export { handler",
    "export {handler",
];
/// What `npm start` runs where a package does not say, and what Node takes a package for.
const MAINS: [&str; 3] = ["server.js", "index.js", "app.js"];
/// What only a shell understands.
const FOR_A_SHELL: &[char] = &[
    '&', '|', ';', '<', '>', '$', '`', '\'', '"', '*', '?', '(', ')', '{', '}', '\\', '~', '#',
];

/// Lambda functions.
pub(super) fn lambdas(files: &Files) -> Vec<Candidate> {
    let runtime = RUNTIMES.iter().find(|path| files.has(path));
    let names = MODULES.iter().flat_map(|module| {
        let with = move |extension| (*module, format!("{module}.{extension}"));
        EXTENSIONS.iter().map(with)
    });
    let exports = |name: &str| {
        let text = files.text(name)?;
        EXPORTS.iter().find(|export| text.contains(**export))
    };
    let handlers = names.filter(|(_, name)| exports(name).is_some());
    let lambda = |(module, name): (&str, String)| {
        let Some(runtime) = runtime else {
            return Err(format!(
                "{name} exports a handler, and the Lambda runtime is missing; install it into the \
                 folder: npm install aws-lambda-ric"
            ));
        };
        let handler = format!("{module}.handler");
        let what = format!("a Lambda function for Node, {name}");
        let mut shape = Shape::new(what, Contract::Lambda, &["node", runtime, &handler]);
        shape.process.handler = Some(handler);
        Ok(shape)
    };
    handlers.map(lambda).collect()
}

/// A package that serves HTTP, unless it has the Lambda runtime.
pub(super) fn package(files: &Files) -> Option<Candidate> {
    if RUNTIMES.iter().any(|path| files.has(path)) {
        return None;
    }
    let text = files.text("package.json")?;
    let Ok(package) = serde_json::from_str::<Json>(&text) else {
        return Some(Err("package.json is no JSON".to_owned()));
    };
    let needs = package["dependencies"].as_object();
    let needs = needs.is_some_and(|needs| !needs.is_empty());
    let start = start_script(&package).or_else(|| main_file(&package, files))?;
    if needs && files.find("node_modules/", "").is_none() {
        return Some(Err(
            "package.json names dependencies, and node_modules is not there; run npm install first"
                .to_owned(),
        ));
    }
    Some(Ok(start))
}

/// One file.
pub(super) fn script(name: &str) -> Shape {
    let what = format!("a server for Node, {name}");
    Shape::new(what, Contract::Http, &["node", name])
}

fn start_script(package: &Json) -> Option<Shape> {
    let script = package["scripts"]["start"].as_str()?.trim();
    if script.is_empty() {
        return None;
    }
    let what = format!("the start script of package.json, {script:?}");
    let words: Vec<&str> = script.split_whitespace().collect();
    // A program that a shell stands before does not get the signal to end.
    if words[0] == "node" && !script.contains(FOR_A_SHELL) {
        return Some(Shape::new(what, Contract::Http, &words));
    }
    let line = format!("PATH=\"$PWD/node_modules/.bin:$PATH\"; {script}");
    Some(Shape::new(what, Contract::Http, &["sh", "-c", &line]))
}

fn main_file(package: &Json, files: &Files) -> Option<Shape> {
    let main = package["main"].as_str().map(|main| {
        let main = main.strip_prefix("./").unwrap_or(main);
        [
            main.to_owned(),
            format!("{main}.js"),
            format!("{main}/index.js"),
        ]
    });
    let defaults = MAINS.map(str::to_owned);
    let mut names = main.into_iter().flatten().chain(defaults);
    names.find(|name| files.has(name)).map(|name| script(&name))
}
