//! Logins at real etcd: lost tokens, expired tokens, and wrong passwords.

use std::time::{Duration, Instant};

use etcdex::{Client, ClientBuilder, ErrorKind, Outcome};
use etcdex_testkit::{Binary, Etcd};

use crate::stage::{DEADLINE, each_alone, ends};

pub(crate) const PASSWORD: &str = "hush-hunter2";

pub(crate) async fn enable(etcd: &Etcd) {
    let user = format!("root:{PASSWORD}");
    // 3.4 has no role root until auth is enabled, others refuse the grant of one that is missing.
    let _ = etcd.etcdctl(["role", "add", "root"]).await;
    etcd.etcdctl(["user", "add", &user]).await.unwrap();
    etcd.etcdctl(["user", "grant-role", "root", "root"])
        .await
        .unwrap();
    etcd.etcdctl(["auth", "enable"]).await.unwrap();
}

pub(crate) fn builder(etcd: &Etcd) -> ClientBuilder {
    Client::builder()
        .endpoint(etcd.endpoint())
        .timeout(DEADLINE)
}

#[tokio::test]
async fn a_token_that_a_restart_forgot_fails_no_call() {
    each_alone(&[], |etcd| async move {
        enable(&etcd).await;
        let client = builder(&etcd)
            .credentials("root", PASSWORD)
            .connect()
            .await
            .unwrap();
        client.put("hush-k", "1").await.unwrap();
        // Simple tokens live in the server's memory.
        etcd.restart().await.unwrap();
        client.put("hush-k", "2").await.unwrap();
        let kv = client.get("hush-k").await.unwrap().into_kv().unwrap();
        assert_eq!((&kv.value[..], kv.version), (&b"2"[..], 2));
    })
    .await;
}

#[tokio::test]
async fn refused_logins_have_errors_with_the_cause() {
    each_alone(&[], |etcd| async move {
        enable(&etcd).await;
        let error = builder(&etcd)
            .credentials("root", "hush-guess")
            .connect()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
        assert!(!format!("{error} {error:?}").contains("hush-guess"));

        let nobody = builder(&etcd).connect().await.unwrap();
        let error = nobody.put("hush-k", "hush-v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenMissing, "{error}");
        assert_eq!(error.outcome(), Outcome::Rejected);

        let error = builder(&etcd)
            .token(etcdex::credentials::Token::new("nonsense.1"))
            .connect()
            .await
            .unwrap();
        let error = error.put("hush-k", "hush-v").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidToken, "{error}");
        assert_eq!(error.attempts(), 3);
    })
    .await;
}

#[tokio::test]
async fn credentials_work_on_a_server_without_authentication() {
    each_alone(&[], |etcd| async move {
        let client = builder(&etcd)
            .credentials("root", PASSWORD)
            .connect()
            .await
            .unwrap();
        client.put("hush-k", "hush-v").await.unwrap();
        // No call fails when authentication is enabled.
        enable(&etcd).await;
        client.put("hush-k", "hush-v").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn tokens_that_expire_under_load_fail_no_call() {
    ends(load_with_short_tokens).await;
}

/// JWTs of one second, for five seconds of puts and gets.
async fn load_with_short_tokens(binary: Binary) {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "a secret that signs tokens").unwrap();
    let path = secret.path().display();
    let token = format!("--auth-token=jwt,sign-method=HS256,priv-key={path},ttl=1s");
    let etcd = Etcd::builder()
        .binary(&binary)
        .args([token.as_str()])
        .start()
        .await
        .unwrap();
    enable(&etcd).await;
    let client = builder(&etcd)
        .credentials("root", PASSWORD)
        .connect()
        .await
        .unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut puts = 0;
                while Instant::now() < end {
                    client
                        .put(format!("hush-{caller}"), "hush-v")
                        .await
                        .unwrap();
                    client.get(format!("hush-{caller}")).await.unwrap();
                    puts += 1;
                }
                (caller, puts)
            })
        })
        .collect();
    for caller in callers {
        let (caller, puts) = caller.await.unwrap();
        let kv = client
            .get(format!("hush-{caller}"))
            .await
            .unwrap()
            .into_kv()
            .unwrap();
        assert_eq!(kv.version, puts, "a put was applied twice");
    }
}

#[tokio::test]
async fn the_user_can_be_changed_at_run_time() {
    each_alone(&[], |etcd| async move {
        enable(&etcd).await;
        let client = builder(&etcd).credentials("root", PASSWORD);
        let client = client.connect().await.unwrap();
        let auth = client.auth();
        auth.add_user("reader", "hush-reader").await.unwrap();
        auth.add_role("reads").await.unwrap();
        let permission = etcdex::auth::Permission::read("open/").prefix();
        auth.grant_permission("reads", permission).await.unwrap();
        auth.grant_role("reader", "reads").await.unwrap();
        let mut open = client.watch("open/").prefix().await.unwrap();
        let mut closed = client.watch("closed").await.unwrap();

        client.set_credentials("reader", "hush-reader");
        client.get("open/k").await.unwrap();
        let error = client.get("closed").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        // The watches belong to the new user, too.
        let end = closed.try_next().await.unwrap_err();
        assert_eq!(end, etcdex::WatchEnd::PermissionDenied);
        let root = builder(&etcd).credentials("root", PASSWORD);
        root.connect()
            .await
            .unwrap()
            .put("open/k", "1")
            .await
            .unwrap();
        let batch = open.try_next().await.unwrap().unwrap();
        assert_eq!(&batch.events[0].kv.value[..], b"1");
    })
    .await;
}
