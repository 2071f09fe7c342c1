//! Faults at a given place of the HTTP/2 that goes through.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Direction;
use super::frames::{FrameKind, Passing};
use super::pump::Over;

/// Where in the HTTP/2 of a link it ends; to be armed by [`Proxy::trip`](super::Proxy::trip).
///
/// Frames are counted over all links together, from when it is armed. It ends the one link
/// that has the frame, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    direction: Direction,
    kind: FrameKind,
    method: Option<String>,
    nth: u64,
    edge: Edge,
    over: Over,
}

/// How much of the frame still goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Before,
    Within,
    After,
}

impl Trip {
    /// At the next frame of this kind in this direction, which is still delivered: then the
    /// link is reset.
    pub fn at(direction: Direction, kind: FrameKind) -> Self {
        Self {
            direction,
            kind,
            method: None,
            nth: 1,
            edge: Edge::After,
            over: Over::Reset,
        }
    }

    /// Counts only frames of calls of this method, as in `/etcdserverpb.Watch/Watch`.
    ///
    /// Frames of the connection itself (settings, pings, GOAWAY) are of no method.
    #[must_use]
    pub fn method(mut self, path: impl Into<String>) -> Self {
        self.method = Some(path.into());
        self
    }

    /// At the `nth` such frame, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// Nothing of the frame goes through, except what has gone before it was known: of one
    /// that came in pieces, the bytes before the last of its head; of HEADERS, those before
    /// the method could be read.
    #[must_use]
    pub fn before(mut self) -> Self {
        self.edge = Edge::Before;
        self
    }

    /// Half of the frame goes through.
    #[must_use]
    pub fn within(mut self) -> Self {
        self.edge = Edge::Within;
        self
    }

    /// All of the frame goes through: how a trip is unless told otherwise.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.edge = Edge::After;
        self
    }

    /// The link is closed in order (FIN) instead of reset.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.over = Over::Cut;
        self
    }

    fn matches(&self, direction: Direction, frame: &Passing<'_>) -> bool {
        let method = match &self.method {
            Some(method) => frame.method == Some(method.as_str()),
            None => true,
        };
        method && self.direction == direction && self.kind == frame.kind
    }
}

/// The trips of a proxy that have not happened yet.
#[derive(Debug, Default)]
pub(super) struct Trips {
    armed: Mutex<Vec<Trip>>,
    /// How many there are: nearly always none, which is to cost no lock.
    count: AtomicUsize,
    happened: AtomicU64,
}

/// Where a link is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mine {
    /// After so many bytes of this link and direction.
    pub(super) position: u64,
    pub(super) over: Over,
}

impl Trips {
    pub(super) fn arm(&self, trip: Trip) {
        let mut armed = self.lock();
        armed.push(trip);
        self.count.store(armed.len(), Relaxed);
    }

    pub(super) fn disarm(&self) {
        let mut armed = self.lock();
        armed.clear();
        self.count.store(0, Relaxed);
    }

    pub(super) fn happened(&self) -> u64 {
        self.happened.load(Relaxed)
    }

    /// Counts a frame; where the link that has it is to end, if this was the one.
    pub(super) fn pass(&self, direction: Direction, frame: &Passing<'_>) -> Option<Mine> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut armed = self.lock();
        let mut mine = None;
        armed.retain_mut(|trip| {
            if !trip.matches(direction, frame) {
                return true;
            }
            trip.nth -= 1;
            if trip.nth > 0 {
                return true;
            }
            let position = match trip.edge {
                Edge::Before => frame.start,
                Edge::Within => frame.start + (frame.end - frame.start) / 2,
                Edge::After => frame.end,
            };
            mine = Some(Mine {
                position,
                over: trip.over,
            });
            self.happened.fetch_add(1, Relaxed);
            false
        });
        self.count.store(armed.len(), Relaxed);
        mine
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Trip>> {
        // Whole whoever panicked with it: trips are only put in, counted and taken out.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
