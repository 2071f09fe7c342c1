//! The tour cuts its own connection under load, and counts what everybody was told.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use etcdex::{Client, Outcome};
use tokio::time::{sleep, timeout};

use super::cable::Cable;
use super::load::{CALLERS, Entry, KEYS, Load, Request, Told};
use super::page::{Page, count, milliseconds, thousands};
use super::witness::Witness;
use crate::failure::Failure;

/// How long the load runs before and after the cut.
const AROUND: Duration = Duration::from_millis(600);
/// How often the tour looks whether it goes on.
const LOOK: Duration = Duration::from_millis(5);
/// A call has five seconds; nobody may be under way for longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

pub(super) async fn run(client: &Client, cable: &Cable, page: &mut Page) -> Result<(), Failure> {
    page.step("Lose the connection under load")?;
    page.line(&format!(
        "{CALLERS} callers put and get without a pause; then the tour cuts the connection."
    ))?;
    let witness = Witness::start(client).await?;
    let load = Load::start(client);
    let began = Instant::now();
    sleep(AROUND).await;
    let cut = Instant::now();
    cable.cut();
    let connected = recovery(&load, cable, cut).await?;
    sleep(AROUND).await;
    let Ok(entries) = timeout(PATIENCE, load.stop()).await else {
        return Err(Failure::Work(
            "a call was left hanging after the cut".to_owned(),
        ));
    };
    let entries = entries?;
    let seen = Seen::of(&entries, cut, connected);
    timeline(&seen, cut.duration_since(began), page)?;
    fates(&seen, page)?;
    let (there, last) = proof(client, &entries, page).await?;
    witness.testify(&there, last, page).await
}

/// Waits until there are good replies again over another connection; gives when it was there.
async fn recovery(load: &Load, cable: &Cable, cut: Instant) -> Result<Instant, Failure> {
    let look = async {
        let connected = loop {
            match cable.connected() {
                Some(connected) if connected > cut => break connected,
                _ => sleep(LOOK).await,
            }
        };
        let before = load.good();
        while load.good() == before {
            sleep(LOOK).await;
        }
        connected
    };
    let failed = |_| Failure::Work("no good reply came after the cut".to_owned());
    timeout(PATIENCE, look).await.map_err(failed)
}

/// What happened around the cut.
struct Seen<'a> {
    /// Under way when the connection was cut, or begun before the next one was there.
    touched: Vec<&'a Entry>,
    in_flight: usize,
    cut: Instant,
    connected: Instant,
    recovered: Instant,
}

impl<'a> Seen<'a> {
    fn of(entries: &'a [Entry], cut: Instant, connected: Instant) -> Self {
        let is_touched = |e: &&Entry| e.began < connected && e.ended >= cut;
        let touched: Vec<_> = entries.iter().filter(is_touched).collect();
        // What was already received when the connection was cut counts for nothing here.
        let good = entries.iter().filter(|e| e.told == Told::Good);
        let after = good.map(|e| e.ended).filter(|end| *end > connected);
        Self {
            in_flight: touched.iter().filter(|e| e.began < cut).count(),
            recovered: after.min().unwrap_or(connected),
            touched,
            cut,
            connected,
        }
    }

    /// How many gets and how many puts it holds for.
    fn count(&self, holds: impl Fn(&Entry) -> bool) -> [usize; 2] {
        [Request::Get, Request::Put].map(|request| {
            let all = self.touched.iter();
            all.filter(|e| e.request == request && holds(e)).count()
        })
    }
}

fn timeline(seen: &Seen<'_>, ran: Duration, page: &mut Page) -> Result<(), Failure> {
    let since_cut = |moment: Instant| format!("+{}", milliseconds(moment - seen.cut));
    let in_flight = count(seen.in_flight, "request");
    page.line("")?;
    page.figure(
        &milliseconds(ran),
        &format!("the connection is cut, with {in_flight} in flight"),
    )?;
    page.figure(
        &since_cut(seen.connected),
        "there is another one, by itself",
    )?;
    page.figure(&since_cut(seen.recovered), "the first good reply over it")?;
    page.line("")
}

fn fates(seen: &Seen<'_>, page: &mut Page) -> Result<(), Failure> {
    let told = |told| seen.count(move |e| e.told == told);
    let before = |e: &Entry| e.told == Told::Good && e.ended <= seen.connected;
    let over_next = |e: &Entry| e.told == Told::Good && e.ended > seen.connected;
    page.line("What was told to those in flight, and to those that came before the next one:")?;
    page.line("    gets   puts")?;
    for ([gets, puts], text) in [
        (seen.count(before), "good: the reply had just come"),
        (
            seen.count(over_next),
            "good: sent by itself over the next connection",
        ),
        (
            told(Told::Error(Outcome::Unknown)),
            "Unknown: it may have happened",
        ),
        (
            told(Told::Error(Outcome::NotSent)),
            "NotSent: no server has seen it",
        ),
        (
            told(Told::Error(Outcome::Rejected)),
            "Rejected: the server refused it",
        ),
        // Whoever is counted here has been told something: all have ended.
        ([0, 0], "left hanging"),
    ] {
        page.line(&format!("{gets:>8} {puts:>6}  {text}"))?;
    }
    page.line("A get can be repeated, so it is. A put goes out again only if it cannot have")?;
    page.line("happened; of any other, etcdex tells that it does not know.")
}

/// Reads all back: what was told has to be true. Gives the keys that are there, and the revision
/// of the last one.
async fn proof(
    client: &Client,
    entries: &[Entry],
    page: &mut Page,
) -> Result<(HashSet<String>, i64), Failure> {
    let (mut there, mut last) = (HashSet::new(), 0);
    let mut list = client.list(KEYS);
    while let Some(kv) = list.try_next().await? {
        last = last.max(kv.mod_revision);
        if kv.key == kv.value {
            there.extend(kv.key_str().map(str::to_owned));
        }
    }
    let told = |told: Told| {
        let puts = entries.iter().filter(|e| e.request == Request::Put);
        let all: Vec<_> = puts.filter(|e| e.told == told).collect();
        let happened = all.iter().filter(|e| there.contains(&e.key)).count();
        (all.len(), happened)
    };
    page.line("")?;
    page.line("The proof: every key read back.")?;
    let (good, kept) = told(Told::Good);
    let (unknown, happened) = told(Told::Error(Outcome::Unknown));
    page.figure(
        &count(good, "put"),
        &format!("were told good: {} are there", thousands(kept)),
    )?;
    page.figure(
        &count(unknown, "put"),
        &format!(
            "were told Unknown: {happened} had happened, {} had not",
            unknown - happened
        ),
    )?;
    let nothing = [Outcome::NotSent, Outcome::Rejected].map(|outcome| told(Told::Error(outcome)).1);
    if kept < good || nothing != [0, 0] {
        return Err(Failure::Work(
            "what a caller was told is not what happened".to_owned(),
        ));
    }
    Ok((there, last))
}
