//! The examples, each on every version of etcd that is there.

// Each has a `main` of its own, which reads the arguments of a program.
#[allow(dead_code)]
#[path = "../../examples/cache.rs"]
mod cache;
#[cfg(feature = "tls")]
#[allow(dead_code)]
#[path = "../../examples/cluster_with_tls.rs"]
pub(crate) mod cluster_with_tls;
#[allow(dead_code)]
#[path = "../../examples/first_steps.rs"]
mod first_steps;
#[allow(dead_code)]
#[path = "../../examples/lease_and_lock.rs"]
mod lease_and_lock;
#[allow(dead_code)]
#[path = "../../examples/many_watches.rs"]
mod many_watches;
#[allow(dead_code)]
#[path = "../../examples/namespaces.rs"]
mod namespaces;
#[allow(dead_code)]
#[path = "../../examples/outcomes.rs"]
mod outcomes;
#[allow(dead_code)]
#[path = "../../examples/shutdown.rs"]
mod shutdown;

use crate::stage::{connect, each_alone};

/// The store has the keys that the examples describe.
#[tokio::test]
async fn every_example_runs() {
    each_alone(&[], |etcd| async move {
        let endpoint = etcd.endpoint();
        let client = connect(&etcd).await;
        let value = async |key: &str| client.get(key).string().await.unwrap();
        first_steps::run(&endpoint).await.unwrap();
        assert_eq!(value("jobs/1").await.as_deref(), Some("running"));
        outcomes::run(&endpoint).await.unwrap();
        assert_eq!(value("counter").await.as_deref(), Some("3"));
        cache::run(&endpoint).await.unwrap();
        assert_eq!(value("settings/color").await.as_deref(), Some("blue"));
        lease_and_lock::run(&endpoint).await.unwrap();
        assert_eq!(value("workers/1").await, None);
        namespaces::run(&endpoint).await.unwrap();
        assert_eq!(value("blue/jobs/1").await.as_deref(), Some("queued"));
        many_watches::run(&endpoint).await.unwrap();
        assert_eq!(value("lamps/garage").await.as_deref(), Some("on"));
        shutdown::run(&endpoint).await.unwrap();
        assert_eq!(value("workers/2").await, None);
    })
    .await;
}
