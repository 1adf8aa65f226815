//! A program's entry in `/proc`, held open from the first time that it is stopped to the last.
//!
//! All of it is of the program that the process executed when it was opened: after another one was
//! executed, its memory cannot be reached by this any more, and after its end nothing answers.
//! Deliberately absent: what is read and written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags, fstat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Tid;
use super::errors::StopError;
use super::halt::numbers;
use super::patience::state;

/// One program, by descriptors that name it surely.
#[derive(Debug)]
pub(crate) struct Entry {
    pid: Pid,
    pidfd: OwnedFd,
    memory: File,
    maps: File,
    /// Its folder of threads.
    tasks: OwnedFd,
}

impl Entry {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// If there is no such program any more; it has been killed if a part of it was.
    pub(super) fn open(pid: Pid) -> Result<Self, StopError> {
        let missing = |source: io::Error| StopError::Missing { pid, source };
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| missing(error.into()))?;
        match open(pid) {
            Ok((memory, maps, tasks)) => Ok(Self {
                pid,
                pidfd,
                memory,
                maps,
                tasks,
            }),
            Err(source) => {
                let ended = matches!(state(pid), Some('Z'));
                // Its other threads may still run.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                Err(match ended {
                    true => StopError::MainEnded { pid },
                    false => missing(source),
                })
            }
        }
    }

    /// The program, as this process sees it.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its list of mappings.
    pub(super) fn maps(&self) -> &File {
        &self.maps
    }

    /// Reads its memory, whatever the protection.
    pub(super) fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.memory.read_exact_at(into, address)
    }

    /// Writes its memory, whatever the protection.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_all_at(bytes, address)
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        // One that is dead already is what is wanted.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Its threads; the main thread comes first.
    pub(super) fn threads(&self) -> io::Result<Vec<Tid>> {
        numbers(&self.tasks)
    }

    /// How many threads it has: its folder of tasks has one link each, besides its own two.
    pub(super) fn count(&self) -> io::Result<usize> {
        let links = fstat(&self.tasks)?.st_nlink;
        usize::try_from(links.saturating_sub(2)).map_err(io::Error::other)
    }
}

fn open(pid: Pid) -> io::Result<(File, File, OwnedFd)> {
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    let maps = File::open(format!("/proc/{pid}/maps"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = rustix::fs::open(format!("/proc/{pid}/task"), flags, Mode::empty())?;
    Ok((memory, maps, tasks))
}
