//! Connections with few streams.

use etcdex_testkit::Proxy;

use super::{connect, each, fixtures};
use crate::lock::five_hundred_wait;

/// With TLS, etcd before 3.5.5 allows 250 streams on a connection whatever its flags are, and later
/// versions as many as their flag says. The waiting locks use connections of their own, and block
/// neither calls nor the stream that renews leases.
///
/// Source: <https://github.com/etcd-io/etcd/pull/14219>.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_waiting_locks_block_no_other_call() {
    each(|binary| async move {
        let fixtures = fixtures();
        let builder = fixtures.server(&binary, &fixtures.server);
        let version = binary.version();
        let early = version.is_at_least(3, 5) && !version.is_at_least(3, 6) && version.patch < 5;
        let limit = (!early).then_some("--max-concurrent-streams=250");
        let etcd = builder.args(limit).start().await.expect("etcd starts");
        let proxy = Proxy::start(etcd.client_address())
            .await
            .expect("etcd starts");
        let url = proxy.endpoint().replace("http://", "https://");
        let client = connect(&url, fixtures.tls())
            .await
            .expect("the client connects");
        five_hundred_wait(&client).await;
        // One connection for calls, one for streams, and two for waiting locks.
        assert!(proxy.connections() >= 4, "{}", proxy.connections());
    })
    .await;
}
