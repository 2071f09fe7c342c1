//! What comes from the environment, which only a process of its own can have as it likes.

use std::path::Path;

use etcdex::Client;
use etcdex_testkit::Binaries;
use tokio::process::Command;

use super::{DEADLINE, each, works, world};

/// Runs [`a_client_of_the_environment`] in a process with these variables and no others of
/// that kind.
async fn child(variables: &[(&str, &str)]) {
    let this = std::env::current_exe().expect("this binary");
    let mut command = Command::new(this);
    let inner = "tls::environment::a_client_of_the_environment";
    command.args(["--exact", inner, "--ignored"]);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ETCDCTL_") || text.starts_with("SSL_CERT_") {
            command.env_remove(&name);
        }
    }
    command.envs(variables.iter().copied()).kill_on_drop(true);
    let output = tokio::time::timeout(2 * DEADLINE, command.output()).await;
    let output = output.expect("it ends").expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "run by the other tests here, with an environment that they make"]
async fn a_client_of_the_environment() {
    let builder = Client::builder().environment().timeout(DEADLINE);
    works(&builder.connect().await.expect("it connects")).await;
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_as_etcdctl_is_given_them() {
    each(|binary| async move {
        let world = world();
        let etcd = world.strict_server(&binary).await;
        let ca = world.file(&world.authority.pem);
        let certificate = world.file(&world.client.certificate);
        let key = world.file(&world.client.key);
        // As most people write it: no scheme.
        let endpoint = etcd.client_address().to_string();
        let variables = [
            ("ETCDCTL_ENDPOINTS", &*endpoint),
            ("ETCDCTL_CACERT", text(&ca)),
            ("ETCDCTL_CERT", text(&certificate)),
            ("ETCDCTL_KEY", text(&key)),
        ];
        child(&variables).await;
        // etcd's own tool takes the same.
        let told = etcd.etcdctl([
            format!("--endpoints={endpoint}"),
            format!("--cacert={}", ca.display()),
            format!("--cert={}", certificate.display()),
            format!("--key={}", key.display()),
            "get".to_owned(),
            "hush-k".to_owned(),
        ]);
        assert_eq!(told.await.expect("etcdctl gets it"), "hush-k\nhush-v\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_own_ca_the_authorities_of_the_system_count() {
    let binaries = Binaries::for_tests();
    let Some(binary) = binaries.newest() else {
        return;
    };
    let world = world();
    let etcd = world.server(binary, &world.server).start().await;
    let etcd = etcd.expect("etcd starts");
    let ca = world.file(&world.authority.pem);
    let endpoint = etcd.endpoint();
    // What takes the place of the system's, here and in OpenSSL.
    child(&[
        ("SSL_CERT_FILE", text(&ca)),
        ("ETCDCTL_ENDPOINTS", &*endpoint),
    ])
    .await;
    let skip = ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true");
    child(&[skip, ("ETCDCTL_ENDPOINTS", &*endpoint)]).await;
}
