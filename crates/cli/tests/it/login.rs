//! Users and passwords, as etcdctl takes them.

use crate::process::{etcdex, newest, run, start};

#[tokio::test]
async fn who_has_a_password_is_let_in() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for words in [
        &["user", "add", "root:hunter2"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcd.etcdctl(words.iter().copied())
            .await
            .expect("etcdctl does it");
    }
    let endpoint = etcd.endpoint();
    let told = |words: &[&str]| run(etcdex().args(["--endpoints", &endpoint]).args(words));

    assert_eq!(
        told(&["--user", "root:hunter2", "put", "k", "v"])
            .is_good()
            .stdout,
        "OK\n"
    );
    let apart = ["--user", "root", "--password", "hunter2", "get", "k"];
    assert_eq!(told(&apart).is_good().stdout, "k\nv\n");

    let wrong = told(&["--user", "root:guess", "get", "k"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("authentication failed"), "{wrong:?}");
    assert!(!wrong.stderr.contains("guess"), "{wrong:?}");

    let nobody = told(&["get", "k"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("user name is empty"), "{nobody:?}");
}
