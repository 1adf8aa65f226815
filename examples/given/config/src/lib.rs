//! Answers what it is given: `?env=NAME` a variable, `?config=NAME` a value of `wasi:config`, and
//! `?all=env` or `?all=config` the names of all of them.
//!
//! `?calls` answers how often this instance was called: "1" in every clean area.

use std::cell::Cell;

use wasi::config::store;
use wasip2::cli::environment;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: "../../../crates/usher-wasm/wit/config.wit",
    world: "wasi:config/imports",
});

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Config;

impl Guest for Config {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        let asked = |name| guest::query(&request, name);
        let found = if let Some(name) = asked("env") {
            variable(&name)
        } else if let Some(name) = asked("config") {
            store::get(&name).ok().flatten()
        } else if let Some(which) = asked("all") {
            Some(names(&which).join("\n"))
        } else {
            Some(CALLS.get().to_string())
        };
        match found {
            Some(value) => guest::answer(out, 200, value.as_bytes()),
            None => guest::answer(out, 404, b"none\n"),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    let all = environment::get_environment().into_iter();
    all.filter(|(of, _)| of == name).map(|(_, value)| value).next()
}

fn names(which: &str) -> Vec<String> {
    let all = match which {
        "env" => environment::get_environment(),
        _ => store::get_all().unwrap_or_default(),
    };
    let mut names: Vec<_> = all.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

wasip2::http::proxy::export!(Config);
