//! The text that tells revisions apart.
//!
//! Ids are kept for ever, so what is written here of a component must never change. Settings that
//! came later stand in parts of their own, each of which is left out where it says nothing.
//! Deliberately absent: the digest, which needs a crate.

use std::fmt;

use super::{Events, InvokeBy, Keep, Limits, Lint, Process, Sample, Settings, Twins};
use crate::id::{Digest, FunctionKey};

/// See [`super::Revision::identity`].
pub(super) fn text(function: &FunctionKey, artifact: &Digest, settings: &Settings) -> String {
    let mut text = format!(
        "usher-revision-1\n{function}\n{artifact}\n{:?}\n",
        Component(settings)
    );
    let program = Program::of(settings);
    if program != Program::of(&Settings::default()) {
        text.push_str(&format!("{program:?}\n"));
    }
    let keys = Keys::of(settings);
    if keys != Keys::of(&Settings::default()) {
        text.push_str(&format!("{keys:?}\n"));
    }
    let own = Own::of(settings);
    if own != Own::of(&Settings::default()) {
        text.push_str(&format!("{own:?}\n"));
    }
    let twins = settings.keep.twins;
    if twins != Twins::default() {
        text.push_str(&format!("Twins {{ twins: {twins:?} }}\n"));
    }
    if let Some(cors) = &settings.cors {
        text.push_str(&format!("{cors:?}\n"));
    }
    if settings.invoke != InvokeBy::default() {
        text.push_str(&format!("Callers {{ invoke: {:?} }}\n", settings.invoke));
    }
    if settings.events != Events::default() {
        text.push_str(&format!("{:?}\n", settings.events));
    }
    text
}

/// The settings that there were when there were only components, in the words of that time.
struct Component<'a>(&'a Settings);

impl fmt::Debug for Component<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart without `..`, so that nothing new can be forgotten.
        let Settings {
            isolation,
            renewal,
            renew,
            limits,
            keep,
            outbound,
            hide_proof,
            invoke: _,
            warm_up: _,
            lint: _,
            process: _,
            cors: _,
            events: _,
        } = self.0;
        f.debug_struct("Settings")
            .field("isolation", isolation)
            .field("renewal", renewal)
            .field("renew", renew)
            .field("limits", &ComponentLimits(limits))
            .field("keep", &ComponentKeep(keep))
            .field("outbound", outbound)
            .field("hide_proof", hide_proof)
            .finish()
    }
}

/// The limits of the same time.
struct ComponentLimits<'a>(&'a Limits);

impl fmt::Debug for ComponentLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits {
            first_byte_max_ms,
            idle_max_ms,
            total_max_ms,
            memory_max_mib,
            table_max_elements,
            instances_max,
            concurrency_max,
            queue_max,
            queue_wait_max_ms,
            body_max_bytes,
            handles_max,
            start_max_ms: _,
            tasks_max: _,
            scratch_max_mib: _,
            files_max: _,
            cpu_max_millis: _,
            grace_max_ms: _,
        } = self.0;
        f.debug_struct("Limits")
            .field("first_byte_max_ms", first_byte_max_ms)
            .field("idle_max_ms", idle_max_ms)
            .field("total_max_ms", total_max_ms)
            .field("memory_max_mib", memory_max_mib)
            .field("table_max_elements", table_max_elements)
            .field("instances_max", instances_max)
            .field("concurrency_max", concurrency_max)
            .field("queue_max", queue_max)
            .field("queue_wait_max_ms", queue_wait_max_ms)
            .field("body_max_bytes", body_max_bytes)
            .field("handles_max", handles_max)
            .finish()
    }
}

/// What was kept ready at the same time.
struct ComponentKeep<'a>(&'a Keep);

impl fmt::Debug for ComponentKeep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keep {
            ready_min,
            idle_max_s,
            keys_max: _,
            key_idle_max_s: _,
            twins: _,
        } = self.0;
        f.debug_struct("Keep")
            .field("ready_min", ready_min)
            .field("idle_max_s", idle_max_s)
            .finish()
    }
}

/// What came with isolation by key, beside the kind of isolation itself.
// Read by its derived `Debug` and `PartialEq`.
#[derive(Debug, PartialEq)]
struct Keys {
    keys_max: u32,
    key_idle_max_s: u64,
}

impl Keys {
    fn of(settings: &Settings) -> Self {
        Self {
            keys_max: settings.keep.keys_max,
            key_idle_max_s: settings.keep.key_idle_max_s,
        }
    }
}

/// What came with requests of the platform's own.
// Read by its derived `Debug` and `PartialEq`.
#[derive(Debug, PartialEq)]
struct Own<'a> {
    warm_up: &'a [Sample],
    lint: &'a Lint,
}

impl<'a> Own<'a> {
    fn of(settings: &'a Settings) -> Self {
        Self {
            warm_up: &settings.warm_up,
            lint: &settings.lint,
        }
    }
}

/// What came with programs.
// Read by its derived `Debug` and `PartialEq`.
#[derive(Debug, PartialEq)]
struct Program<'a> {
    process: Option<&'a Process>,
    start_max_ms: u64,
    tasks_max: u32,
    scratch_max_mib: u32,
    files_max: u32,
    cpu_max_millis: Option<u32>,
    grace_max_ms: u64,
}

impl<'a> Program<'a> {
    fn of(settings: &'a Settings) -> Self {
        Self {
            process: settings.process.as_ref(),
            start_max_ms: settings.limits.start_max_ms,
            tasks_max: settings.limits.tasks_max,
            scratch_max_mib: settings.limits.scratch_max_mib,
            files_max: settings.limits.files_max,
            cpu_max_millis: settings.limits.cpu_max_millis,
            grace_max_ms: settings.limits.grace_max_ms,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::cors::Cors;
    use crate::function::{Contract, EventMode, InvokeBy, Isolation, LintChoice, Revision, Twins};

    fn key(owner: &str, name: &str) -> FunctionKey {
        FunctionKey {
            owner: owner.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn program() -> Settings {
        Settings {
            process: Some(Process {
                contract: Contract::Http,
                command: vec!["./server".to_owned()],
                handler: None,
                environment: [("A".to_owned(), "1".to_owned())].into(),
                reuse: false,
                areas: Vec::new(),
                snap_start: false,
            }),
            ..Settings::default()
        }
    }

    #[test]
    fn identity_differs_by_owner_name_artifact_and_any_setting() {
        let identity = |owner, name, byte, settings: &Settings| {
            Revision::identity(&key(owner, name), &Digest([byte; 32]), settings)
        };
        let settings = Settings::default();
        let changed = |change: fn(&mut Settings)| {
            let mut settings = program();
            change(&mut settings);
            identity("a", "f", 0, &settings)
        };
        let process = |settings: &mut Settings| settings.process.take().unwrap();
        let mut tighter = settings.clone();
        tighter.limits.idle_max_ms += 1;
        let all = [
            identity("a", "f", 0, &settings),
            identity("b", "f", 0, &settings),
            identity("a", "g", 0, &settings),
            identity("a", "f", 1, &settings),
            identity("a", "f", 0, &tighter),
            identity("a", "f", 0, &program()),
            changed(|it| it.limits.start_max_ms += 1),
            changed(|it| it.limits.tasks_max += 1),
            changed(|it| it.limits.scratch_max_mib += 1),
            changed(|it| it.limits.files_max += 1),
            changed(|it| it.limits.cpu_max_millis = Some(1)),
            changed(|it| it.limits.grace_max_ms += 1),
            changed(|it| it.process.as_mut().unwrap().contract = Contract::Lambda),
            changed(|it| it.process.as_mut().unwrap().command.push(String::new())),
            changed(|it| it.process.as_mut().unwrap().handler = Some(String::new())),
            changed(|it| it.process.as_mut().unwrap().environment.clear()),
            changed(|it| it.process.as_mut().unwrap().snap_start = true),
            changed(|it| it.process.as_mut().unwrap().areas.push(String::new())),
            changed(|it| it.isolation = Isolation::None),
            changed(|it| it.isolation = Isolation::Key("header:a".parse().unwrap())),
            changed(|it| it.isolation = Isolation::Key("header:b".parse().unwrap())),
            changed(|it| it.keep.keys_max += 1),
            changed(|it| it.keep.key_idle_max_s += 1),
            changed(|it| it.warm_up.push(Sample::default())),
            changed(|it| it.lint.requests.push(Sample::default())),
            changed(|it| it.lint.freshness = LintChoice::Off),
            changed(|it| it.keep.twins = Twins::Always),
            changed(|it| it.keep.twins = Twins::Off),
            changed(|it| it.cors = Some(Cors::default())),
            changed(|it| it.cors.insert(Cors::default()).credentials = true),
            changed(|it| it.cors.insert(Cors::default()).max_age_s += 1),
            changed(|it| it.cors.insert(Cors::default()).origins.push(String::new())),
            changed(|it| it.cors.insert(Cors::default()).methods.push(String::new())),
            changed(|it| it.cors.insert(Cors::default()).headers.push(String::new())),
            changed(|it| it.cors.insert(Cors::default()).expose.push(String::new())),
            changed(|it| it.invoke = InvokeBy::Key),
            changed(|it| it.events.mode = EventMode::Binary),
            changed(|it| it.events.batches = true),
            changed(|it| it.events.event_max_bytes += 1),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one}");
        }
        assert_eq!(all[0], identity("a", "f", 0, &settings));
        let mut component = program();
        process(&mut component);
        assert_eq!(all[0], identity("a", "f", 0, &component));
    }

    #[test]
    fn keys_stand_in_the_text_as_they_will_for_ever() {
        let mut settings = Settings {
            isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
            ..Settings::default()
        };
        let of =
            |settings: &Settings| Revision::identity(&key("a", "f"), &Digest([0; 32]), settings);
        let text = of(&settings);
        assert!(text.contains("{ isolation: Key(KeySource(\"x-tenant\")), renewal: Auto,"));
        assert!(text.ends_with("hide_proof: false }\n"));
        settings.keep.keys_max = 7;
        let last = "Keys { keys_max: 7, key_idle_max_s: 300 }\n";
        assert_eq!(of(&settings), format!("{text}{last}"));
    }

    #[test]
    fn a_component_keeps_the_identity_that_it_had_before_there_were_programs() {
        // The text of a revision that was deployed then; its digest is an id in people's stores.
        let then = "usher-revision-1\na/f\n\
            0000000000000000000000000000000000000000000000000000000000000000\n\
            Settings { isolation: Request, renewal: Auto, renew: AfterRun, limits: Limits { \
            first_byte_max_ms: 30000, idle_max_ms: 60000, total_max_ms: Some(5), \
            memory_max_mib: 256, table_max_elements: 200000, instances_max: 100, \
            concurrency_max: 64, queue_max: 1000, queue_wait_max_ms: 10000, \
            body_max_bytes: None, handles_max: 10000 }, keep: Keep { ready_min: 0, \
            idle_max_s: 300 }, outbound: [\"db\"], hide_proof: false }\n";
        let mut settings = Settings {
            outbound: vec!["db".to_owned()],
            ..Settings::default()
        };
        settings.limits.total_max_ms = Some(5);
        let now = Revision::identity(&key("a", "f"), &Digest([0; 32]), &settings);
        assert_eq!(now, then);
    }
}
