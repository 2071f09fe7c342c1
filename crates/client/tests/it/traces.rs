//! Looks into every trace of the whole run for what must not be in one.
//!
//! What any crate of this process tells by `tracing`, at any level, is looked through as it
//! comes: all that etcdex tells, and of the others, of which h2 has seventy things to tell of
//! one call, [`ENOUGH`] and then a share. `ETCDEX_TRACES=all` looks through everything.
//!
//! A leak ends the run at once: who tells it may be a task whose panic nobody sees.

use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::stage::{each, eventually};

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
        let search = Search {
            offered: AtomicU64::new(0),
            all: std::env::var_os("ETCDEX_TRACES").is_some_and(|value| value == "all"),
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

/// How many spans and events were looked through, of etcdex and of others.
static OWN: AtomicU64 = AtomicU64::new(0);
static OTHERS: AtomicU64 = AtomicU64::new(0);

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
            line.0.clear();
            record(line);
            if let Some(mark) = leak(&line.0) {
                Self::end(metadata, mark, &line.0);
            }
        };
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => look(&mut line),
            // Printing one told another.
            Err(_) => look(&mut Line::default()),
        });
        let count = if is_own(metadata) { &OWN } else { &OTHERS };
        count.fetch_add(1, Ordering::Relaxed);
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
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // As it is: printed as a string, it would have escapes.
        let _ = write!(self.0, " {field}={value}");
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
        assert!(leak(&line.0).is_none(), "{}", line.0);
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
        let (own, others) = (count(&OWN), count(&OTHERS));
        eventually("h2 has told something", || async {
            client.put("hush", "hush").await.unwrap();
            client.get("hush").await.unwrap();
            count(&OTHERS) > others
        })
        .await;
        // A call is told as it starts and as it stops.
        assert!(count(&OWN) >= own + 4);
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
