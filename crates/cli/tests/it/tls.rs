//! Servers with TLS.

use etcdex_testkit::{Binaries, Etcd};

use crate::process::etcdex_on;

/// etcd's own certificate has a key on P-521, which not every TLS library knows.
#[tokio::test]
async fn a_server_with_auto_tls_is_reached() {
    for binary in Binaries::for_tests().all() {
        let server = Etcd::builder().binary(binary).auto_tls().start();
        let etcd = server.await.expect("etcd starts");
        let unchecked = "--insecure-skip-tls-verify";
        etcdex_on(&etcd, &[unchecked, "put", "k", "v"]).is_good();
        let got = etcdex_on(&etcd, &[unchecked, "get", "k"]);
        assert_eq!(got.is_good().stdout, "k\nv\n");
        // Without the flag, nobody vouches for that certificate.
        let ended = etcdex_on(&etcd, &["get", "k"]);
        let refused = ended.refusal();
        assert!(refused.contains("certificate"), "{refused}");
    }
}
