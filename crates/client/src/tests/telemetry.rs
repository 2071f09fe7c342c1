//! The `tracing` events of the client, and the data that they must not contain.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::LeaseId;

use super::peer::{Asked, Peers, framed, header, serve, serve_some};

/// All events and spans, at every level, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().expect("no panic").clone()
    }

    fn note(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {}", metadata.level(), metadata.target()));
        record(&mut line);
        let mut log = self.0.lock().expect("no panic");
        log.push_str(&line.0);
        log.push('\n');
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.0.lock().expect("no panic").push_str(&line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.note(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

const SECRETS: [&str; 4] = ["the-password", "the-token", "the-key", "the-value"];

/// A server with authentication that breaks its first connection at the fourth request.
async fn guarded(number: usize, stream: tokio::io::DuplexStream) {
    if number > 0 {
        return serve(stream, |asked| async move { answer(asked) }).await;
    }
    serve_some(stream, 3, answer).await;
}

fn answer(asked: Asked) {
    if asked.path.ends_with("/Lock") {
        tokio::spawn(async move {
            let _open = asked;
            std::future::pending::<()>().await;
        });
        return;
    }
    if asked.path.ends_with("/Authenticate") {
        return asked.answer(framed(&etcdex_proto::etcdserverpb::AuthenticateResponse {
            header: header(1),
            token: "the-token".into(),
        }));
    }
    let text = "etcdserver: mvcc: required revision has been compacted";
    match asked.message.ends_with(b"\x18\x07") || asked.message.ends_with(b"\x20\x07") {
        true => asked.fail("11", text),
        false => asked.answer_well(),
    }
}

async fn scenario() {
    let peers = Peers::one(guarded);
    let builder = peers
        .builder()
        .name("orders")
        .credentials("root", "the-password");
    let client = builder.connect().await.expect("the client connects");
    client.put("the-key", "the-value").await.expect("an answer");
    let old = client.get("the-key").revision(7).await;
    old.expect_err("the revision is compacted");
    // The connection breaks, and the client reconnects.
    let txn = client
        .txn()
        .when(crate::Compare::value("the-key").equal("the-value"));
    let _ = txn.then(crate::Put::new("the-key", "the-value")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.put("the-key", "the-value").await.expect("an answer");
    // A call that is dropped while it waits, and one that is dropped before its first poll.
    let dropped = client.lock("the-key", LeaseId::new(9).expect("not 0"));
    let dropped = tokio::time::timeout(Duration::from_secs(1), dropped);
    dropped.await.expect_err("the lock waits");
    drop(client.unlock("the-key"));
}

/// One thread, so that the subscriber of this thread sees the connection's task too.
#[tokio::test(start_paused = true)]
async fn events_describe_calls_and_connections_without_secrets() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    // A callsite that another thread registers at this moment may miss the subscriber. The first
    // run registers all callsites, and then their interests are computed again.
    scenario().await;
    tracing::callsite::rebuild_interest_cache();
    log.0.lock().expect("no panic").clear();
    scenario().await;

    let text = log.text();
    for part in [
        "DEBUG etcdex message=request started client=\"orders\" request=\"put\"",
        "message=request stopped client=\"orders\" request=\"put\" endpoint=\"http://one:1\" outcome=\"ok\" attempts=1",
        "request=\"get\" endpoint=\"http://one:1\" outcome=\"rejected\" kind=Compacted",
        "message=request stopped client=\"orders\" request=\"lock\" endpoint=\"http://one:1\" outcome=\"dropped\" attempts=1 duration=1s",
        "message=connect started",
        "message=connect stopped client=\"orders\" endpoint=http://one:1 outcome=\"ok\"",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let count = |what: &str| text.matches(what).count();
    assert_eq!(count("request started"), count("request stopped"));
    let warned = text
        .lines()
        .filter(|line| line.starts_with("WARN") || line.starts_with("ERROR"));
    let warned: Vec<&str> = warned.filter(|line| line.contains("etcdex")).collect();
    assert_eq!(warned.len(), 2, "{warned:#?}");
    assert!(warned.iter().any(|line| line.contains("disconnected")));
    assert!(warned.iter().any(|line| line.contains("plain text")));
    for secret in SECRETS {
        for line in text.lines() {
            assert!(!line.contains(secret), "{secret}: {line}");
        }
    }
    // The log has traces of h2, so the search covers them.
    assert!(text.contains("TRACE h2"), "no trace of h2");
}
