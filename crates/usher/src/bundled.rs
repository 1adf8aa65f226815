//! The example functions that travel in the binary, so that the demo needs no tool chain.
//!
//! Deliberately absent: their sources, which stand in `examples/`, and the proof that they are what
//! the sources build, which is `cargo xtask`'s.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use usher_api::client::Client;
use usher_api::http::{DeployRequest, Deployed};
use usher_core::function::{Contract, Process, Settings};
use usher_core::id::Name;
use usher_process::bundle::{self, Bounds};

use crate::platform::Platform;

/// The machine that the bundled program is for.
const PROGRAM_ARCH: &str = "x86_64";
/// What the bundled program is called in its bundle.
const PROGRAM_FILE: &str = "server";
/// Where a sandbox looks for interpreters; it sees those of the host.
const INTERPRETERS_IN: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// A bundled function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    /// The name that `up --demo` deploys it by.
    pub(crate) name: &'static str,
    /// The component, or the program.
    bytes: &'static [u8],
    kind: Kind,
}

/// What a bundled function is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Component,
    /// A server that does at its root what this variable names; see `examples/http`.
    Program {
        guest: &'static str,
    },
    /// A server that an interpreter of the host runs.
    Script {
        interpreter: &'static str,
        file: &'static str,
    },
}

macro_rules! bundled {
    ($name:literal, $file:literal) => {
        Bundled {
            name: $name,
            bytes: include_bytes!(concat!("../../../examples/bundled/", $file, ".wasm")),
            kind: Kind::Component,
        }
    };
}

/// Greets.
pub(crate) const HELLO: Bundled = bundled!("hello", "rust-hello");
/// Counts its own calls.
pub(crate) const COUNTER: Bundled = bundled!("counter", "rust-counter");
/// Plants a marker in every kind of state, or looks for one.
pub(crate) const LEAK_PROBE: Bundled = bundled!("leak-probe", "rust-leak-probe");
/// Takes its time.
pub(crate) const SLOW: Bundled = bundled!("slow", "rust-slow");

/// A Linux program that greets.
const PROGRAM: Bundled = program("c-program", "hello");
/// A Linux program that counts its own calls.
pub(crate) const PROGRAM_COUNTER: Bundled = program("program", "counter");

/// A server in Python that keeps all it is told, and says what it finds.
pub(crate) const PYTHON: Bundled = Bundled {
    name: "python",
    bytes: include_bytes!("../../../examples/bundled/counter.py"),
    kind: Kind::Script {
        interpreter: "python3",
        file: "counter.py",
    },
};
/// The same for Node.
pub(crate) const NODE: Bundled = Bundled {
    name: "node",
    bytes: include_bytes!("../../../examples/bundled/counter.cjs"),
    kind: Kind::Script {
        interpreter: "node",
        file: "counter.cjs",
    },
};

/// All components that `up --demo` deploys.
const COMPONENTS: [Bundled; 8] = [
    HELLO,
    COUNTER,
    bundled!("echo", "rust-echo"),
    SLOW,
    LEAK_PROBE,
    bundled!("c-hello", "c-hello"),
    bundled!("c-counter", "c-counter"),
    bundled!("c-leak-probe", "c-leak-probe"),
];

const fn program(name: &'static str, guest: &'static str) -> Bundled {
    Bundled {
        name,
        bytes: include_bytes!("../../../examples/bundled/http-c"),
        kind: Kind::Program { guest },
    }
}

impl Bundled {
    /// Deploys it under a name of the default owner. A program's settings need not say how it is
    /// started.
    pub(crate) async fn deploy(
        self,
        client: &Client,
        name: Name,
        mut settings: Settings,
    ) -> anyhow::Result<Deployed> {
        let file = match self.kind {
            Kind::Component => None,
            Kind::Program { guest } => {
                let variables = BTreeMap::from([("GUEST".to_owned(), guest.to_owned())]);
                settings.process = Some(process(&[&format!("./{PROGRAM_FILE}")], variables));
                Some(PROGRAM_FILE)
            }
            Kind::Script { interpreter, file } => {
                settings.process = Some(process(&[interpreter, file], BTreeMap::new()));
                Some(file)
            }
        };
        let artifact = match file {
            None => Bytes::from_static(self.bytes),
            Some(file) => tokio::task::spawn_blocking(|| packed(file, self.bytes)).await??,
        };
        let stored = client.put_artifact(artifact).await?;
        let request = DeployRequest {
            owner: None,
            name,
            artifact: stored.digest,
            settings,
        };
        Ok(client.deploy(&request, |_| {}).await?)
    }

    /// The interpreter that it needs, and that this machine has not.
    pub(crate) fn interpreter_missing(self) -> Option<&'static str> {
        let Kind::Script { interpreter, .. } = self.kind else {
            return None;
        };
        let mut places = INTERPRETERS_IN.iter();
        let found = places.any(|place| Path::new(place).join(interpreter).is_file());
        (!found).then_some(interpreter)
    }
}

/// Deploys all of them as they are; without the program, and saying so, where it cannot run.
pub(crate) async fn deploy_all(platform: &Platform) -> anyhow::Result<()> {
    let client = platform.client()?;
    let program = match no_program(platform).await {
        None => Some(PROGRAM),
        Some(why) => {
            eprintln!("usher: programs are left out: {why}");
            None
        }
    };
    for bundled in COMPONENTS.into_iter().chain(program) {
        let name = bundled.name.parse()?;
        let deployed = bundled.deploy(&client, name, Settings::default());
        deployed
            .await
            .with_context(|| format!("deploying {}", bundled.name))?;
    }
    Ok(())
}

/// Why the bundled program cannot run here; none: it can.
pub(crate) async fn no_program(platform: &Platform) -> Option<String> {
    if ARCH != PROGRAM_ARCH {
        return Some(format!(
            "the bundled one is for {PROGRAM_ARCH}, and this machine is {ARCH}"
        ));
    }
    platform.no_programs().await
}

/// How a bundled program is started.
fn process(command: &[&str], environment: BTreeMap<String, String>) -> Process {
    Process {
        contract: Contract::Http,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        handler: None,
        environment,
        reuse: false,
        areas: Vec::new(),
        snap_start: false,
    }
}

/// The bundle of a program of one file. Blocks.
fn packed(name: &str, program: &[u8]) -> anyhow::Result<Bytes> {
    let folder = tempfile::Builder::new()
        .prefix("usher-bundled-")
        .tempdir()?;
    let file = folder.path().join(name);
    fs::write(&file, program).context("the bundled program was not written")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(bundle::pack_file(&file, Bounds::default())?.bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_packed_as_what_its_command_starts() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = packed(PROGRAM_FILE, PROGRAM.bytes).unwrap();
        assert_eq!(bundle, packed(PROGRAM_FILE, PROGRAM.bytes).unwrap());
        bundle::unpack(&bundle, folder.path(), Bounds::default()).unwrap();
        let file = folder.path().join(PROGRAM_FILE);
        assert_eq!(fs::read(&file).unwrap(), PROGRAM.bytes);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o111,
            0o111
        );
    }

    #[test]
    fn an_interpreter_that_is_missing_is_named() {
        assert_eq!(PROGRAM.interpreter_missing(), None);
        let nobodys = Bundled {
            kind: Kind::Script {
                interpreter: "nobodys-interpreter",
                file: "counter.py",
            },
            ..PYTHON
        };
        assert_eq!(nobodys.interpreter_missing(), Some("nobodys-interpreter"));
    }

    #[test]
    fn no_two_of_them_have_one_name() {
        let mut names: Vec<_> = COMPONENTS
            .into_iter()
            .chain([PROGRAM, PYTHON, NODE])
            .map(|it| it.name)
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
