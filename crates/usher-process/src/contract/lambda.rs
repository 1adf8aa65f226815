//! The AWS Lambda Runtime API, for unmodified runtime clients, and what its callers see.
//!
//! ```text
//! HTTP request ─event→ [desk] ─next→ program          api: the platform's side
//! response ◄─result─── [desk] ◄─response, error─      server, calls: the program's side
//! ```
//!
//! Pure parts: `life` (what is legal when), `routes`, `about` (environment variables, ids), `event`
//! and `style` (requests), `result` and `failure` (answers). The program is hostile: whatever it
//! sends is bounded, and costs itself only.
//!
//! A program of which the function's manifest says `snap_start` waits in `restore/next` for its
//! state to be taken, and once more whenever it was put back; then it runs the function's hooks.
//!
//! Deliberately absent: extensions that get events, telemetry, asynchronous invocations, and
//! everything about the process.

mod about;
mod api;
mod calls;
mod delivery;
mod desk;
mod error;
mod event;
mod failure;
mod intake;
mod life;
mod outcome;
mod result;
mod routes;
mod server;
mod stream;
mod style;
mod told;

pub use about::{API_ADDRESS, About, DEFAULT_REGION, LATEST, TASK_ROOT, environment};
pub use api::{Invoke, LambdaApi};
pub use delivery::EVENT_MAX_BYTES;
pub use error::{InitError, InvokeError, RestoreError};
pub use failure::{Ending, Failure, FunctionError, RESULT_MAX_BYTES, answer};
pub use outcome::Note;
pub use server::{NotRemembered, NotRewound};
pub use stream::Broken;
pub use style::Style;
