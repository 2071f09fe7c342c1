//! Searches every trace of the whole run for secrets, keys and values.
//!
//! The search covers the `tracing` output of all crates in this process, at any level, when it is
//! written: all of etcdex, and of the other crates [`ENOUGH`] spans and events and then a share, as
//! h2 writes seventy for one call. With `ETCDEX_TRACES=all` it covers everything. With
//! `ETCDEX_TRACES=off`, for measurements, no subscriber is installed (the tests of this file fail
//! then).
//!
//! A leak ends the process at once: the trace may come from a task whose panic no test would
//! report.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use etcdex::Client;
use etcdex_testkit::Proxy;

use crate::stage::{DEADLINE, each, eventually};

/// Marks of secrets. The keys, values, locks and passwords of tests have the word `hush` in them,
/// and so has every key of [`Stage::inside`](crate::stage::Stage::inside). Tokens are recognized by
/// their form.
const MARKS: [&str; 8] = [
    "hush",
    // The word in hexadecimal, as a list of bytes, and in base64 at each offset.
    "68757368",
    "104, 117, 115, 104",
    "aHVza",
    "h1c2",
    "odXNo",
    // A JWT begins like this: {"
    "eyJ",
    "PRIVATE KEY",
];

/// Installs the search for this process.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let wish = std::env::var("ETCDEX_TRACES").unwrap_or_default();
        if wish == "off" {
            return;
        }
        let search = Search {
            offered: AtomicU64::new(0),
            all: wish == "all",
        };
        tracing::subscriber::set_global_default(search).expect("no other subscriber is set");
    });
}

/// Returns the mark or token in a text, if there is one.
fn leak(text: &str) -> Option<&str> {
    let mark = MARKS.into_iter().find(|mark| text.contains(mark));
    mark.or_else(|| simple_token(text))
}

/// A token of etcd's own kind: sixteen letters, a dot and a number.
///
/// Source: `auth/simple_token.go` of etcd, `genSimpleToken`, and `assignSimpleTokenToUser`.
fn simple_token(text: &str) -> Option<&str> {
    let dots = text.match_indices('.').map(|(dot, _)| dot);
    dots.filter_map(|dot| {
        let letter = |byte: &&u8| byte.is_ascii_alphabetic();
        let before = &text.as_bytes()[..dot];
        let letters = before.iter().rev().take_while(letter).count();
        let number = text.as_bytes().get(dot + 1).is_some_and(u8::is_ascii_digit);
        (letters == 16 && number).then(|| &text[dot - letters..=dot + 1])
    })
    .next()
}

/// Number of spans and events of other crates that are searched before only one in [`SHARE`] is.
const ENOUGH: u64 = 300_000;
const SHARE: u64 = 61;

/// Number of spans and events of other crates that were searched.
static OTHERS: AtomicU64 = AtomicU64::new(0);

/// The messages of etcdex, and the number of each.
static TOLD: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

fn told(what: &str) -> u64 {
    let told = TOLD.lock().unwrap();
    told.get(what).copied().unwrap_or_default()
}

/// The subscriber that searches.
struct Search {
    /// Number of spans and events of other crates.
    offered: AtomicU64,
    all: bool,
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("etcdex")
}

impl Search {
    fn look(metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        thread_local! {
            static LINE: RefCell<Line> = RefCell::default();
        }
        let look = |line: &mut Line| {
            line.text.clear();
            line.message.clear();
            record(line);
            if let Some(mark) = leak(&line.text) {
                Self::end(metadata, mark, &line.text);
            }
            if is_own(metadata) {
                let message = std::mem::take(&mut line.message);
                *TOLD.lock().unwrap().entry(message).or_default() += 1;
            }
        };
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => look(&mut line),
            // Formatting a field has written another trace.
            Err(_) => look(&mut Line::default()),
        });
        if !is_own(metadata) {
            OTHERS.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(metadata: &Metadata<'_>, mark: &str, line: &str) -> ! {
        let (level, target) = (metadata.level(), metadata.target());
        // Not eprintln, which the test harness captures.
        let _ = writeln!(
            std::io::stderr(),
            "'{mark}' has leaked into a trace: {level} {target}:{line}"
        );
        std::process::exit(101);
    }
}

#[derive(Default)]
struct Line {
    text: String,
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.text, " {field}={value:?}");
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Without `Debug`, which would add escapes.
        let _ = write!(self.text, " {field}={value}");
    }
}

impl Subscriber for Search {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.all || is_own(metadata) || {
            let number = self.offered.fetch_add(1, Ordering::Relaxed);
            number < ENOUGH || number % SHARE == 0
        }
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        Self::look(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        assert!(leak(&line.text).is_none(), "{}", line.text);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        Self::look(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn traces_of_the_client_and_of_h2_are_searched() {
    each(|stage| async move {
        let client = stage.inside();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let others = count(&OTHERS);
        let before = CALLS.map(told);
        eventually("h2 has written a trace", || async {
            client.put("hush", "hush").await.unwrap();
            client.get("hush").await.unwrap();
            count(&OTHERS) > others
        })
        .await;
        for (what, before) in CALLS.into_iter().zip(before) {
            assert!(told(what) >= before + 2, "{what}");
        }
    })
    .await;
}

const CALLS: [&str; 2] = ["request started", "request stopped"];
const CONNECTIONS: [&str; 3] = ["connect started", "connect stopped", "disconnected"];

#[tokio::test]
async fn events_of_connections_are_written() {
    each(|stage| async move {
        let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
        let builder = Client::builder().endpoint(proxy.endpoint());
        let before = CONNECTIONS.map(told);
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        proxy.cut();
        eventually("the client has reconnected", || async {
            client.get("hush").await.unwrap();
            proxy.connections() > 1
        })
        .await;
        for (what, before) in CONNECTIONS.into_iter().zip(before) {
            assert!(told(what) > before, "{what}");
        }
    })
    .await;
}

#[test]
fn a_leak_is_found_in_every_form() {
    for text in [
        r#" key="a-hush-b""#,
        " key=0x68757368",
        " value=[1, 104, 117, 115, 104]",
        // By base64: hush, xhush, xxhush.
        " key=aHVzaA==",
        " key=eGh1c2g=",
        " key=eHhodXNo",
        " token=eyJhbGciOiJIUzI1NiJ9.e30.x",
        " token=aZbYcXdWeVfUgThS.7 more",
        "-----BEGIN PRIVATE KEY-----",
    ] {
        assert!(leak(text).is_some(), "{text}");
    }
    for text in [
        "",
        " endpoint=http://127.0.0.1:2379 duration=1.5ms",
        " frame=Headers { stream_id: StreamId(1), flags: (0x4: END_HEADERS) }",
        " version=abcdefghijklmnopq.1 abcdefghijklmno.1 abcdefghijklmnop.x",
        " user-agent=etcdex/0.1.0 .1",
    ] {
        assert_eq!(leak(text), None, "{text}");
    }
}
