//! The names and labels of metrics, which dashboards and alerts are built on.
//!
//! INVARIANT: the list is that of the crate's documentation (`lib.rs`, Telemetry), which says that
//! it is stable. A line that changes here is a breaking change.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::peer::{Peers, serve, serve_some};

/// Records each metric with its labels.
#[derive(Default)]
struct Names(Mutex<BTreeSet<String>>);

impl Names {
    fn note(&self, kind: &str, key: &Key) {
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let mut labels: Vec<String> = labels.collect();
        labels.sort();
        let line = format!("{kind} {} {}", key.name(), labels.join(" "));
        self.0.lock().expect("no panic").insert(line);
    }
}

impl Recorder for Names {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note("counter", key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.note("gauge", key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note("histogram", key);
        Histogram::noop()
    }
}

/// Refuses a get, and breaks its first connection under the third request.
async fn peer(number: usize, stream: tokio::io::DuplexStream) {
    let answer = |asked: super::peer::Asked| match asked.path.ends_with("/Range") {
        // This text is no report about the endpoint, so the client sends no probe that would be
        // counted.
        true => asked.fail(
            "11",
            "etcdserver: mvcc: required revision has been compacted",
        ),
        false => asked.answer_well(),
    };
    if number > 0 {
        return serve(stream, move |asked| async move { answer(asked) }).await;
    }
    serve_some(stream, 2, answer).await;
}

async fn scenario() {
    let builder = Peers::one(peer).builder().name("orders");
    let client = builder.connect().await.expect("the client connects");
    client.put("k", "v").await.expect("an answer");
    client.get("k").await.expect_err("the get is refused");
    client
        .put("k", "v")
        .await
        .expect_err("the connection breaks");
    client.put("k", "v").await.expect("a second connection");
    // The connection reaches its age: a planned disconnect.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.close(Duration::from_secs(1)).await;
    client
        .put("k", "v")
        .await
        .expect_err("the client is closed");

    let absent = crate::Client::builder()
        .endpoint("http://absent:1")
        .connector(Peers::default());
    absent.connect().await.expect_err("no server listens");
}

/// One thread, so that the recorder of this thread sees the connection's task too.
#[test]
fn names_and_labels_are_those_of_the_documentation() {
    let names = Names::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    metrics::with_local_recorder(&names, || runtime.block_on(scenario()));
    let noted = names.0.into_inner().expect("no panic");
    let noted: Vec<&str> = noted.iter().map(String::as_str).collect();
    let one = "client=orders endpoint=http://one:1";
    let expected = [
        format!("counter etcdex_connects_total {one} outcome=ok"),
        "counter etcdex_connects_total client= endpoint=http://absent:1 outcome=failed".to_owned(),
        format!("counter etcdex_disconnects_total {one} planned=false"),
        format!("counter etcdex_disconnects_total {one} planned=true"),
        "counter etcdex_requests_total client=orders endpoint= outcome=not_sent request=put"
            .to_owned(),
        format!("counter etcdex_requests_total {one} outcome=ok request=put"),
        format!("counter etcdex_requests_total {one} outcome=rejected request=get"),
        format!("counter etcdex_requests_total {one} outcome=unknown request=put"),
    ];
    // Each histogram has a counter with the same labels; disconnects have no duration.
    let mut all = expected.to_vec();
    for (counter, histogram) in [
        ("etcdex_connects_total", "etcdex_connect_duration_seconds"),
        ("etcdex_requests_total", "etcdex_request_duration_seconds"),
    ] {
        let counted = expected.iter().filter(|line| line.contains(counter));
        all.extend(counted.map(|line| {
            let line = line.replace(counter, histogram);
            line.replace("counter ", "histogram ")
        }));
    }
    all.sort();
    assert_eq!(noted, all);
}
