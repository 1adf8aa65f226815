//! A bundle made ready for one revision: its files unpacked, and the first program started.
//!
//! Deliberately absent: how a program is started (`start`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usher_core::function::{Contract, Delivery, Process, Revision};
use usher_core::outbound::AllowList;
use usher_core::secret::Secret;
use usher_engine::Given;

use crate::cloned::Clones;
use crate::contract::lambda::{self, LATEST};
use crate::contract::port::{self, port_environment};
use crate::folders::Shared;
use crate::renewable::Renewable;
use crate::restorable::Ways;
use crate::sandbox::{Bounds, Program};
use crate::served::Served;

/// The image of one revision.
pub struct ProcessImage {
    pub(crate) revision: Arc<Revision>,
    pub(crate) process: Process,
    /// Variables and secrets.
    pub(crate) given: Given,
    /// The bundle's files.
    pub(crate) folder: Arc<Shared>,
    pub(crate) allowed: Arc<AllowList>,
    /// What making the files ready took, in milliseconds.
    pub(crate) unpack_ms: u64,
    /// The bundle, packed, in bytes.
    pub(crate) bundle_bytes: u64,
    /// Folders on devices that its programs' memory takes turns in; an area without one is in the
    /// machine's own memory.
    pub(crate) areas: Option<[Option<PathBuf>; 2]>,
    /// Whether its programs are put back.
    pub(crate) renewable: Renewable,
    /// What else is to be told of it, one whole sentence each.
    pub(crate) notes: Mutex<Vec<String>>,
    /// By which way.
    pub(crate) ways: Ways,
    /// Whether new ones are cloned.
    pub(crate) clones: Clones,
    /// Those that there are.
    pub(crate) programs: Programs,
    /// The program by which the load was tried; the first start gets it.
    pub(crate) first: Mutex<Option<Served>>,
}

/// The programs of one image, for as long as they last.
#[derive(Default)]
pub(crate) struct Programs(Mutex<Vec<Weak<Program>>>);

impl Programs {
    /// One more.
    pub(crate) fn add(&self, program: &Arc<Program>) {
        let mut programs = self.0.lock();
        programs.retain(|program| program.strong_count() > 0);
        programs.push(Arc::downgrade(program));
    }

    /// The memory that the kernel counts for them, in bytes; without control groups it counts none.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let programs: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        programs.iter().map(|program| program.memory_bytes()).sum()
    }
}

impl ProcessImage {
    /// Tells something of it that changes nothing.
    pub(crate) fn note(&self, text: String) {
        let function = &self.revision.function;
        tracing::info!(%function, text, "noted of a program");
        self.notes.lock().push(text);
    }

    /// Whether state is kept from request to request, on purpose.
    pub(crate) fn keeps(&self) -> bool {
        self.revision.settings.isolation.keeps()
    }

    /// Whether its programs are put back after a request, as far as is known.
    pub(crate) fn is_put_back(&self) -> bool {
        !self.keeps() && self.renewable.is_worth_it()
    }

    /// Whether its programs speak the Lambda contract.
    pub(crate) fn is_lambda(&self) -> bool {
        self.process.contract == Contract::Lambda
    }

    /// What a Lambda function is told about itself.
    pub(crate) fn about(&self) -> lambda::About {
        let function = &self.revision.function;
        lambda::About {
            name: function.name.to_string(),
            owner: function.owner.to_string(),
            version: LATEST.to_owned(),
            memory_max_mib: self.revision.settings.limits.memory_max_mib,
            handler: self.process.handler.clone().unwrap_or_default(),
            region: lambda::DEFAULT_REGION.to_owned(),
            environment: self.given.environment(),
            snap_start: self.process.snap_start,
        }
    }

    /// The whole environment of a program that is to listen at `port` if it speaks HTTP. There the
    /// function's own variables win over the defaults, and what the contract sets over those.
    pub(crate) fn environment(&self, port: u16) -> Vec<(String, String)> {
        if self.is_lambda() {
            return lambda::environment(&self.about());
        }
        let about = port::About {
            name: self.revision.function.name.to_string(),
            revision: format!(
                "{}-{:05}",
                self.revision.function.name, self.revision.number
            ),
            port,
        };
        let mut all = port_environment(&about)
            .into_iter()
            .collect::<BTreeMap<_, _>>();
        for (name, value) in self.given.environment() {
            if !port::RESERVED.contains(&name.as_str()) {
                all.insert(name, value);
            }
        }
        all.into_iter().collect()
    }

    /// The secrets that a program finds in files.
    pub(crate) fn secrets(&self) -> Vec<(String, Secret)> {
        let secrets = self.given.of(Delivery::Store);
        secrets
            .map(|(name, it)| (name.to_owned(), it.clone()))
            .collect()
    }

    /// What a program of this image may use.
    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.revision.settings.limits;
        Bounds {
            memory_max_bytes: u64::from(limits.memory_max_mib) << 20,
            tasks_max: limits.tasks_max,
            cpu_max_millis: limits.cpu_max_millis,
            scratch_max_bytes: u64::from(limits.scratch_max_mib) << 20,
            files_max: limits.files_max,
        }
    }
}
