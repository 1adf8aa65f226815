//! Programs that cannot be put back are told so, and go on as if nothing had been.

use super::guest::Guest;
use crate::renewal::memory::{TakeError, means};
use crate::sys::pages::Means;

#[test]
fn shared_and_growing_memory() {
    for line in ["share 4096", "grow-down 4096"] {
        let mut guest = Guest::start();
        assert_eq!(guest.ask(line), 0);
        let refused = guest.taken_with(means()).err().unwrap();
        assert!(matches!(refused, TakeError::Unfit(_)), "{refused}");
        assert_eq!(guest.ask("count 0"), 2);
        assert_eq!(guest.ask("count 0"), 3);
    }
}

#[test]
fn a_machine_that_does_not_tell_what_was_written() {
    let guest = Guest::start();
    let blind = Means {
        pages: None,
        mappings_asked: true,
    };
    let refused = guest.taken_with(blind).err().unwrap();
    assert!(matches!(refused, TakeError::Blind), "{refused}");
}
