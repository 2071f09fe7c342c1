//! Servers with TLS.

use etcdex_testkit::{Binaries, Etcd};

use crate::process::etcdex_on;

/// The certificate of etcd's `--auto-tls` has a key on P-521, which not every TLS library supports.
#[tokio::test]
async fn a_server_with_auto_tls_is_reached() {
    for binary in Binaries::for_tests().all() {
        let server = Etcd::builder().binary(binary).auto_tls().start();
        let etcd = server.await.expect("etcd starts");
        let unchecked = "--insecure-skip-tls-verify";
        etcdex_on(&etcd, &[unchecked, "put", "k", "v"]).succeeded();
        let got = etcdex_on(&etcd, &[unchecked, "get", "k"]);
        assert_eq!(got.succeeded().stdout, "k\nv\n");
        // Without the flag, no trusted authority has signed the certificate.
        let ended = etcdex_on(&etcd, &["get", "k"]);
        let error = ended.error_line();
        assert!(error.contains("certificate"), "{error}");
    }
}
