//! The platform on one program: what its manifest says beside the program itself, and the start.
//!
//! What is not said here is as it comes: twins, limits, the log, audits.

use anyhow::Result;

use super::super::server::Server;
use super::launch::Launch;
use super::program::{Program, Runtimes};

/// The most warm-up requests that a manifest may have.
pub(super) const WARM_UPS_MAX: usize = 16;

/// What a manifest says of how a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    isolation: &'static str,
    renewal: Option<&'static str>,
    ready_min: u32,
    idle_max_s: Option<u32>,
    warm_up: Vec<String>,
}

impl Told {
    /// Put back after each request, warmed by requests without work: what a user writes.
    pub(super) fn renewed() -> Self {
        Self {
            isolation: "request",
            renewal: None,
            ready_min: 0,
            idle_max_s: None,
            warm_up: plain_warm_up(),
        }
    }

    /// The same, but that the process is kept.
    pub(super) fn kept() -> Self {
        Self {
            isolation: "none",
            ..Self::renewed()
        }
    }

    /// A new process for each request: nothing is put back, and no environment is made like
    /// another one.
    pub(super) fn fresh() -> Self {
        Self {
            renewal: Some("fresh"),
            ..Self::renewed()
        }
    }

    /// With these paths as warm-up requests, if any.
    pub(super) fn warmed_by(self, paths: &[String]) -> Self {
        let warm_up = paths.to_vec();
        Self { warm_up, ..self }
    }

    /// With so many environments that stay.
    pub(super) fn ready(self, ready_min: u32) -> Self {
        Self { ready_min, ..self }
    }

    /// Environments end as soon as that can be asked for.
    pub(super) fn soon_ended(self) -> Self {
        let idle_max_s = Some(1);
        Self { idle_max_s, ..self }
    }

    /// A word for a folder, of what tells it apart.
    pub(super) fn label(&self) -> String {
        let renewal = self.renewal.map(|renewal| format!("-{renewal}"));
        let warmed = if self.warm_up.is_empty() {
            "-unwarmed"
        } else {
            ""
        };
        format!("{}{}{warmed}", self.isolation, renewal.unwrap_or_default())
    }

    /// The whole manifest.
    pub(super) fn manifest(&self, program: Program, runtimes: &Runtimes) -> String {
        let mut text = format!(
            "name = \"{}\"\nisolation = \"{}\"\n",
            program.label(),
            self.isolation
        );
        if let Some(renewal) = self.renewal {
            text += &format!("renewal = \"{renewal}\"\n");
        }
        text += &format!("\n[process]\n{}", program.process(runtimes));
        text += &format!("\n[keep]\nready_min = {}\n", self.ready_min);
        if let Some(idle_max_s) = self.idle_max_s {
            text += &format!("idle_max_s = {idle_max_s}\n");
        }
        for path in &self.warm_up {
            text += &format!("\n[[warm_up]]\npath = {path:?}\n");
        }
        text
    }

    /// Starts the platform on a program, with these arguments more.
    pub(super) fn start(&self, launch: &Launch<'_>, name: &str, more: &[&str]) -> Result<Server> {
        let stage = launch.stage;
        let folder = stage.deployment(launch.program, self)?;
        let mut command = Server::ours(&stage.built.usher, &folder);
        command.args(more);
        stage.unless_refused(&folder, || {
            Server::ready(name, launch.watch(name, &mut command)?)
        })
    }
}

fn plain_warm_up() -> Vec<String> {
    vec!["/".to_owned(); WARM_UPS_MAX]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_can_be_read_and_says_how_to_start() {
        let runtimes = Runtimes {
            python: "/usr/bin/python3".to_owned(),
            node: "/usr/bin/node".to_owned(),
        };
        for program in Program::ALL {
            let told = Told::fresh().ready(4).soon_ended();
            let manifest: toml::Table = told.manifest(program, &runtimes).parse().unwrap();
            let process = manifest["process"].as_table().unwrap();
            let command = process["command"].as_array().unwrap();
            assert_eq!(command.len(), program.command(&runtimes).len());
            assert_eq!(process.contains_key("handler"), program.is_lambda());
            assert_eq!(manifest["renewal"].as_str(), Some("fresh"));
            assert_eq!(manifest["keep"]["ready_min"].as_integer(), Some(4));
            assert_eq!(manifest["keep"]["idle_max_s"].as_integer(), Some(1));
            assert_eq!(manifest["warm_up"].as_array().unwrap().len(), WARM_UPS_MAX);
        }
    }

    #[test]
    fn what_is_told_differently_lies_in_folders_of_its_own() {
        let labels = [
            Told::renewed().label(),
            Told::renewed().warmed_by(&[]).label(),
            Told::fresh().warmed_by(&[]).label(),
            Told::kept().label(),
        ];
        let expected = [
            "request",
            "request-unwarmed",
            "request-fresh-unwarmed",
            "none",
        ];
        assert_eq!(labels, expected);
    }
}
