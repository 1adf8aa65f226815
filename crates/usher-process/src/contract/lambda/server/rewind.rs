//! The platform's side of a Runtime API goes back together with the program.
//!
//! ```text
//! remember:  pause ─► each connection, and the call on it that is not answered ─► rewind
//! forget:    pause ─► connections made since: reset    ─► again: each connection begins with
//!                     those that wait: reset               its call
//!                     what was sent since: thrown away
//! ```
//!
//! A program that was put back believes that it has just asked for an event, or to be restored, on
//! the connection that it had then. In the run it may have been answered there, and have asked on
//! another one. So all of the run's connections end, and those of the snapshot are served as if the
//! bytes that were read from them before the snapshot had come once more.
//!
//! Bytes that were sent to the program and that it has not read are looked for on its own side.
//! Deliberately absent: the state of calls and replies (`desk`), of which there is a new one for
//! each rewind, so that nothing that is left of an old run can reach a new caller.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SocketFlags, accept_with};
use tokio::net::TcpStream;

use super::super::desk::Desk;
use super::super::routes::{Endpoint, endpoint};
use super::Server;
use super::line::{Line, reset};

/// How many connections that wait are thrown away; the kernel keeps no more for a listener.
const WAITING_MAX: usize = 4_096;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A connection at the snapshot.
pub(super) struct Remembered {
    line: Arc<Line>,
    /// The head of the call on it that was not answered; empty if there was none.
    call: Bytes,
}

/// Why the state of a Runtime API cannot be returned to. It serves nothing any more.
#[derive(Debug, thiserror::Error)]
pub enum NotRemembered {
    /// It has not asked for an event, or is about to be given one.
    #[error("the runtime does not wait for an event")]
    NotWaiting,
    /// Which of several calls is answered would be chance.
    #[error("the runtime waits for an event in {0} calls at once, instead of one")]
    Calls(usize),
    /// It has sent a part of a call, or more than one.
    #[error("the program has sent something to the Runtime API that is not one whole call")]
    Partial,
    /// It went on while it was expected to rest.
    #[error("the program has sent something to the Runtime API while its snapshot was taken")]
    Restless,
    /// The kernel does not tell.
    #[error("a socket of the Runtime API failed")]
    Socket(#[source] io::Error),
    /// It cannot even be returned to at once.
    #[error(transparent)]
    NotRewound(#[from] NotRewound),
}

/// Why a Runtime API was not brought back to what it was. Its environment is to be replaced.
#[derive(Debug, thiserror::Error)]
pub enum NotRewound {
    /// Nothing was remembered.
    #[error("the Runtime API remembers no state that it could go back to")]
    Nothing,
    /// One side has closed it.
    #[error("a connection to the Runtime API that there was at the snapshot has been closed")]
    Ended,
    /// The program might read it later.
    #[error("the Runtime API has answered more than the program has room for")]
    Unsent,
    /// More than the kernel keeps for a socket was thrown away.
    #[error("the program goes on sending to the Runtime API")]
    Unread,
    /// More connections waited than the kernel lets wait.
    #[error("the program goes on connecting to the Runtime API")]
    Crowd,
    /// The call of the snapshot was not taken in.
    #[error("the runtime does not wait for an event again")]
    NotWaiting,
    /// The kernel has refused something.
    #[error("a socket of the Runtime API failed")]
    Socket(#[source] io::Error),
}

impl Server {
    /// Notes what every later [`rewind`](Self::rewind) returns to, of a program that rests. Paused
    /// on return.
    pub(in super::super) fn remember(&mut self) -> Result<(), NotRemembered> {
        self.pause();
        let mut remembered = Vec::new();
        let mut nexts = 0;
        for line in self.lines.all() {
            match line.has_unread().map_err(NotRemembered::Socket)? {
                Some(false) => {}
                Some(true) => return Err(NotRemembered::Partial),
                None => continue,
            }
            let call = line.take_record().ok_or(NotRemembered::Partial)?;
            let waits = matches!(
                outstanding(&call)?,
                Some(Endpoint::Next | Endpoint::RestoreNext)
            );
            nexts += usize::from(waits);
            let call = call.into();
            remembered.push(Remembered { line, call });
        }
        if nexts != 1 {
            return Err(NotRemembered::Calls(nexts));
        }
        if self.is_called().map_err(NotRemembered::Socket)? {
            return Err(NotRemembered::Partial);
        }
        self.remembered = Some(remembered);
        Ok(())
    }

    /// The calls that were remembered, one for each connection.
    pub(in super::super) fn calls(&self) -> Vec<Bytes> {
        let all = self.remembered.iter().flatten();
        all.map(|it| it.call.clone()).collect()
    }

    /// Notes for a program that has one connection, on which it has sent nothing, that this call
    /// had been read from it. Paused on return.
    pub(in super::super) fn adopt(&mut self, call: Bytes) -> Result<(), NotRemembered> {
        self.pause();
        let mut lines = self.lines.0.lock();
        // The kernel is asked and not tokio, which learns of a connection a little later.
        while lines.len() <= 1 && self.is_called().map_err(NotRemembered::Socket)? {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = accept_with(&*self.listener, flags).map_err(io::Error::from);
            let socket = socket.map(std::net::TcpStream::from);
            let socket = socket.and_then(TcpStream::from_std);
            lines.push(Arc::new(Line::new(socket.map_err(NotRemembered::Socket)?)));
        }
        let [line] = lines.as_slice() else {
            return Err(NotRemembered::Calls(lines.len()));
        };
        let line = line.clone();
        self.remembered = Some(vec![Remembered { line, call }]);
        Ok(())
    }

    /// Whether the program has sent nothing since it was remembered or rewound.
    pub(in super::super) fn is_quiet(&self) -> Result<bool, io::Error> {
        let lines = self.lines.all();
        let known = self.remembered.as_ref().map_or(0, Vec::len);
        if lines.len() != known || self.is_called()? {
            return Ok(false);
        }
        for line in &lines {
            if line.has_unread()? != Some(false) || !line.is_quiet() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps what was remembered, and nothing of what came after. Paused on return.
    pub(in super::super) fn forget(&mut self) -> Result<(), NotRewound> {
        self.pause();
        let remembered = self.remembered.as_ref().ok_or(NotRewound::Nothing)?;
        let lines: Vec<_> = remembered.iter().map(|it| it.line.clone()).collect();
        let old = std::mem::replace(&mut *self.lines.0.lock(), lines);
        let is_new = |line: &&Arc<Line>| !remembered.iter().any(|it| Arc::ptr_eq(&it.line, line));
        old.iter().filter(is_new).for_each(|line| line.reset());
        drop(old);
        self.send_away()?;
        remembered.iter().try_for_each(|it| it.line.forget())
    }

    /// Serves what was remembered; `desk` is a new one.
    pub(in super::super) fn again(&self, desk: &Arc<Desk>) {
        let begun = self.remembered.iter().flatten();
        let begun = begun.map(|it| (it.line.clone(), it.call.clone())).collect();
        self.go_on(begun, desk);
    }

    /// Whether somebody waits to be accepted.
    fn is_called(&self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&*self.listener, PollFlags::IN)];
        Ok(retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))? != 0)
    }

    /// Resets the connections that wait.
    fn send_away(&self) -> Result<(), NotRewound> {
        for _ in 0..WAITING_MAX {
            match accept_with(&*self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => reset(&socket),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(other) => return Err(NotRewound::Socket(other.into())),
            }
        }
        Err(NotRewound::Crowd)
    }
}

/// The call that these bytes are; none if there are no bytes.
fn outstanding(bytes: &[u8]) -> Result<Option<Endpoint>, NotRemembered> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let end = bytes
        .windows(END_OF_HEAD.len())
        .position(|at| at == END_OF_HEAD);
    if end.map(|at| at + END_OF_HEAD.len()) != Some(bytes.len()) {
        return Err(NotRemembered::Partial);
    }
    let line = bytes.split(|byte| *byte == b'\r').next();
    let line = std::str::from_utf8(line.unwrap_or_default());
    let mut words = line.unwrap_or_default().split(' ');
    // No other call is without a body, or waits.
    match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => Ok(Some(endpoint(&Method::GET, path))),
        _ => Err(NotRemembered::Partial),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_call_without_a_body_is_served_again() {
        let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: api\r\n\r\n";
        let is = |text: &str| outstanding(text.as_bytes()).ok();
        assert_eq!(is(""), Some(None));
        assert_eq!(is(next), Some(Some(Endpoint::Next)));
        let restore = next.replace("invocation", "restore");
        assert_eq!(is(&restore), Some(Some(Endpoint::RestoreNext)));
        let extension = next.replace(
            "2018-06-01/runtime/invocation",
            "2020-01-01/extension/event",
        );
        assert_eq!(is(&extension), Some(Some(Endpoint::ExtensionNext)));
        for end in 1..next.len() {
            assert_eq!(is(&next[..end]), None, "{end}");
        }
        for other in [
            next.repeat(2),
            format!("{next}x"),
            next.replace("GET", "POST"),
            "\r\n\r\n".to_owned(),
        ] {
            assert_eq!(is(&other), None, "{other}");
        }
    }
}
