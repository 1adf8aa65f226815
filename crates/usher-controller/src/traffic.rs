//! Traffic: who points aliases at revisions, shares traffic out, and rolls back.
//!
//! Deliberately absent: what that makes of the record (`plan`), and carrying it out (`change`).

use tokio::sync::mpsc;
use usher_api::http::Revisions;
use usher_api::record::FunctionRecord;
use usher_api::traffic::{AliasView, Aliases, Changed, shares};
use usher_core::id::FunctionKey;
use usher_core::traffic::wanted::{Revision, Wanted};
use usher_core::traffic::{Alias, Split};

use crate::DeployError;
use crate::change::Outcome;
use crate::controller::{Controller, Core};
use crate::plan::{Change, Step};
use crate::records::RecordError;

impl Controller {
    /// Points an alias at revisions; a new one is made, and `live` is what the bare name serves.
    /// Returns when the revisions are ready, that is on disk, and every follower knows of it.
    ///
    /// Dropping the future does not stop a change that has begun; so with all changes here.
    pub async fn point(
        &self,
        function: FunctionKey,
        alias: Alias,
        shares: Vec<Wanted>,
    ) -> Result<Changed, DeployError> {
        self.changed(function, Change::Point { alias, shares })
            .await
    }

    /// Deletes an alias. What only it named is retired when its requests have ended.
    pub async fn unpoint(
        &self,
        function: FunctionKey,
        alias: Alias,
    ) -> Result<Changed, DeployError> {
        self.changed(function, Change::Unpoint { alias }).await
    }

    /// Gives all traffic of the bare name to a revision; none: to the one that had all of it
    /// before.
    pub async fn roll_back(
        &self,
        function: FunctionKey,
        to: Option<Revision>,
    ) -> Result<Changed, DeployError> {
        self.changed(function, Change::RollBack { to }).await
    }

    /// The aliases of a function, `live` first, if there is such a function.
    pub async fn aliases(&self, function: &FunctionKey) -> Result<Option<Aliases>, RecordError> {
        let kept = self.record(function).await?;
        Ok(kept.map(|kept| {
            let record = &kept.record;
            let live = self.core.alias_view(record, Alias::live(), &record.live());
            let mut aliases = vec![live];
            aliases.extend(self.core.alias_views(record));
            Aliases { aliases }
        }))
    }

    /// The revisions of a function, if there is such a function.
    pub async fn revisions(
        &self,
        function: &FunctionKey,
    ) -> Result<Option<Revisions>, RecordError> {
        let kept = self.record(function).await?;
        let status = |id| self.core.node.status(id);
        Ok(kept.map(|kept| Revisions::of(&kept.record, status)))
    }

    async fn changed(&self, function: FunctionKey, change: Change) -> Result<Changed, DeployError> {
        // Nobody is told the steps.
        let (progress, _) = mpsc::channel(1);
        let Outcome { step, record } = self.change(function, change, progress).await?;
        Ok(Changed {
            unchanged: matches!(step, Step::Keep { .. }),
            function: self.core.view(&record),
        })
    }
}

impl Core {
    /// The aliases of a function but `live`.
    pub(crate) fn alias_views(&self, record: &FunctionRecord) -> Vec<AliasView> {
        let aliases = record.aliases.iter();
        aliases
            .map(|(alias, split)| self.alias_view(record, alias.clone(), split))
            .collect()
    }

    fn alias_view(&self, record: &FunctionRecord, alias: Alias, split: &Split) -> AliasView {
        AliasView {
            traffic: shares(record, split),
            urls: self.options.addresses.alias_urls(&record.key, &alias),
            alias,
        }
    }
}
