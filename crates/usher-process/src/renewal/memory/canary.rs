//! One page of ours in the program's memory that is spoilt on purpose before the first times that
//! memory is put back, to see that it is put back.
//!
//! It lies in the image like any page of the program. Nothing in the way of putting back in place
//! knows it: at first it is dropped, then copied. A kernel, or code of ours, that loses changed
//! pages shows it here. A swap spoils it each time, so that it always moves, and by it each run
//! begins with showing that it did.

use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::pages::{page_bytes, write_pieces};

use super::errors::Failed;

/// Times that the page is spoilt and looked at.
const TIMES: u32 = 16;
/// What is in it.
const CLEAN: u8 = 0xc1;
/// What it is spoilt with.
const SPOILT: u8 = 0xd1;

/// The page.
#[derive(Debug)]
pub(super) struct Canary {
    address: u64,
    times: u32,
    /// Whether it was spoilt since it was looked at last.
    spoilt: bool,
}

impl Canary {
    /// Maps it and fills it, before the image is taken.
    pub(super) fn map(stopped: &mut Stopped, agent: &Agent) -> Result<Self, Failed> {
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let arguments = [
            0_u64.into(),
            page_bytes().into(),
            rights.into(),
            flags.into(),
            (-1).into(),
        ];
        let mut batch = Batch::new();
        let place = batch.call(Call::new(libc::SYS_mmap, arguments), Expect::Ok);
        let answers = stopped.run(agent, &batch);
        let answers = answers.map_err(Failed::by_program("map a page of the platform's"))?;
        let address = answers.value(place).unwrap_or(0).cast_unsigned();
        let canary = Self {
            address,
            times: 0,
            spoilt: false,
        };
        canary.fill(stopped, CLEAN)?;
        Ok(canary)
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// The same page in another program.
    pub(super) fn again(&self) -> Self {
        Self {
            address: self.address,
            times: 0,
            spoilt: false,
        }
    }

    /// Spoils it, the first times, or `always`.
    pub(super) fn spoil(&mut self, stopped: &Stopped, always: bool) -> Result<(), Failed> {
        self.spoilt = always || self.times < TIMES;
        match self.spoilt {
            true => self.fill(stopped, SPOILT),
            false => Ok(()),
        }
    }

    /// Spoils it once it was looked at, as a put-back would that goes wrong. For tests.
    pub(super) fn spoil_unseen(&self, stopped: &Stopped) -> Result<(), Failed> {
        self.fill(stopped, SPOILT)
    }

    /// Sees that it is as it was.
    pub(super) fn check(&mut self, stopped: &Stopped) -> Result<(), Failed> {
        if !self.spoilt {
            return Ok(());
        }
        self.spoilt = false;
        self.times = self.times.saturating_add(1);
        let mut bytes = Self::page(0);
        let read = stopped.read(self.address, &mut bytes);
        read.map_err(Failed::at("read the page of the platform's"))?;
        match bytes == Self::page(CLEAN) {
            true => Ok(()),
            false => Err(Failed::Canary),
        }
    }

    fn fill(&self, stopped: &Stopped, byte: u8) -> Result<(), Failed> {
        let bytes = Self::page(byte);
        let written = write_pieces(stopped.pid(), &[(&bytes, self.address)]);
        written.map_err(Failed::at("write the page of the platform's"))
    }

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; rustix::param::page_size()]
    }
}
