//! Users and passwords, in the syntax of etcdctl.

use crate::process::{etcdex, newest, run, start};

#[tokio::test]
async fn a_user_with_the_right_password_is_authenticated() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for words in [
        &["user", "add", "root:hunter2"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcd.etcdctl(words.iter().copied())
            .await
            .expect("etcdctl succeeds");
    }
    let endpoint = etcd.endpoint();
    let run_with = |words: &[&str]| run(etcdex().args(["--endpoints", &endpoint]).args(words));

    assert_eq!(
        run_with(&["--user", "root:hunter2", "put", "k", "v"])
            .succeeded()
            .stdout,
        "OK\n"
    );
    let apart = ["--user", "root", "--password", "hunter2", "get", "k"];
    assert_eq!(run_with(&apart).succeeded().stdout, "k\nv\n");

    let wrong = run_with(&["--user", "root:guess", "get", "k"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("authentication failed"), "{wrong:?}");
    assert!(!wrong.stderr.contains("guess"), "{wrong:?}");

    let anonymous = run_with(&["get", "k"]);
    assert_eq!(anonymous.code, Some(1));
    assert!(
        anonymous.stderr.contains("user name is empty"),
        "{anonymous:?}"
    );
}
