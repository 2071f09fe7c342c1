//! Permissions of watches, and tokens that expire during a watch.

use std::time::Duration;

use etcdex::auth::Permission;
use etcdex::{Client, ClientBuilder, ErrorKind};
use etcdex_testkit::{Etcd, Proxy};

use super::{end, next};
use crate::stage::{DEADLINE, connect, each_alone, each_binary};

const PASSWORD: &str = "hunter2";

/// Enables authentication, with a user who may use the keys that begin with `own/`.
async fn enable(etcd: &Etcd) {
    let auth = connect(etcd).await.auth();
    // Some versions have the role from the start.
    let _ = auth.add_role("root").await;
    auth.add_user("root", PASSWORD).await.unwrap();
    auth.grant_role("root", "root").await.unwrap();
    auth.add_role("own").await.unwrap();
    let all = Permission::read_write("own/").prefix();
    auth.grant_permission("own", all).await.unwrap();
    auth.add_user("ann", PASSWORD).await.unwrap();
    auth.grant_role("ann", "own").await.unwrap();
    auth.enable().await.unwrap();
}

fn builder(endpoint: String, user: &'static str) -> ClientBuilder {
    let builder = Client::builder().endpoint(endpoint).timeout(DEADLINE);
    builder.credentials(user, PASSWORD)
}

#[tokio::test]
async fn a_user_who_may_not_read_may_not_watch() {
    each_alone(&[], |etcd| async move {
        enable(&etcd).await;
        let root = builder(etcd.endpoint(), "root").connect().await.unwrap();
        let ann = builder(etcd.endpoint(), "ann").connect().await.unwrap();
        // Not tested: `from_key`. etcd (3.4.23 to 3.7.3) checks only the first key: a user who may
        // read that key may watch all keys after it.
        let mut own = ann.watch("own/").prefix().await.unwrap();
        let mut one = ann.namespace("own/").watch("k").await.unwrap();
        for denied in [
            ann.watch("k"),
            ann.watch("k").start_revision(1),
            ann.watch("").all_keys(),
            ann.watch("own/").range_end("own2"),
        ] {
            let text = format!("{denied:?}");
            let error = denied.await.expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{text}: {error}");
        }
        // Other watches are not affected.
        let put = root.put("own/k", "v").await.unwrap().header.revision;
        assert_eq!(next(&mut own).await.revision, put);
        assert_eq!(next(&mut one).await.events[0].kv.key, "k");

        // A revoked permission takes effect at the next reconnect at the latest, and the watch
        // delivers no forbidden event.
        root.auth()
            .revoke_permission("own", "own/")
            .prefix()
            .await
            .unwrap();
        etcd.restart().await.unwrap();
        assert_eq!(end(&mut own).await, etcdex::WatchEnd::PermissionDenied);
    })
    .await;
}

/// The watch lives longer than its tokens: a reconnect uses a new one.
async fn outlives(etcd: &Etcd, changes_users: bool) {
    enable(etcd).await;
    let root = builder(etcd.endpoint(), "root").connect().await.unwrap();
    let proxy = Proxy::start(etcd.client_address()).await.unwrap();
    let ann = builder(proxy.endpoint(), "ann").connect().await.unwrap();
    let mut watch = ann.watch("own/").prefix().await.unwrap();
    for round in 0..3 {
        if changes_users {
            // A token has the revision of users and roles at which it was made.
            let name = format!("user-{round}");
            root.auth().add_user(name, "pw").await.unwrap();
        } else {
            // The server drops a simple token of one second after that second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        proxy.refuse();
        proxy.reset();
        let put = root.put("own/k", "gap").await.unwrap().header.revision;
        proxy.heal();
        assert_eq!(next(&mut watch).await.revision, put);
        let put = root.put("own/k", "live").await.unwrap().header.revision;
        assert_eq!(next(&mut watch).await.revision, put);
        let mut fresh = ann.watch("own/new").start_revision(put).await.unwrap();
        let put = root.put("own/new", "v").await.unwrap().header.revision;
        assert_eq!(next(&mut fresh).await.revision, put);
        assert_eq!(next(&mut watch).await.revision, put);
    }
}

#[tokio::test]
async fn a_watch_outlives_its_simple_token() {
    each_alone(&["--auth-token-ttl=1"], |etcd| async move {
        outlives(&etcd, false).await;
    })
    .await;
}

#[tokio::test]
async fn a_watch_outlives_changes_of_users() {
    each_binary(|binary| async move {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "a secret that signs tokens").unwrap();
        let path = secret.path().display();
        let token = format!("--auth-token=jwt,sign-method=HS256,priv-key={path},ttl=10m");
        let builder = Etcd::builder().binary(&binary).args([token]);
        outlives(&builder.start().await.unwrap(), true).await;
    })
    .await;
}
