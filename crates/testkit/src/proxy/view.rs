//! The HTTP/2 of a link, for trips and taps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::Direction;
use super::frames::{Calls, Observer, Passing, Scanner};
use super::tap::{Assembly, Delivery, Passage, Tap};
use super::trip::{CutPoint, Trips};

/// The trips and the tap of a proxy, shared by all links.
#[derive(Clone, Debug, Default)]
pub(super) struct Inspection(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    trips: Trips,
    tap_sender: Mutex<Option<TapSender>>,
    links: AtomicU64,
}

/// The sender of a tap.
#[derive(Clone, Debug)]
struct TapSender {
    method: Arc<str>,
    sender: mpsc::UnboundedSender<Passage>,
}

impl Inspection {
    pub(super) fn trips(&self) -> &Trips {
        &self.0.trips
    }

    pub(super) fn tap(&self, method: String) -> Tap {
        let (sender, tap) = Tap::new();
        *self.tap_sender() = Some(TapSender {
            method: method.into(),
            sender,
        });
        tap
    }

    fn tap_sender(&self) -> std::sync::MutexGuard<'_, Option<TapSender>> {
        // A panic leaves the value consistent: it is only replaced and cloned.
        self.0
            .tap_sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state that both directions of a link share.
pub(super) struct SharedView<'a> {
    inspection: &'a Inspection,
    link: u64,
    tap_sender: Option<TapSender>,
    // Both directions run in one task, so the lock is never contended.
    calls: Mutex<Calls>,
}

impl<'a> SharedView<'a> {
    pub(super) fn new(inspection: &'a Inspection) -> Self {
        Self {
            inspection,
            link: inspection.0.links.fetch_add(1, Relaxed) + 1,
            tap_sender: inspection.tap_sender().clone(),
            calls: Mutex::new(Calls::default()),
        }
    }

    /// Returns the view of one direction.
    pub(super) fn view(&self, direction: Direction) -> View<'_> {
        View {
            shared: self,
            direction,
            scanner: Scanner::new(direction),
            assembly: Assembly::default(),
            heard: Vec::new(),
        }
    }
}

/// One direction of a link, as HTTP/2.
pub(super) struct View<'a> {
    shared: &'a SharedView<'a>,
    direction: Direction,
    scanner: Scanner,
    assembly: Assembly,
    /// Messages that the last bytes have completed.
    heard: Vec<Delivery>,
}

impl View<'_> {
    /// Parses the next bytes. Returns where the link is to end, if a trip has one of their frames.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Option<CutPoint> {
        if self.scanner.is_inert() {
            return None;
        }
        let shared = self.shared;
        let mut recorder = FrameRecorder {
            shared,
            direction: self.direction,
            assembly: &mut self.assembly,
            heard: &mut self.heard,
            cut_point: None,
        };
        let calls = shared.calls.lock();
        let mut calls = calls.unwrap_or_else(PoisonError::into_inner);
        self.scanner.scan(bytes, &mut calls, &mut recorder);
        recorder.cut_point
    }

    /// Takes the messages of the last bytes, to be marked when they are delivered.
    pub(super) fn take_heard(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.heard)
    }
}

/// Records the frames and messages that pass.
struct FrameRecorder<'a> {
    shared: &'a SharedView<'a>,
    direction: Direction,
    assembly: &'a mut Assembly,
    heard: &'a mut Vec<Delivery>,
    cut_point: Option<CutPoint>,
}

impl FrameRecorder<'_> {
    fn tell(&mut self, tap_sender: &TapSender, stream: u32, message: Option<bytes::Bytes>) {
        let delivered = Delivery::default();
        self.heard.push(delivered.clone());
        // The tap may have been dropped.
        let _ = tap_sender.sender.send(Passage {
            at: Instant::now(),
            link: self.shared.link,
            stream,
            direction: self.direction,
            delivered,
            message,
        });
    }

    fn tap_sender(&self, method: &Arc<str>) -> Option<&TapSender> {
        let tap_sender = self.shared.tap_sender.as_ref();
        tap_sender.filter(|tap_sender| tap_sender.method == *method)
    }
}

impl Observer for FrameRecorder<'_> {
    fn frame(&mut self, frame: Passing<'_>) {
        let trips = self.shared.inspection.trips();
        if let Some(cut_point) = trips.pass(self.direction, &frame) {
            self.cut_point = self.cut_point.or(Some(cut_point));
        }
    }

    fn body(&mut self, stream: u32, method: &Arc<str>, bytes: &[u8]) {
        if let Some(tap_sender) = self.tap_sender(method).cloned() {
            let mut whole = Vec::new();
            self.assembly
                .take(stream, bytes, |message| whole.push(message));
            for message in whole {
                self.tell(&tap_sender, stream, Some(message));
            }
        }
    }

    fn end(&mut self, stream: u32, method: &Arc<str>) {
        if let Some(tap_sender) = self.tap_sender(method).cloned() {
            self.tell(&tap_sender, stream, None);
        }
        self.assembly.end(stream);
    }
}
