//! The seed of a test with random choices.

/// Returns the seed in `ETCDEX_SEED`, which repeats a run, or a random one.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("ETCDEX_SEED").ok();
    given.map_or_else(
        || fastrand::u64(..),
        |text| text.parse().expect("ETCDEX_SEED is a number"),
    )
}

/// Prints the seed when the test panics; a round that has passed forgets it.
pub(crate) struct PrintSeed(pub(crate) u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        println!("ETCDEX_SEED={}", self.0);
    }
}
