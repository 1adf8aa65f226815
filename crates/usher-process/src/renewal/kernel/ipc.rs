//! System V IPC of the program's namespace: there must be none, before as after.
//!
//! The kernel counts its segments, sets and queues for whoever asks, so three calls find any.
//! Deliberately absent: removing them, which would need their ids and changes what comes next; and
//! POSIX queues, which are denied.

use crate::renewal::stopped::{Agent, Answers, Batch, Call, Expect, Full, Pointer, Stopped};

use super::errors::{Difference, Leftover, TakeError, same};

/// Bytes that the longest of the answers needs, and more.
const ANSWER_BYTES: usize = 128;
/// `SHM_INFO`, `SEM_INFO` and `MSG_INFO`, with the place of the count in the answer, in bytes.
const SEGMENTS: (i64, u64, usize) = (libc::SYS_shmctl, 14, 0);
const SETS: (i64, u64, usize) = (libc::SYS_semctl, 19, 28);
const QUEUES: (i64, u64, usize) = (libc::SYS_msgctl, 12, 0);

/// The questions of one renewal.
#[derive(Debug, Default)]
pub(super) struct Ipc {
    asked: Vec<(usize, Pointer, usize)>,
}

impl Ipc {
    pub(super) fn take(stopped: &mut Stopped, agent: &Agent) -> Result<Self, TakeError> {
        let mut ipc = Self::default();
        let mut batch = Batch::new();
        ipc.plan(&mut batch)?;
        let answers = stopped.run(agent, &batch)?;
        match ipc.done(&answers) {
            Ok(()) => Ok(ipc),
            Err(_) => Err(TakeError::State("uses System V IPC".to_owned())),
        }
    }

    pub(super) fn plan(&mut self, batch: &mut Batch) -> Result<(), Full> {
        self.asked.clear();
        for (number, command, at) in [SEGMENTS, SETS, QUEUES] {
            let place = batch.space(ANSWER_BYTES)?;
            let call = if number == libc::SYS_semctl {
                let ask = [0_u64.into(), 0_u64.into(), command.into(), place.into()];
                Call::new(number, ask)
            } else {
                Call::new(number, [0_u64.into(), command.into(), place.into()])
            };
            self.asked.push((batch.call(call, Expect::Any), place, at));
        }
        Ok(())
    }

    pub(super) fn done(&self, answers: &Answers) -> Result<(), Leftover> {
        let counts = self.asked.iter().map(|asked| count(answers, *asked));
        if counts.collect::<Option<Vec<_>>>().as_deref() == Some(&[0, 0, 0]) {
            Ok(())
        } else {
            Err(Leftover::State("System V IPC is in use"))
        }
    }

    pub(super) fn compare(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Difference> {
        let mut ipc = Self::default();
        let mut batch = Batch::new();
        ipc.plan(&mut batch)?;
        let answers = stopped.run(agent, &batch)?;
        let counts = ipc.asked.iter().map(|asked| count(&answers, *asked));
        same("System V IPC", &vec![Some(0); 3], &counts.collect())
    }
}

/// How many there are; `None` if the kernel did not say. A kernel without System V IPC has none.
fn count(answers: &Answers, (call, place, at): (usize, Pointer, usize)) -> Option<u32> {
    match answers.value(call)? {
        value if value == -i64::from(libc::ENOSYS) => Some(0),
        value if value < 0 => None,
        _ => {
            let bytes = answers.bytes(place).get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        }
    }
}
