//! The hook in the sandbox: programs that know nothing of it, under the shims, are put back to one
//! state again and again, and must give other values each time.
//!
//! Each case has its control: the same program, put back the same way and not told, repeats itself.
//! The put-back of these tests is a plain one of their own (`restored/putback.c`); that of the
//! platform is tested elsewhere. Deliberately absent: the protocol's errors, which the tests beside
//! `Hook` show.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "restored/declared.rs"]
mod declared;
#[path = "restored/guest.rs"]
mod guest;
#[path = "sandbox/rig.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod rig;
#[path = "restored/servers.rs"]
mod servers;
#[path = "restored/values.rs"]
mod values;
