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
        match counted(stopped, agent)? {
            Ok([0, 0, 0]) => Ok(Self::default()),
            _ => Err(TakeError::State("uses System V IPC".to_owned())),
        }
    }

    pub(super) fn plan(&mut self, batch: &mut Batch) -> Result<(), Leftover> {
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
        match counted(stopped, agent) {
            Ok(Ok(now)) => same("System V IPC", &[0, 0, 0], &now),
            Ok(Err(full)) => Err(full.into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn counted(
    stopped: &mut Stopped,
    agent: &Agent,
) -> Result<Result<[u32; 3], Full>, crate::renewal::stopped::InjectError> {
    let mut batch = Batch::new();
    let mut ipc = Ipc::default();
    match ipc.plan(&mut batch) {
        Err(Leftover::Full(full)) => return Ok(Err(full)),
        Ok(()) | Err(_) => {}
    }
    let answers = stopped.run(agent, &batch)?;
    let mut counts = [u32::MAX; 3];
    for (to, asked) in counts.iter_mut().zip(&ipc.asked) {
        *to = count(&answers, *asked).unwrap_or(u32::MAX);
    }
    Ok(Ok(counts))
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
