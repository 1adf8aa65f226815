//! The socket of a connection: it outlives whoever serves it, and knows what was read from it and
//! is not answered yet.
//!
//! ```text
//! open ─served, left, served again …─ ended (shut down: the program sees it) ─dropped→ gone
//! ```
//!
//! Deliberately absent: HTTP.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::rewind::NotRewound;
use crate::sys::handles;

/// How much of a call that is not answered yet is kept, in bytes. The call that is served again is
/// a head of some hundred bytes.
const RECORD_MAX_BYTES: usize = 16 * 1024;
/// How much of an old run is thrown away, in bytes; the kernel keeps no more for one socket.
const UNREAD_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Where the kernel tells in `tcp_info` how many bytes it has not sent yet.
const NOT_SENT: usize = 144;

/// See the module. Served by one task at a time.
pub(super) struct Line {
    socket: TcpStream,
    record: Mutex<Record>,
    ended: AtomicBool,
}

/// What was read from the socket since the last call on it was answered.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    /// There was more than is kept.
    overflown: bool,
}

impl Line {
    pub(super) fn new(socket: TcpStream) -> Self {
        // Events and their answers are small and must not wait for each other.
        let _ = socket.set_nodelay(true);
        Self {
            socket,
            record: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buf) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        let mut record = self.record.lock();
        if record.bytes.len() + read.len() > RECORD_MAX_BYTES {
            record.overflown = true;
        }
        if !record.overflown {
            record.bytes.extend_from_slice(read);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// The call that was read last has its answer, which is about to be written.
    pub(super) fn answered(&self) {
        let mut record = self.record.lock();
        record.bytes.clear();
        record.overflown = false;
    }

    /// What was read and is not answered, which is forgotten; none if it was too much.
    pub(super) fn take_record(&self) -> Option<Vec<u8>> {
        let record = std::mem::take(&mut *self.record.lock());
        (!record.overflown).then_some(record.bytes)
    }

    /// Whether nothing was read that is not answered.
    pub(super) fn is_quiet(&self) -> bool {
        let record = self.record.lock();
        record.bytes.is_empty() && !record.overflown
    }

    /// No more is written.
    pub(super) fn finish(&self) -> io::Result<()> {
        shutdown_as(&self.socket, Shutdown::Write)
    }

    /// Ends it for both sides, whoever holds it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // It may have ended by itself.
        let _ = shutdown_as(&self.socket, Shutdown::Both);
    }

    /// Makes it end, when it is dropped, as [`reset`] says.
    pub(super) fn reset(&self) {
        self.ended.store(true, Ordering::Release);
        reset(&self.socket);
    }

    /// Whether there is something to be read; none: the program has closed it.
    pub(super) fn has_unread(&self) -> io::Result<Option<bool>> {
        match self.receive(&mut [0; 1], RecvFlags::PEEK) {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(true)),
            Err(Errno::AGAIN) => Ok(Some(false)),
            Err(Errno::CONNRESET) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Throws away what an old run has sent. Nobody serves the line now.
    pub(super) fn forget(&self) -> Result<(), NotRewound> {
        if self.ended.load(Ordering::Acquire) {
            return Err(NotRewound::Ended);
        }
        let told = handles::option(&self.socket, libc::IPPROTO_TCP, libc::TCP_INFO);
        if told.map_err(NotRewound::Socket)?.number(NOT_SENT) != 0 {
            return Err(NotRewound::Unsent);
        }
        self.answered();
        let mut thrown = 0;
        let mut piece = vec![0; 64 * 1024];
        while thrown < UNREAD_MAX_BYTES {
            match self.receive(&mut piece, RecvFlags::empty()) {
                Ok(0) | Err(Errno::CONNRESET) => return Err(NotRewound::Ended),
                Ok(read) => thrown += read,
                Err(Errno::AGAIN) => return Ok(()),
                Err(other) => return Err(NotRewound::Socket(other.into())),
            }
        }
        Err(NotRewound::Unread)
    }

    /// The kernel is asked and not tokio, which learns of new bytes a little later.
    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
        let flags = flags | RecvFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| recv(&self.socket, &mut *into, flags).map(|(read, _)| read))
    }
}

/// Makes a socket end, when it is closed, in such a way that no trace of it waits in the kernel.
pub(super) fn reset(socket: impl AsFd) {
    // Otherwise it ends the slow way.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

fn shutdown_as(socket: &TcpStream, how: Shutdown) -> io::Result<()> {
    match shutdown(socket, how) {
        Ok(()) | Err(Errno::NOTCONN) => Ok(()),
        Err(other) => Err(other.into()),
    }
}
