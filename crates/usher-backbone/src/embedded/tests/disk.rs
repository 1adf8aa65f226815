//! A disk in memory that can fail, be full, and lose what was not synced.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{Database, StorageBackend};

use super::super::store::Opener;
use super::Dice;

/// What a disk writes all or nothing of.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Pending {
    Length(usize),
    Write { offset: usize, data: Vec<u8> },
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What survives a loss of power for certain.
    lasting: Vec<u8>,
    /// What a reader sees.
    cached: Vec<u8>,
    pending: Vec<Pending>,
    /// How many changes still succeed, if they are numbered.
    pub(super) changes_left: Option<u64>,
    /// The length beyond which there is no room.
    pub(super) room_bytes: Option<usize>,
    /// Says that it has synced, and has not.
    pub(super) lying: bool,
    pub(super) syncs: u64,
    pub(super) changes: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || Database::builder().create_with_backend(disk.clone()))
    }

    /// The disk as it is found when power is back: what was synced, and any sectors of the rest;
    /// of a lying one only what was synced before it began to lie.
    pub(super) fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut found = state.lasting.clone();
        let rest = if state.lying { &[][..] } else { &state.pending };
        for pending in rest {
            match pending {
                Pending::Length(length) if dice.roll(2) == 0 => found.resize(*length, 0),
                Pending::Length(_) => {}
                Pending::Write { offset, data } => {
                    for (n, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        if dice.roll(2) == 0 {
                            write(&mut found, offset + n * SECTOR_BYTES, sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(State {
            lasting: found.clone(),
            cached: found,
            ..State::default()
        })))
    }
}

impl State {
    pub(super) fn len_now(&self) -> usize {
        self.cached.len()
    }

    fn change(&mut self, end: usize) -> io::Result<()> {
        self.changes += 1;
        if let Some(left) = &mut self.changes_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("no power"))?;
        }
        match self.room_bytes {
            Some(room) if end > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[offset..end].copy_from_slice(data);
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state();
        let from = size(offset);
        let found = state.cached.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state();
        let len = size(len);
        state.change(len)?;
        state.cached.resize(len, 0);
        state.pending.push(Pending::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.state();
        state.change(0)?;
        state.syncs += 1;
        if !state.lying {
            state.lasting = state.cached.clone();
            state.pending.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut state = self.state();
        let offset = size(offset);
        state.change(offset + data.len())?;
        write(&mut state.cached, offset, data);
        let data = data.to_vec();
        state.pending.push(Pending::Write { offset, data });
        Ok(())
    }
}
