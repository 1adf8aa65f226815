//! The file: entries, the last revision and the format, in one redb database.
//!
//! redb refuses all further work after one failed access, so a store that failed is *down* until
//! [`Store::reload`] has opened it anew; what the file then holds is the truth.
//!
//! Commits have two phases. With one, whoever chooses the values and can provoke crashes could
//! in theory forge the checksum that tells a whole transaction from a torn one; and deployments
//! are rare enough for a second fsync.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::OpenError;
use super::mirror::{Slot, Written};

/// The format this code reads and writes.
pub(super) const FORMAT: u64 = 1;

/// The entries are in memory already; what redb caches beside them serves writes only.
const CACHE_BYTES: usize = 4 << 20;

const ENTRIES: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("entries");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// Opens the database, as often as it has to be opened.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// The opener of a database file.
pub(super) fn file_opener(path: PathBuf) -> Opener {
    Box::new(move || {
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
    })
}

/// All that a store holds.
pub(super) struct Loaded {
    pub(super) entries: BTreeMap<Arc<str>, Slot>,
    pub(super) revision: u64,
}

/// Why a store could not be used.
#[derive(Debug)]
pub(super) enum StoreError {
    NewerFormat(u64),
    Io(io::Error),
}

impl StoreError {
    pub(super) fn at(self, path: PathBuf) -> OpenError {
        match self {
            Self::NewerFormat(found) => OpenError::NewerFormat {
                store: path,
                found,
                known: FORMAT,
            },
            Self::Io(source) => OpenError::Io { path, source },
        }
    }

    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::NewerFormat(found) => {
                io::Error::other(format!("the store's format became {found} meanwhile"))
            }
            Self::Io(error) => error,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Io(match error.into() {
            redb::Error::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

/// The database, unless it is down.
pub(super) struct Store {
    opener: Opener,
    database: Option<Database>,
    durability: Durability,
}

impl Store {
    pub(super) fn open(opener: Opener) -> Result<(Self, Loaded), StoreError> {
        let mut store = Self {
            opener,
            database: None,
            durability: Durability::Immediate,
        };
        let loaded = store.reload()?;
        Ok((store, loaded))
    }

    /// Acknowledges before the disk has it: the negative control of the durability tests.
    #[cfg(test)]
    pub(super) fn forgetful(mut self) -> Self {
        self.durability = Durability::None;
        self
    }

    pub(super) fn is_down(&self) -> bool {
        self.database.is_none()
    }

    /// Closes the database until it is loaded again.
    pub(super) fn take_down(&mut self) {
        self.database = None;
    }

    /// Opens the database anew and reads all of it.
    pub(super) fn reload(&mut self) -> Result<Loaded, StoreError> {
        // The old one must have let go of the file first.
        self.database = None;
        let database = (self.opener)()?;
        prepare(&database)?;
        let loaded = load(&database)?;
        self.database = Some(database);
        Ok(loaded)
    }

    /// Makes `writes` lasting, all or nothing. On an error the store is down.
    pub(super) fn commit(&mut self, writes: &[Written]) -> Result<(), StoreError> {
        let database = self.database.take().ok_or_else(|| {
            StoreError::Io(io::Error::other("the store has failed and is not open"))
        })?;
        write(&database, writes, self.durability)?;
        self.database = Some(database);
        Ok(())
    }
}

fn write(
    database: &Database,
    writes: &[Written],
    durability: Durability,
) -> Result<(), StoreError> {
    let Some(last) = writes.last() else {
        return Ok(());
    };
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability).map_err(io_other)?;
    transaction.set_two_phase_commit(true);
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for written in writes {
            match &written.value {
                Some(value) => {
                    entries.insert(&*written.key, (written.revision, value.as_ref()))?;
                }
                None => {
                    entries.remove(&*written.key)?;
                }
            }
        }
        transaction
            .open_table(META)?
            .insert("revision", last.revision)?;
    }
    Ok(transaction.commit()?)
}

/// Refuses a newer format, and writes down ours in a new database.
fn prepare(database: &Database) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    let found = {
        let meta = transaction.open_table(META)?;
        meta.get("format")?.map(|format| format.value())
    };
    match found {
        Some(FORMAT) => Ok(transaction.abort()?),
        Some(found) => Err(StoreError::NewerFormat(found)),
        None => {
            transaction.open_table(META)?.insert("format", FORMAT)?;
            transaction.open_table(ENTRIES)?;
            Ok(transaction.commit()?)
        }
    }
}

fn load(database: &Database) -> Result<Loaded, StoreError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let revision = meta.get("revision")?.map_or(0, |revision| revision.value());
    let mut entries = BTreeMap::new();
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, slot) = row?;
        let (revision, value) = slot.value();
        let value = Bytes::copy_from_slice(value);
        entries.insert(key.value().into(), Slot { value, revision });
    }
    Ok(Loaded { entries, revision })
}

fn io_other<E: std::error::Error + Send + Sync + 'static>(error: E) -> StoreError {
    StoreError::Io(io::Error::other(error))
}
