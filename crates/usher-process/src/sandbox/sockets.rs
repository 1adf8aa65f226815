//! Sockets of a sandbox's network that were asked of its first process.
//!
//! Deliberately absent: the asking.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::program::CONNECTS_MAX;

/// Where a socket is waited for.
type Give = oneshot::Sender<io::Result<OwnedFd>>;

/// Sockets that were asked for: one more than is wanted, so that the next connection has not to
/// wait for its own.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Whom those that are on their way are for; none: the next who wants one.
    pub(super) coming: VecDeque<Option<Give>>,
    spare: Option<OwnedFd>,
}

impl Asked {
    pub(super) fn has_room(&self) -> bool {
        self.coming.len() < CONNECTS_MAX
    }

    /// Somebody wants a socket: what must be asked for, and for whom.
    pub(super) fn wanted(&mut self, give: Give) -> Vec<Option<Give>> {
        if let Some(socket) = self.spare.take() {
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
            (None, Some(socket)) => self.spare = Some(socket),
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
        let more = asked.wanted(give);
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
