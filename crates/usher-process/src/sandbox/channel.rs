//! The platform's end of a socket to a spawner or a sandbox, for tasks.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::wire;
use crate::sys::ready::awaited;

/// One end of a pair that [`wire::pair`] made.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Takes the socket over; to be called where tasks run.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(awaited(socket, interest)?))
    }

    /// Sends one message. If it is cancelled, the message was sent whole or not at all.
    pub(super) async fn send<M: Serialize>(
        &self,
        message: &M,
        beside: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        loop {
            let mut ready = self.0.writable().await?;
            if let Ok(sent) = ready.try_io(|socket| wire::send(socket.as_fd(), message, beside)) {
                return sent;
            }
        }
    }

    /// Receives one message; `None` when the other side has gone. Cancelling loses none.
    pub(super) async fn receive<M: DeserializeOwned>(
        &self,
    ) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(received) = ready.try_io(|socket| wire::receive(socket.as_fd())) {
                return received;
            }
        }
    }
}
