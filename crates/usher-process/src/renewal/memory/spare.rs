//! The agent's data has more pages than usual batches use. What nobody has used needs no wiping.
//!
//! ```text
//!  own pages of the data:  few ─► so many are wiped, and no more
//!                          many ─► all but the usual ones are dropped
//! ```
//!
//! Deliberately absent: the wiping, which is done when the program goes on.

use usher_core::renewal::runs::Span;

use super::calls;
use super::errors::Failed;
use crate::renewal::stopped::{Agent, Batch, Stopped};
use crate::sys::pages::{Own, page_bytes};

/// Pages that usual batches use.
const USUAL_PAGES: u64 = 4;

/// Tells how much of the agent's data may hold something of the program's. `own` are all of the
/// program's own pages.
pub(super) fn tidy(own: &[Own], stopped: &mut Stopped, agent: &Agent) -> Result<(), Failed> {
    let data = Span::new(agent.data().start, agent.data().end);
    let here = own.iter().map(|own| own.span.common(data));
    let here = here.filter(|span| !span.is_empty());
    let end = here.map(|span| span.end).max().unwrap_or(data.start);
    let usual = data.end.min(data.start + USUAL_PAGES * page_bytes());
    if end <= usual {
        stopped.agent_is_clear_from(agent, end);
        return Ok(());
    }
    let mut batch = Batch::new();
    calls::drop_pages(&mut batch, Span::new(usual, data.end));
    let done = stopped.run(agent, &batch);
    done.map_err(Failed::by_program("drop pages of the platform's"))?;
    stopped.agent_is_clear_from(agent, usual);
    Ok(())
}
