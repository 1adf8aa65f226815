//! How a Linux program is started, and by which contract it takes requests.
//!
//! Deliberately absent: the program itself, which is the revision's artifact, and how it is
//! recognised (`usher_api::shape`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What stands in an argument or in a value of the environment for the port that the program is to
/// listen at.
pub const PORT_MARK: &str = "$PORT";
/// The name of the area that is in the machine's own memory.
pub const AREA_MEMORY: &str = "memory";

/// How a Linux program is started. Its artifact is a bundle: a folder, packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// How it takes requests.
    pub contract: Contract,
    /// The program and its arguments, never empty. The program is looked up in `PATH` if it has no
    /// slash; relative paths begin in the folder.
    pub command: Vec<String>,
    /// What a Lambda runtime is to call, such as `handler.handler`: its `_HANDLER`.
    #[serde(default)]
    pub handler: Option<String>,
    /// Variables beside those that the platform sets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The program may be put back although it does not say that it then makes its randomness
    /// fresh: it holds no generator of random values, nor anything else that must not repeat.
    #[serde(default)]
    pub reuse: bool,
    /// Where its two memory areas are, which take turns: [`AREA_MEMORY`], or a device by the name
    /// that the platform knows. Empty, or two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<String>,
    /// A Lambda runtime is told that it is SnapStart's: it waits in `restore/next` for its state to
    /// be taken, and runs its function's hooks before each run.
    #[serde(default)]
    pub snap_start: bool,
}

impl Process {
    /// The command with the port in the place of [`PORT_MARK`].
    pub fn command_at(&self, port: u16) -> Vec<String> {
        let port = port.to_string();
        let arguments = self.command.iter();
        arguments.map(|it| it.replace(PORT_MARK, &port)).collect()
    }
}

/// How a program takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contract {
    /// It asks the AWS Lambda Runtime API for them.
    Lambda,
    /// It serves HTTP on a port that it is told.
    Http,
}

impl Contract {
    /// The word of the manifest.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lambda => "lambda",
            Self::Http => "http",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_wherever_an_argument_names_it() {
        let process = Process {
            contract: Contract::Http,
            command: [
                "serve",
                "--port",
                "$PORT",
                "--url=http://[::]:$PORT/$PORTS",
                "$port",
            ]
            .map(str::to_owned)
            .to_vec(),
            handler: None,
            environment: BTreeMap::new(),
            reuse: false,
            areas: Vec::new(),
            snap_start: false,
        };
        let at = ["serve", "--port", "80", "--url=http://[::]:80/80S", "$port"];
        assert_eq!(process.command_at(80), at);
    }
}
