//! Real etcd of the newest version, and the seed of a random history on it.

use etcdex::Client;
use etcdex_testkit::{Binaries, Etcd, left_out};

use crate::number;

/// A running etcd, a client of it, and a seed.
pub(crate) struct Real {
    pub(crate) etcd: Etcd,
    pub(crate) client: Client,
    /// `ETCDEX_SEED`, or a random one. It is printed.
    pub(crate) seed: u64,
}

impl Real {
    /// Starts etcd with these arguments. `None` if there is no etcd, which is printed.
    pub(crate) async fn start(arguments: &'static [&'static str]) -> Option<Self> {
        let binaries = Binaries::for_tests();
        // The embedded server answers as the newest version does.
        let Some(binary) = binaries.newest() else {
            left_out("it needs real etcd");
            return None;
        };
        let seed = number("ETCDEX_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
        println!("etcd {}, ETCDEX_SEED={seed}", binary.version());
        let builder = Etcd::builder().binary(binary).args(arguments);
        let etcd = builder.start().await.unwrap();
        let client = Client::connect(etcd.endpoint()).await.unwrap();
        Some(Self { etcd, client, seed })
    }
}

/// Asserts that two transcripts are the same, and shows the first line that is not.
pub(crate) fn assert_same(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}
