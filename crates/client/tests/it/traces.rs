//! Looks into every trace of the whole run for what must not be in one.
//!
//! What any crate of this process tells by `tracing`, at any level, is looked through as it
//! comes: all that etcdex tells, and of the others, of which h2 has seventy things to tell of
//! one call, [`ENOUGH`] and then a share. `ETCDEX_TRACES=all` looks through everything,
//! and with `ETCDEX_TRACES=off`, for measuring, nobody listens (the tests here fail then).
//!
//! A leak ends the run at once: who tells it may be a task whose panic nobody sees.

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

/// A key, value, lock or password of a test that is to be looked for has the word `hush` in it,
/// and every key of [`Stage::inside`](crate::stage::Stage::inside) has. Tokens show by their
/// form.
const MARKS: [&str; 8] = [
    "hush",
    // The same in hexadecimal, as a list of bytes, and in base64 wherever it begins.
    "68757368",
    "104, 117, 115, 104",
    "aHVza",
    "h1c2",
    "odXNo",
    // A JWT begins like this: {"
    "eyJ",
    "PRIVATE KEY",
];

/// From now on, every trace of this process is looked into.
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
        tracing::subscriber::set_global_default(search).expect("nobody else sets one");
    });
}

/// What of this must not be there.
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

/// So many spans and events of other crates are looked through, and then one in [`SHARE`].
const ENOUGH: u64 = 300_000;
const SHARE: u64 = 61;

/// How many spans and events of others were looked through.
static OTHERS: AtomicU64 = AtomicU64::new(0);

/// What etcdex has told, and how often.
static TOLD: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

fn told(what: &str) -> u64 {
    let told = TOLD.lock().unwrap();
    told.get(what).copied().unwrap_or_default()
}

/// Looks through what it is told.
struct Search {
    /// What others have offered.
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
            // Printing one told another.
            Err(_) => look(&mut Line::default()),
        });
        if !is_own(metadata) {
            OTHERS.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(metadata: &Metadata<'_>, mark: &str, line: &str) -> ! {
        let (level, target) = (metadata.level(), metadata.target());
        // Not eprintln, which the test harness keeps to itself.
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
        // As it is: printed as a string, it would have escapes.
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
async fn traces_of_the_client_and_of_h2_are_looked_through() {
    each(|stage| async move {
        let client = stage.inside();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let others = count(&OTHERS);
        let before = CALLS.map(told);
        eventually("h2 has told something", || async {
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
async fn what_happens_to_connections_is_told() {
    each(|stage| async move {
        let proxy = Proxy::start(stage.etcd.client_address()).await.unwrap();
        let builder = Client::builder().endpoint(proxy.endpoint());
        let before = CONNECTIONS.map(told);
        let client = builder.timeout(DEADLINE).connect().await.unwrap();
        proxy.cut();
        eventually("it is connected again", || async {
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
fn a_leak_is_seen_in_every_form() {
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
