//! `wasi:keyvalue` for components: buckets that the manifest grants, and nothing without a grant.
//!
//! A handle of a bucket names a place and holds no data, and a look of a compare-and-swap is a
//! resource of the run: both are of the host's table, which is new for each run, and what a run
//! leaves there is released by type and number like any other resource. So a component that uses
//! buckets is served live.
//!
//! Deliberately absent: the store (`usher_api::buckets`), and which bucket is whose
//! (`usher_core::bucket`).

use std::any::Any;

use bytes::Bytes;
use usher_api::buckets::{BATCH_MAX, BucketError, Held, Swapped};
use usher_core::bucket::Bucket;
use usher_engine::{Access, Given};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::host::Host;
use crate::image::Code;

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue.wit",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::OpenBucket,
            "wasi:keyvalue/atomics.cas": super::Look,
        },
    });
}

use generated::wasi::keyvalue::{atomics, batch, store};

const STORE: &str = "wasi:keyvalue/store@";
const ATOMICS: &str = "wasi:keyvalue/atomics@";
/// What all imports of the interface begin with.
const FAMILY: &str = "wasi:keyvalue/";

/// A bucket that a run has opened.
#[expect(unreachable_pub, reason = "the generated code exports it again")]
pub struct OpenBucket(Bucket);

/// What a run saw of a key.
#[expect(unreachable_pub, reason = "the generated code exports it again")]
pub struct Look {
    bucket: Bucket,
    key: String,
    held: Option<Held>,
}

/// The interface over one store's state.
struct KeyValue<'a> {
    table: &'a mut ResourceTable,
    given: &'a Given,
    /// The platform alone asks, and nothing is to come of it.
    rehearsing: bool,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValue<'a>;
}

/// Adds the interface.
pub(crate) fn link(linker: &mut Linker<Host>) -> Result<()> {
    fn view(host: &mut Host) -> KeyValue<'_> {
        KeyValue {
            rehearsing: host.is_rehearsing(),
            table: &mut host.table,
            given: &host.given,
        }
    }
    store::add_to_linker::<Host, HasKeyValue>(linker, view)?;
    atomics::add_to_linker::<Host, HasKeyValue>(linker, view)?;
    batch::add_to_linker::<Host, HasKeyValue>(linker, view)
}

/// Refuses a component that asks for buckets and is granted none.
pub(crate) fn check(code: &Code, given: &Given) -> std::result::Result<(), String> {
    if given.buckets.is_some() {
        return Ok(());
    }
    let component = code.pre.component();
    let ty = component.component_type();
    let asked = ty
        .imports(component.engine())
        .any(|(name, _)| name.starts_with(FAMILY));
    match asked {
        false => Ok(()),
        true => Err(
            "the component asks for wasi:keyvalue, and its manifest grants no bucket; write \
             [keyvalue] with buckets = [\"default\"]"
                .to_owned(),
        ),
    }
}

/// The interface and name of the resource that an entry of the table stands for, if it is of here.
pub(crate) fn kind(entry: &dyn Any) -> Option<(&'static str, &'static str)> {
    if entry.is::<OpenBucket>() {
        Some((STORE, "bucket"))
    } else if entry.is::<Look>() {
        Some((ATOMICS, "cas"))
    } else {
        None
    }
}

impl From<BucketError> for store::Error {
    fn from(error: BucketError) -> Self {
        Self::Other(error.to_string())
    }
}

/// An answer of the interface.
type Answer<T> = Result<std::result::Result<T, store::Error>>;

impl KeyValue<'_> {
    fn access(&self) -> Result<&Access> {
        let missing = || wasmtime::Error::msg("no bucket is granted");
        self.given.buckets.as_ref().ok_or_else(missing)
    }

    fn bucket(&self, open: &Resource<OpenBucket>) -> Result<Bucket> {
        Ok(self.table.get(open)?.0.clone())
    }
}

impl store::Host for KeyValue<'_> {
    async fn open(&mut self, identifier: String) -> Answer<Resource<OpenBucket>> {
        let opened = self.access()?.open(&identifier);
        Ok(match opened {
            // Without a bucket nothing else of the interface can be had.
            _ if self.rehearsing => Err(store::Error::AccessDenied),
            Ok(bucket) => Ok(self.table.push(OpenBucket(bucket))?),
            // Whether there is such a bucket is nobody's business who is not granted it.
            Err(_) => Err(store::Error::AccessDenied),
        })
    }
}

impl store::HostBucket for KeyValue<'_> {
    async fn get(&mut self, open: Resource<OpenBucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let bucket = self.bucket(&open)?;
        let held = self.access()?.store.get(&bucket, &key).await;
        Ok(held
            .map(|held| held.map(|it| it.value.to_vec()))
            .map_err(Into::into))
    }

    async fn set(&mut self, open: Resource<OpenBucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let (bucket, access) = (self.bucket(&open)?, self.access()?);
        let entries = vec![(key, Bytes::from(value))];
        let put = access.store.put(&bucket, &access.grant, entries).await;
        Ok(put.map_err(Into::into))
    }

    async fn delete(&mut self, open: Resource<OpenBucket>, key: String) -> Answer<()> {
        let bucket = self.bucket(&open)?;
        let deleted = self.access()?.store.delete(&bucket, vec![key]).await;
        Ok(deleted.map_err(Into::into))
    }

    async fn exists(&mut self, open: Resource<OpenBucket>, key: String) -> Answer<bool> {
        let bucket = self.bucket(&open)?;
        let held = self.access()?.store.get(&bucket, &key).await;
        Ok(held.map(|held| held.is_some()).map_err(Into::into))
    }

    async fn list_keys(
        &mut self,
        open: Resource<OpenBucket>,
        cursor: Option<String>,
    ) -> Answer<store::KeyResponse> {
        let bucket = self.bucket(&open)?;
        let page = self.access()?.store.keys(&bucket, cursor.as_deref()).await;
        Ok(page
            .map(|page| store::KeyResponse {
                keys: page.keys,
                cursor: page.cursor,
            })
            .map_err(Into::into))
    }

    async fn drop(&mut self, open: Resource<OpenBucket>) -> Result<()> {
        self.table.delete(open)?;
        Ok(())
    }
}

impl atomics::HostCas for KeyValue<'_> {
    async fn new(&mut self, open: Resource<OpenBucket>, key: String) -> Answer<Resource<Look>> {
        let bucket = self.bucket(&open)?;
        match self.access()?.store.get(&bucket, &key).await {
            Ok(held) => Ok(Ok(self.table.push(Look { bucket, key, held })?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn current(&mut self, look: Resource<Look>) -> Answer<Option<Vec<u8>>> {
        let held = &self.table.get(&look)?.held;
        Ok(Ok(held.as_ref().map(|held| held.value.to_vec())))
    }

    async fn drop(&mut self, look: Resource<Look>) -> Result<()> {
        self.table.delete(look)?;
        Ok(())
    }
}

impl atomics::Host for KeyValue<'_> {
    async fn increment(
        &mut self,
        open: Resource<OpenBucket>,
        key: String,
        delta: i64,
    ) -> Answer<i64> {
        let (bucket, access) = (self.bucket(&open)?, self.access()?);
        let store = &access.store;
        let sum = store.increment(&bucket, &access.grant, &key, delta).await;
        Ok(sum.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        look: Resource<Look>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), atomics::CasError>> {
        // Out of the table first, so that a new look takes its number, as it does in the guest.
        let Look { bucket, key, held } = self.table.delete(look)?;
        let access = self.access()?;
        let version = held.map(|held| held.version);
        let value = Bytes::from(value);
        let swapped = access
            .store
            .swap(&bucket, &access.grant, &key, version, value);
        Ok(match swapped.await {
            Ok(Swapped::Done) => Ok(()),
            Ok(Swapped::Changed(held)) => {
                let look = self.table.push(Look { bucket, key, held })?;
                Err(atomics::CasError::CasFailed(look))
            }
            Err(error) => Err(atomics::CasError::StoreError(error.into())),
        })
    }
}

impl batch::Host for KeyValue<'_> {
    async fn get_many(
        &mut self,
        open: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<(String, Option<Vec<u8>>)>> {
        if keys.len() > BATCH_MAX {
            let entries = keys.len();
            return Ok(Err(BucketError::Batch { entries }.into()));
        }
        let bucket = self.bucket(&open)?;
        let store = &self.access()?.store;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match store.get(&bucket, &key).await {
                Ok(held) => found.push((key, held.map(|held| held.value.to_vec()))),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(
        &mut self,
        open: Resource<OpenBucket>,
        entries: Vec<(String, Vec<u8>)>,
    ) -> Answer<()> {
        let (bucket, access) = (self.bucket(&open)?, self.access()?);
        let entries = entries
            .into_iter()
            .map(|(key, value)| (key, Bytes::from(value)));
        let put = access
            .store
            .put(&bucket, &access.grant, entries.collect())
            .await;
        Ok(put.map_err(Into::into))
    }

    async fn delete_many(&mut self, open: Resource<OpenBucket>, keys: Vec<String>) -> Answer<()> {
        let bucket = self.bucket(&open)?;
        let deleted = self.access()?.store.delete(&bucket, keys).await;
        Ok(deleted.map_err(Into::into))
    }
}
