//! Faults at a given HTTP/2 frame.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Direction;
use super::frames::{FrameKind, Passing};
use super::pump::Over;

/// The HTTP/2 frame at which a link is to end; armed by [`Proxy::trip`](super::Proxy::trip).
///
/// Frames are counted over all links together, from the arming on. A trip ends the link with that
/// frame, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    direction: Direction,
    kind: FrameKind,
    method: Option<String>,
    nth: u64,
    edge: Edge,
    over: Over,
}

/// How much of the frame is still delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Before,
    Within,
    After,
}

impl Trip {
    /// Resets the link after the next frame of this kind in this direction.
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
    /// Frames of the connection itself (SETTINGS, PING, GOAWAY) have no method.
    #[must_use]
    pub fn method(mut self, path: impl Into<String>) -> Self {
        self.method = Some(path.into());
        self
    }

    /// Sets the number of the frame, from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// Ends the link before the frame. Bytes that were delivered before the frame was recognized
    /// stay delivered: of a frame that came in pieces, the bytes before the end of its head; of
    /// HEADERS, the bytes before the method was read.
    #[must_use]
    pub fn before(mut self) -> Self {
        self.edge = Edge::Before;
        self
    }

    /// Ends the link after half of the frame.
    #[must_use]
    pub fn within(mut self) -> Self {
        self.edge = Edge::Within;
        self
    }

    /// Ends the link after the frame. This is the default.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.edge = Edge::After;
        self
    }

    /// Closes the link (FIN) instead of resetting it.
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
    /// Number of trips: nearly always none, and then no lock is taken.
    count: AtomicUsize,
    happened: AtomicU64,
}

/// The position at which a link is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutPoint {
    /// Number of bytes of this link and direction before the end.
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

    /// Counts a frame. Returns where its link is to end, if a trip has this frame.
    pub(super) fn pass(&self, direction: Direction, frame: &Passing<'_>) -> Option<CutPoint> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut armed = self.lock();
        let mut cut_point = None;
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
            cut_point = Some(CutPoint {
                position,
                over: trip.over,
            });
            self.happened.fetch_add(1, Relaxed);
            false
        });
        self.count.store(armed.len(), Relaxed);
        cut_point
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Trip>> {
        // A panic leaves the list consistent: trips are only added, counted and removed.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
