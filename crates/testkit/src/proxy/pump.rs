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
use super::trip::Mine;
use super::view::View;
use super::{Direction, Flow, State};

/// How much is taken in at once.
const CHUNK: usize = 64 << 10;
/// How much is kept while bytes flow: little, so that a slow receiver slows the sender.
const FLOWING: usize = 256 << 10;
/// How much is kept while bytes are stalled or delayed.
const STALLED: usize = 16 << 20;

/// Why a link as a whole is over before both its directions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// To be closed in order.
    Cut,
    /// To be torn down, on command or because one side did so.
    Reset,
    /// The proxy is gone.
    Dropped,
}

pub(super) struct Pump<'a> {
    pub(super) direction: Direction,
    pub(super) from: ReadHalf<'a>,
    pub(super) to: WriteHalf<'a>,
    pub(super) state: watch::Receiver<State>,
    /// The state that was acted on last; at first that of the link's birth.
    pub(super) seen: State,
    pub(super) counters: &'a Counters,
    pub(super) view: View<'a>,
}

/// What a pump has on its hands.
#[derive(Default)]
struct Load {
    queue: Queue,
    /// How much was forwarded.
    position: u64,
    /// Where the link is to end.
    mine: Option<Mine>,
    meter: Meter,
    /// What a tap has heard and is not delivered, with the position that its last byte is before.
    heard: VecDeque<(u64, Delivery)>,
    /// Bytes were dropped, so the stream has a hole.
    hole: bool,
    /// The receiver was told the end; what still comes is dropped.
    closed: bool,
}

impl Pump<'_> {
    /// Forwards until the end of the stream, or until the link is over.
    pub(super) async fn run(mut self) -> Result<(), Over> {
        let mut load = Load::default();
        let mut chunk = vec![0; CHUNK];
        self.limit_life(&mut load);
        loop {
            self.follow(&mut load).await?;
            if let Some(mine) = load.mine {
                if mine.position <= load.position {
                    return Err(mine.over);
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
                        // So that the receiver may see the slices one by one.
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

    /// What is to be delivered next, as much of it as may go at once.
    fn next<'l>(&self, load: &'l Load, now: Instant) -> Next<'l> {
        let bytes = match (self.seen.flow, load.queue.next(now)) {
            (Flow::Pass, Next::Deliver(bytes)) => bytes,
            (Flow::Pass, next) => return next,
            (Flow::Stall | Flow::BlackHole, _) => return Next::Idle,
        };
        let mut count = bytes.len().min(self.seen.slice.unwrap_or(usize::MAX));
        if let Some(mine) = load.mine {
            let room = mine.position.saturating_sub(load.position);
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

    /// Lays the mine of `reset_after`.
    fn limit_life(&self, load: &mut Load) {
        if let Some((direction, bytes)) = self.seen.reset_after {
            if direction == self.direction {
                load.lay(Mine {
                    position: load.position + bytes,
                    over: Over::Reset,
                });
            }
        }
    }

    /// Does what was commanded since the last time.
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
            load.mine = None;
        }
        if self.seen.limits != last.limits {
            self.limit_life(load);
        }
        if self.seen.delay < last.delay {
            load.queue.hurry(Instant::now() + self.seen.delay);
        }
        Ok(())
    }

    /// Takes in what has come; nothing is the end.
    fn keep(&mut self, load: &mut Load, bytes: &[u8]) {
        let due = Instant::now() + self.seen.delay;
        let dropped = load.closed || self.seen.flow == Flow::BlackHole;
        if let Some(mine) = self.view.see(bytes) {
            load.lay(mine);
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
    /// Tells of what has been delivered.
    fn delivered(&mut self) {
        while let Some((end, delivery)) = self.heard.front() {
            if *end > self.position {
                return;
            }
            delivery.happened(std::time::Instant::now());
            self.heard.pop_front();
        }
    }

    /// The nearer mine counts.
    fn lay(&mut self, mine: Mine) {
        if self.mine.is_none_or(|last| mine.position < last.position) {
            self.mine = Some(mine);
        }
    }
}

/// Waits until something is due and the receiver takes it.
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

/// Waits until something comes in.
async fn take(from: &ReadHalf<'_>, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}
