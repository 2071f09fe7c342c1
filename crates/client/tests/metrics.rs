//! The names and labels of metrics, which dashboards and alerts are built on.
//!
//! INVARIANT: the list is that of the crate's documentation (`manual::telemetry`), which says that
//! it is stable. A line that changes here is a breaking change.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use etcdex::connector::ConnectFuture;
use etcdex::{Client, Connector, Endpoint};
use etcdex_proto::method::kv;
use etcdex_testkit::etcdex_server::{Code, Server};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Longer than any wait takes.
const DEADLINE: Duration = Duration::from_secs(30);

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

async fn scenario(server: &Server) {
    let url = server.client_url();
    let builder = Client::builder().endpoint(url).name("orders");
    let client = builder.connect().await.expect("the client connects");
    client.put("k", "v").await.expect("an answer");
    let gets = server.faults().method(kv::RANGE);
    // This text is no report about the endpoint, so the client sends no probe that would be counted.
    let text = "etcdserver: mvcc: required revision has been compacted";
    gets.refuse(1, Code::OutOfRange, text);
    client.get("k").await.expect_err("the get is refused");
    server.faults().method(kv::PUT).cut();
    client
        .put("k", "v")
        .await
        .expect_err("the connection breaks");
    client.put("k", "v").await.expect("a second connection");
    // It leaves gracefully: a planned disconnect.
    let old = server.connections();
    server.faults().go_away();
    while server.connections().iter().any(|one| old.contains(one)) {
        tokio::task::yield_now().await;
    }
    client.put("k", "v").await.expect("a third connection");
    client.close(Duration::from_secs(1)).await;
    client
        .put("k", "v")
        .await
        .expect_err("the client is closed");

    let absent = Client::builder()
        .endpoint("http://absent:1")
        .connector(Absent);
    absent.connect().await.expect_err("no server listens");
}

/// No server is there.
struct Absent;

impl Connector for Absent {
    fn connect(&self, _endpoint: &Endpoint) -> ConnectFuture {
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// One thread, so that the recorder of this thread sees the connection's task too.
#[test]
fn names_and_labels_are_those_of_the_documentation() {
    let server = Server::builder().start_blocking().expect("a server");
    let names = Names::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let limited = async { tokio::time::timeout(DEADLINE, scenario(&server)).await };
    let end = metrics::with_local_recorder(&names, || runtime.block_on(limited));
    end.expect("it ends");
    let noted = names.0.into_inner().expect("no panic");
    let noted: Vec<&str> = noted.iter().map(String::as_str).collect();
    let one = format!("client=orders endpoint={}", server.client_url());
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
