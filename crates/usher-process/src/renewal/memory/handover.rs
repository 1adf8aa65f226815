//! A descriptor of the platform's becomes one of a stopped program.
//!
//! ```text
//!  program: socketpair ─► platform takes one end, sends it ─► program: recvmsg, close both
//! ```
//!
//! The image's descriptor is in the program only while it is stopped. If it stayed there, the
//! program could close it, lock it, or leave a message for the next request in the file's times.
//!
//! Deliberately absent: what the descriptor is for; who asked for it closes it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::errors::Failed;
use crate::renewal::stopped::{Agent, Answers, Argument, Batch, Call, Expect, Pointer, Stopped};

/// Bytes of a message about one descriptor, as the kernel lays it out: its length (8), what it is
/// about (4 and 4), the descriptor (4), and nothing (4).
const CONTROL_BYTES: usize = 24;

/// Gives the program a descriptor of `file`, closed on exec; returns its number there.
pub(in crate::renewal) fn give(
    stopped: &mut Stopped,
    agent: &Agent,
    file: BorrowedFd<'_>,
) -> Result<i32, Failed> {
    const STEP: &str = "hand the image to it; see that it may have three more descriptors";
    let [ours, theirs] = pair(stopped, agent)?;
    let sent = send(stopped, ours, file);
    let (mut batch, control) = receive(agent, theirs)?;
    for end in [ours, theirs] {
        batch.call(Call::new(libc::SYS_close, [end.into()]), Expect::Value(0));
    }
    sent.map_err(Failed::at("hand the image to a thread"))?;
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(Failed::by_program("receive the image"))?;
    received(&answers, control).ok_or_else(|| Failed::Step {
        step: STEP,
        source: io::Error::other("no descriptor arrived"),
    })
}

/// Two connected sockets of the program, by number.
fn pair(stopped: &mut Stopped, agent: &Agent) -> Result<[i32; 2], Failed> {
    let mut batch = Batch::new();
    let ends = batch.space(2 * size_of::<i32>())?;
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let arguments: [Argument; 4] = [libc::AF_UNIX.into(), kind.into(), 0.into(), ends.into()];
    let call = Call::new(libc::SYS_socketpair, arguments);
    batch.call(call, Expect::Value(0));
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(Failed::by_program("make two sockets for the image"))?;
    let mut ends = answers.bytes(ends).chunks_exact(size_of::<i32>());
    let mut end = || number(ends.next().unwrap_or_default());
    Ok([end(), end()])
}

fn send(stopped: &Stopped, end: i32, file: BorrowedFd<'_>) -> io::Result<()> {
    let program = pidfd_open(stopped.pid(), PidfdFlags::empty())?;
    let socket = pidfd_getfd(&program, end, PidfdGetfdFlags::empty())?;
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(
        &socket,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

fn receive(agent: &Agent, end: i32) -> Result<(Batch, Pointer), Failed> {
    let mut batch = Batch::new();
    let byte = batch.space(1)?;
    let mut piece = Vec::new();
    piece.extend(byte.address(agent).to_ne_bytes());
    piece.extend(1_u64.to_ne_bytes());
    let piece = batch.bytes(&piece)?;
    let control = batch.space(CONTROL_BYTES)?;
    // Name and its length; pieces and their number; control and its length; flags.
    let header = [
        0,
        0,
        piece.address(agent),
        1,
        control.address(agent),
        CONTROL_BYTES as u64,
        0,
    ];
    let header: Vec<u8> = header.into_iter().flat_map(u64::to_ne_bytes).collect();
    let header = batch.bytes(&header)?;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    let call = Call::new(libc::SYS_recvmsg, [end.into(), header.into(), flags.into()]);
    batch.call(call, Expect::Value(1));
    Ok((batch, control))
}

fn received(answers: &Answers, control: Pointer) -> Option<i32> {
    let bytes = answers.bytes(control);
    let about = [bytes.get(8..12)?, bytes.get(12..16)?].map(number);
    let descriptor = number(bytes.get(16..20)?);
    (about == [libc::SOL_SOCKET, libc::SCM_RIGHTS] && descriptor >= 0).then_some(descriptor)
}

fn number(bytes: &[u8]) -> i32 {
    bytes.try_into().map_or(-1, i32::from_ne_bytes)
}
