//! Cuts the client's connection under load, and compares the results of all calls with the store.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use etcdex::{Client, Outcome};
use tokio::time::{sleep, timeout};

use super::connector::CuttableConnector;
use super::load::{CALLERS, CallRecord, CallResult, KEYS, Load, Operation};
use super::printer::{Printer, count, milliseconds, thousands};
use super::watch_check::WatchCheck;
use crate::failure::Failure;

/// How long the load runs before the cut, and again after the recovery.
const LOAD_TIME: Duration = Duration::from_millis(600);
/// Interval between two looks at the recovery.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Time limit of every wait of this step. A call ends after five seconds at the latest.
pub(super) const DEADLINE: Duration = Duration::from_secs(8);

pub(super) async fn run(
    client: &Client,
    connector: &CuttableConnector,
    printer: &mut Printer,
) -> Result<(), Failure> {
    printer.step("Lose the connection under load")?;
    printer.line(&format!(
        "{CALLERS} callers put and get without a pause; then the tour cuts the connection."
    ))?;
    let watch = WatchCheck::start(client).await?;
    let load = Load::start(client);
    let began = Instant::now();
    sleep(LOAD_TIME).await;
    let cut = Instant::now();
    connector.cut();
    let connected = recovered(&load, connector, cut).await?;
    sleep(LOAD_TIME).await;
    let Ok(records) = timeout(DEADLINE, load.stop()).await else {
        return Err(Failure::Other(
            "a call did not end after the cut".to_owned(),
        ));
    };
    let records = records?;
    let affected = AffectedCalls::of(&records, cut, connected);
    affected.print_timeline(cut.duration_since(began), printer)?;
    affected.print_results(printer)?;
    let stored = StoredPuts::read(client).await?;
    stored.compare(&records, printer)?;
    watch.compare(&stored, printer).await
}

/// Waits until a call succeeds on a new connection. Returns when that connection was made.
async fn recovered(
    load: &Load,
    connector: &CuttableConnector,
    cut: Instant,
) -> Result<Instant, Failure> {
    let poll = async {
        let connected = loop {
            match connector.connected_at() {
                Some(connected) if connected > cut => break connected,
                _ => sleep(POLL_INTERVAL).await,
            }
        };
        let before = load.succeeded();
        while load.succeeded() == before {
            sleep(POLL_INTERVAL).await;
        }
        connected
    };
    let failed = |_| Failure::Other("no call succeeded after the cut".to_owned());
    timeout(DEADLINE, poll).await.map_err(failed)
}

/// The calls that were in flight at the cut, or that began before the client was connected again.
struct AffectedCalls<'a> {
    calls: Vec<&'a CallRecord>,
    /// Number of calls that were in flight at the cut.
    in_flight: usize,
    cut: Instant,
    /// When the new connection was made.
    connected: Instant,
    /// When the first call succeeded on the new connection.
    recovered: Instant,
}

impl<'a> AffectedCalls<'a> {
    fn of(records: &'a [CallRecord], cut: Instant, connected: Instant) -> Self {
        let is_affected = |call: &&CallRecord| call.began < connected && call.ended >= cut;
        let calls: Vec<_> = records.iter().filter(is_affected).collect();
        // A reply that the client had received before the cut may end its call after the cut, so
        // only replies after the new connection prove the recovery.
        let succeeded = records.iter().filter(|call| call.result == CallResult::Ok);
        let after = succeeded
            .map(|call| call.ended)
            .filter(|end| *end > connected);
        Self {
            in_flight: calls.iter().filter(|call| call.began < cut).count(),
            recovered: after.min().unwrap_or(connected),
            calls,
            cut,
            connected,
        }
    }

    /// Number of gets and number of puts that the condition holds for.
    fn count(&self, holds: impl Fn(&CallRecord) -> bool) -> [usize; 2] {
        [Operation::Get, Operation::Put].map(|operation| {
            let calls = self.calls.iter();
            calls
                .filter(|call| call.operation == operation && holds(call))
                .count()
        })
    }

    fn print_timeline(&self, ran: Duration, printer: &mut Printer) -> Result<(), Failure> {
        let since_cut = |moment: Instant| format!("+{}", milliseconds(moment - self.cut));
        let in_flight = count(self.in_flight, "request");
        printer.line("")?;
        printer.figure(
            &milliseconds(ran),
            &format!("the connection is cut, with {in_flight} in flight"),
        )?;
        printer.figure(&since_cut(self.connected), "the client has connected again")?;
        printer.figure(
            &since_cut(self.recovered),
            "the first reply on the new connection",
        )?;
        printer.line("")
    }

    fn print_results(&self, printer: &mut Printer) -> Result<(), Failure> {
        let failed = |outcome| self.count(move |call| call.result == CallResult::Err(outcome));
        let succeeded = |on_new: bool| {
            self.count(|call| {
                call.result == CallResult::Ok && (call.ended > self.connected) == on_new
            })
        };
        printer.line("Results of the calls in flight, and of calls before the new connection:")?;
        printer.line("    gets   puts")?;
        for ([gets, puts], text) in [
            (succeeded(false), "Ok: the reply had come before the cut"),
            (succeeded(true), "Ok: answered on the new connection"),
            (
                failed(Outcome::Unknown),
                "Unknown: it may have been applied",
            ),
            (failed(Outcome::NotSent), "NotSent: no server has seen it"),
            (failed(Outcome::Rejected), "Rejected: the server refused it"),
            // Every call has a record here: a call without an end has failed the tour before.
            ([0, 0], "no result"),
        ] {
            printer.line(&format!("{gets:>8} {puts:>6}  {text}"))?;
        }
        printer
            .line("etcdex repeats a get, which changes nothing. It repeats a put only if the")?;
        printer.line("first attempt cannot have been applied. Other puts return Unknown.")
    }
}

/// The puts of the load that the store holds.
pub(super) struct StoredPuts {
    pub(super) keys: HashSet<String>,
    /// Revision of the last one.
    pub(super) last_revision: i64,
}

impl StoredPuts {
    async fn read(client: &Client) -> Result<Self, Failure> {
        let (mut keys, mut last_revision) = (HashSet::new(), 0);
        let mut list = client.list(KEYS);
        while let Some(kv) = list.try_next().await? {
            last_revision = last_revision.max(kv.mod_revision);
            if kv.key == kv.value {
                keys.extend(kv.key_str().map(str::to_owned));
            }
        }
        Ok(Self {
            keys,
            last_revision,
        })
    }

    /// Fails if the store contradicts the result of a put.
    fn compare(&self, records: &[CallRecord], printer: &mut Printer) -> Result<(), Failure> {
        // Number of puts with that result, and how many of them are stored.
        let puts = |result: CallResult| {
            let puts = records
                .iter()
                .filter(|call| call.operation == Operation::Put && call.result == result);
            let stored = puts.clone().filter(|call| self.keys.contains(&call.key));
            (puts.count(), stored.count())
        };
        let (succeeded, kept) = puts(CallResult::Ok);
        let (unknown, applied) = puts(CallResult::Err(Outcome::Unknown));
        printer.line("")?;
        printer.line("The check: the tour reads every key.")?;
        printer.figure(
            &count(succeeded, "put"),
            &format!("returned Ok: {} of them are stored", thousands(kept)),
        )?;
        printer.figure(
            &count(unknown, "put"),
            &format!(
                "returned Unknown: {applied} of them are stored, {} are not",
                unknown - applied
            ),
        )?;
        let refused =
            [Outcome::NotSent, Outcome::Rejected].map(|outcome| puts(CallResult::Err(outcome)).1);
        if kept < succeeded || refused != [0, 0] {
            return Err(Failure::Other(
                "the store contradicts the result of a put".to_owned(),
            ));
        }
        Ok(())
    }
}
