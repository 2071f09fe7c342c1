//! Options from the environment. Each test runs a child process with its own variables.

use std::path::Path;

use etcdex::Client;
use etcdex_testkit::Binaries;
use tokio::process::Command;

use super::{DEADLINE, each, fixtures, works};

/// Runs [`a_client_of_the_environment`] in a process with only these variables of etcdctl.
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
    let output = output.expect("the process ends").expect("the process runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "the other tests of this file run it with their own environment"]
async fn a_client_of_the_environment() {
    let builder = Client::builder().environment().timeout(DEADLINE);
    works(&builder.connect().await.expect("the client connects")).await;
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_from_the_variables_of_etcdctl() {
    each(|binary| async move {
        let fixtures = fixtures();
        let etcd = fixtures.strict_server(&binary).await;
        let ca = fixtures.file(&fixtures.authority.pem);
        let certificate = fixtures.file(&fixtures.client.certificate);
        let key = fixtures.file(&fixtures.client.key);
        // The usual form has no scheme.
        let endpoint = etcd.client_address().to_string();
        let variables = [
            ("ETCDCTL_ENDPOINTS", &*endpoint),
            ("ETCDCTL_CACERT", text(&ca)),
            ("ETCDCTL_CERT", text(&certificate)),
            ("ETCDCTL_KEY", text(&key)),
        ];
        child(&variables).await;
        // etcdctl accepts the same variables.
        let told = etcd.etcdctl([
            format!("--endpoints={endpoint}"),
            format!("--cacert={}", ca.display()),
            format!("--cert={}", certificate.display()),
            format!("--key={}", key.display()),
            "get".to_owned(),
            "hush-k".to_owned(),
        ]);
        assert_eq!(
            told.await.expect("etcdctl gets the pair"),
            "hush-k\nhush-v\n"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ca_the_client_trusts_the_authorities_of_the_system() {
    let binaries = Binaries::for_tests();
    let Some(binary) = binaries.newest() else {
        return;
    };
    let fixtures = fixtures();
    let etcd = fixtures.server(binary, &fixtures.server).start().await;
    let etcd = etcd.expect("etcd starts");
    let ca = fixtures.file(&fixtures.authority.pem);
    let endpoint = etcd.endpoint();
    // This variable replaces the authorities of the system, as in OpenSSL.
    child(&[
        ("SSL_CERT_FILE", text(&ca)),
        ("ETCDCTL_ENDPOINTS", &*endpoint),
    ])
    .await;
    let skip = ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true");
    child(&[skip, ("ETCDCTL_ENDPOINTS", &*endpoint)]).await;
}
