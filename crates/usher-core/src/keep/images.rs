//! Which images a node gives up: those unused for long, and of what is loaded beyond a bound those
//! used least recently. Whoever is asked next is loaded again from what is on disk.
//!
//! ```text
//! in use, or to be ready always ............ stays
//! unused for long, and quick to load ....... given up
//! others ................................... given up while more are loaded than the bound, the
//!                                            longest unused first
//! ```
//!
//! Deliberately absent: clocks, and what giving up takes.

/// A loaded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// For how long nobody has used it, in milliseconds; none: it is in use, or is to stay.
    pub unused_ms: Option<u64>,
    /// After how long it is given up in any case, in milliseconds.
    pub unused_max_ms: u64,
    /// Whether it is loaded again within a request's patience.
    pub quick: bool,
}

/// The places of those to be given up, in `images`; at most `images_max` stay beside those in use.
pub fn give_up(images: &[Loaded], images_max: usize) -> Vec<usize> {
    let mut given_up = Vec::new();
    let mut left = Vec::new();
    for (place, image) in images.iter().enumerate() {
        match image.unused_ms {
            Some(unused_ms) if image.quick && unused_ms >= image.unused_max_ms => {
                given_up.push(place);
            }
            Some(unused_ms) => left.push((unused_ms, place)),
            None => {}
        }
    }
    let loaded = images.len() - given_up.len();
    let beyond = loaded.saturating_sub(images_max).min(left.len());
    left.sort_unstable_by(|one, other| other.cmp(one));
    given_up.extend(left.iter().take(beyond).map(|(_, place)| place));
    given_up
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(unused_ms: Option<u64>) -> Loaded {
        Loaded {
            unused_ms,
            unused_max_ms: 100,
            quick: true,
        }
    }

    #[test]
    fn what_is_unused_for_long_goes_unless_it_is_slow_to_load() {
        let slow = Loaded {
            quick: false,
            ..image(Some(1_000))
        };
        let images = [image(Some(99)), image(Some(100)), slow, image(None)];
        assert_eq!(give_up(&images, 4), [1]);
    }

    #[test]
    fn beyond_the_bound_the_longest_unused_goes_and_nothing_in_use() {
        let slow = Loaded {
            quick: false,
            ..image(Some(40))
        };
        let images = [
            image(Some(10)),
            image(None),
            slow,
            image(Some(30)),
            image(None),
        ];
        for (images_max, wanted) in [
            (5, vec![]),
            (4, vec![2]),
            (3, vec![2, 3]),
            (2, vec![2, 3, 0]),
            (0, vec![2, 3, 0]),
        ] {
            assert_eq!(give_up(&images, images_max), wanted, "{images_max}");
        }
    }
}
