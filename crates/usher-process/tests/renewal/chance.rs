//! Chances of which a run of tests can be told again.
//!
//! Deliberately absent: what is chosen by them.

/// A sequence of chances that `USHER_SEED` repeats.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new() -> Self {
        let told = std::env::var("USHER_SEED").ok();
        let seed = told.map(|seed| seed.parse().unwrap()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(since.subsec_nanos()) << 32 | since.as_secs() & 0xffff_ffff
        });
        println!("USHER_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`, by splitmix64.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        let at = self.below(these.len() as u64);
        &these[usize::try_from(at).unwrap()]
    }
}
