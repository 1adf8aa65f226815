//! Sockets of a sandbox's network that were asked of its first process, and how one is connected.
//!
//! Some are kept in reserve, where whoever wants one takes it without waiting for a task; they are
//! asked for together, so that not each connection wakes the sandbox's first process.
//! Deliberately absent: the asking.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::program::CONNECTS_MAX;

/// Where a socket is waited for.
pub(super) type Give = oneshot::Sender<io::Result<OwnedFd>>;

/// Sockets in reserve, once somebody has taken one out of it; each holds some kilobytes.
const SPARE_MAX: usize = 4;

/// The sockets in reserve. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<OwnedFd>>>);

impl Spare {
    /// One of them, and whether others should be asked for.
    pub(super) fn take(&self) -> Option<(OwnedFd, bool)> {
        let mut spare = self.0.lock();
        let socket = spare.pop()?;
        Some((socket, spare.is_empty()))
    }

    fn put(&self, socket: OwnedFd) {
        self.0.lock().push(socket);
    }

    fn count(&self) -> usize {
        self.0.lock().len()
    }
}

/// Connects a socket that does not block.
///
/// # Errors
///
/// Those of the connection.
pub(super) async fn connect(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    // Within one machine it is connected when the first call returns, and the second one says so.
    // Otherwise the runtime would be asked, which wakes a thread.
    let asked = rustix::net::connect(&socket, &to);
    let asked = match asked {
        Err(Errno::INPROGRESS) => rustix::net::connect(&socket, &to),
        other => other,
    };
    match asked {
        Ok(()) => TcpStream::from_std(socket.into()),
        Err(Errno::INPROGRESS | Errno::ALREADY) => {
            let stream = TcpStream::from_std(socket.into())?;
            stream.writable().await?;
            stream.take_error()?.map_or(Ok(stream), Err)
        }
        Err(other) => Err(other.into()),
    }
}

/// Sockets that were asked for: more than are wanted, so that the next connection has not to wait
/// for its own.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Whom those that are on their way are for; none: the next who wants one.
    pub(super) coming: VecDeque<Option<Give>>,
    spare: Spare,
}

impl Asked {
    /// Those that nobody waits for are put there.
    pub(super) fn with(spare: Spare) -> Self {
        Self {
            coming: VecDeque::new(),
            spare,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.coming.len() < CONNECTS_MAX
    }

    /// Somebody wants a socket, or has taken one from the reserve: what must be asked for, and for
    /// whom.
    pub(super) fn wanted(&mut self, give: Option<Give>) -> Vec<Option<Give>> {
        let Some(give) = give else {
            let coming = self.coming.iter().filter(|place| place.is_none()).count();
            let missing = SPARE_MAX.saturating_sub(self.spare.count() + coming);
            return (0..missing).map(|_| None).collect();
        };
        if let Some((socket, _)) = self.spare.take() {
            // Whoever wanted it may have given up; so below.
            let _ = give.send(Ok(socket));
            return vec![None];
        }
        match self.coming.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(give);
                vec![None]
            }
            None => vec![Some(give), None],
        }
    }

    /// A socket has come.
    pub(super) fn came(&mut self, socket: Option<OwnedFd>) {
        match (self.coming.pop_front().flatten(), socket) {
            (Some(give), Some(socket)) => {
                let _ = give.send(Ok(socket));
            }
            (None, Some(socket)) => self.spare.put(socket),
            (_, None) => {}
        }
    }

    /// One could not be had. False: none was asked for.
    pub(super) fn failed(&mut self, errno: i32) -> bool {
        match self.coming.pop_front() {
            Some(Some(give)) => {
                let _ = give.send(Err(io::Error::from_raw_os_error(errno)));
                true
            }
            Some(None) => true,
            None => false,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn socket() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn want(asked: &mut Asked) -> oneshot::Receiver<io::Result<OwnedFd>> {
        let (give, given) = oneshot::channel();
        let more = asked.wanted(Some(give));
        asked.coming.extend(more);
        given
    }

    #[test]
    fn there_is_one_in_reserve_once_somebody_wanted_one() {
        let mut asked = Asked::default();
        let mut first = want(&mut asked);
        assert_eq!(asked.coming.len(), 2);
        let one = socket();
        let number = one.as_raw_fd();
        asked.came(Some(one));
        assert_eq!(first.try_recv().unwrap().unwrap().as_raw_fd(), number);
        asked.came(Some(socket()));
        let mut second = want(&mut asked);
        assert!(second.try_recv().unwrap().is_ok());
        assert_eq!(asked.coming.len(), 1);
    }

    #[test]
    fn the_reserve_is_filled_when_it_is_empty_and_never_beyond_its_bound() {
        let spare = Spare::default();
        let mut asked = Asked::with(spare.clone());
        for _ in 0..3 {
            let more = asked.wanted(None);
            assert_eq!(more.len(), SPARE_MAX);
            asked.coming.extend(more);
            assert!(asked.wanted(None).is_empty(), "they are on their way");
            for _ in 0..SPARE_MAX {
                asked.came(Some(socket()));
            }
            assert!(asked.wanted(None).is_empty(), "they are there");
            for left in (0..SPARE_MAX).rev() {
                assert_eq!(spare.take().unwrap().1, left == 0);
            }
            assert!(spare.take().is_none());
        }
    }

    #[tokio::test]
    async fn a_socket_is_connected_or_refused() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let own = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = connect(own(), address).await.unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), peer);
        drop(listener);
        let error = connect(own(), address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn who_wants_one_gets_that_which_is_on_its_way() {
        let mut asked = Asked::default();
        let _first = want(&mut asked);
        let mut second = want(&mut asked);
        assert_eq!(asked.coming.len(), 3);
        asked.came(Some(socket()));
        asked.came(Some(socket()));
        assert!(second.try_recv().unwrap().is_ok());
    }

    #[test]
    fn a_failure_is_told_to_whom_it_meets_and_nobody_else() {
        let mut asked = Asked::default();
        let mut first = want(&mut asked);
        assert!(asked.failed(libc::EMFILE));
        let error = first.try_recv().unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert!(asked.failed(libc::EMFILE), "it was for nobody yet");
        assert!(!asked.failed(libc::EMFILE), "none was asked for");
    }
}
