//! One direction of a link.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::counters::Counters;
use super::meter::Meter;
use super::queue::{Next, Queue};
use super::tap::Delivery;
use super::trip::CutPoint;
use super::view::View;
use super::{Direction, Flow, State};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// Bytes that are held while they flow: few, so that a slow receiver slows the sender.
const FLOWING: usize = 256 << 10;
/// Bytes that are held while they are stalled or delayed.
const STALLED: usize = 16 << 20;

/// Why a link ends before both its directions have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The link is to be closed gracefully.
    Cut,
    /// The link is to be reset, on command or because one side has reset it.
    Reset,
    /// The proxy was dropped.
    Dropped,
}

pub(super) struct Pump<'a> {
    pub(super) direction: Direction,
    pub(super) from: ReadHalf<'a>,
    pub(super) to: WriteHalf<'a>,
    pub(super) state: watch::Receiver<State>,
    /// The last state that was followed; at first the state when the link was made.
    pub(super) seen: State,
    pub(super) counters: &'a Counters,
    pub(super) view: View<'a>,
}

/// The bytes and positions of a pump.
#[derive(Default)]
struct Load {
    queue: Queue,
    /// Number of forwarded bytes.
    position: u64,
    /// The position at which the link is to end.
    cut_point: Option<CutPoint>,
    meter: Meter,
    /// Recorded messages that are not delivered yet, with the position after their last byte.
    heard: VecDeque<(u64, Delivery)>,
    /// Whether bytes were dropped, so that the stream has a gap.
    hole: bool,
    /// Whether the receiver has got the end; later bytes are dropped.
    closed: bool,
}

impl Pump<'_> {
    /// Forwards until the end of the stream, or until the link has ended.
    pub(super) async fn run(mut self) -> Result<(), Over> {
        let mut load = Load::default();
        let mut chunk = vec![0; CHUNK];
        self.limit_life(&mut load);
        loop {
            self.follow(&mut load).await?;
            if let Some(cut_point) = load.cut_point {
                if cut_point.position <= load.position {
                    return Err(cut_point.over);
                }
            }
            let next = self.next(&load, Instant::now());
            if load.closed && load.queue.has_end() {
                return Ok(());
            }
            if matches!(next, Next::End) {
                return self.to.shutdown().await.or(Err(Over::Reset));
            }
            let room = load.queue.len() < self.limit() && !load.queue.has_end();
            tokio::select! {
                biased;
                changed = self.state.changed() => changed.or(Err(Over::Dropped))?,
                written = deliver(&self.to, &next) => {
                    let count = written.or(Err(Over::Reset))?;
                    self.counters.forward(self.direction, count);
                    load.queue.delivered(count);
                    load.position += count as u64;
                    load.delivered();
                    if let Some(rate) = self.seen.throttle {
                        load.meter.delivered(count, rate, Instant::now());
                    }
                    if self.seen.slice.is_some() {
                        // So that the receiver can read the slices one by one.
                        yield_now().await;
                    }
                }
                read = take(&self.from, &mut chunk), if room => {
                    let count = read.or(Err(Over::Reset))?;
                    self.keep(&mut load, &chunk[..count]);
                }
            }
        }
    }

    /// Returns the next bytes to deliver, at most as many as may be delivered at once.
    fn next<'l>(&self, load: &'l Load, now: Instant) -> Next<'l> {
        let bytes = match (self.seen.flow, load.queue.next(now)) {
            (Flow::Pass, Next::Deliver(bytes)) => bytes,
            (Flow::Pass, next) => return next,
            (Flow::Stall | Flow::BlackHole, _) => return Next::Idle,
        };
        let mut count = bytes.len().min(self.seen.slice.unwrap_or(usize::MAX));
        if let Some(cut_point) = load.cut_point {
            let room = cut_point.position.saturating_sub(load.position);
            count = count.min(usize::try_from(room).unwrap_or(usize::MAX));
        }
        if let Some(rate) = self.seen.throttle {
            match load.meter.allows(rate, now) {
                Ok(most) => count = count.min(most),
                Err(then) => return Next::Wait(then),
            }
        }
        Next::Deliver(&bytes[..count])
    }

    /// Sets the cut point of `reset_after`.
    fn limit_life(&self, load: &mut Load) {
        if let Some((direction, bytes)) = self.seen.reset_after {
            if direction == self.direction {
                load.set_cut_point(CutPoint {
                    position: load.position + bytes,
                    over: Over::Reset,
                });
            }
        }
    }

    /// Follows the commands since the last time.
    async fn follow(&mut self, load: &mut Load) -> Result<(), Over> {
        let last = self.seen;
        self.seen = *self.state.borrow_and_update();
        if self.seen.resets != last.resets {
            return Err(Over::Reset);
        }
        if self.seen.cuts != last.cuts {
            return Err(Over::Cut);
        }
        if self.seen.closes(self.direction) != last.closes(self.direction) && !load.closed {
            load.queue.clear();
            load.heard.clear();
            load.closed = true;
            self.to.shutdown().await.or(Err(Over::Reset))?;
        }
        if self.seen.flow == Flow::BlackHole {
            load.hole |= load.queue.clear();
            load.heard.clear();
        } else if load.hole {
            return Err(Over::Reset);
        }
        if self.seen.heals != last.heals {
            load.cut_point = None;
        }
        if self.seen.limits != last.limits {
            self.limit_life(load);
        }
        if self.seen.delay < last.delay {
            load.queue.hurry(Instant::now() + self.seen.delay);
        }
        Ok(())
    }

    /// Handles the bytes that were read; no bytes are the end.
    fn keep(&mut self, load: &mut Load, bytes: &[u8]) {
        let due = Instant::now() + self.seen.delay;
        let dropped = load.closed || self.seen.flow == Flow::BlackHole;
        if let Some(cut_point) = self.view.see(bytes) {
            load.set_cut_point(cut_point);
        }
        let heard = self.view.take_heard();
        match (bytes.is_empty(), dropped) {
            (true, _) => load.queue.push_end(due),
            (false, false) => {
                load.queue.push(bytes, due);
                let end = load.position + load.queue.len() as u64;
                load.heard.extend(heard.into_iter().map(|one| (end, one)));
            }
            (false, true) => load.hole |= !load.closed,
        }
    }

    fn limit(&self) -> usize {
        let seen = &self.seen;
        if seen.flow == Flow::Pass && seen.delay == Duration::ZERO {
            FLOWING
        } else {
            STALLED
        }
    }
}

impl Load {
    /// Marks the delivered messages.
    fn delivered(&mut self) {
        while let Some((end, delivery)) = self.heard.front() {
            if *end > self.position {
                return;
            }
            delivery.happened(std::time::Instant::now());
            self.heard.pop_front();
        }
    }

    /// Sets a cut point; the nearer one counts.
    fn set_cut_point(&mut self, cut_point: CutPoint) {
        if self
            .cut_point
            .is_none_or(|last| cut_point.position < last.position)
        {
            self.cut_point = Some(cut_point);
        }
    }
}

/// Waits until bytes are due, and writes them.
async fn deliver(to: &WriteHalf<'_>, next: &Next<'_>) -> io::Result<usize> {
    match next {
        Next::Idle | Next::End => pending().await,
        Next::Wait(due) => {
            sleep_until(*due).await;
            Ok(0)
        }
        Next::Deliver(bytes) => loop {
            to.writable().await?;
            match to.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
        },
    }
}

/// Waits until bytes come.
async fn take(from: &ReadHalf<'_>, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}
