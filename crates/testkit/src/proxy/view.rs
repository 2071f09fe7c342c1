//! What a link sees of the HTTP/2 that goes through it: for trips and taps.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::Direction;
use super::frames::{Calls, Observer, Passing, Scanner};
use super::tap::{Assembly, Delivery, Passage, Tap};
use super::trip::{Mine, Trips};

/// What all links of a proxy look out for.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    trips: Trips,
    ear: Mutex<Option<Ear>>,
    links: AtomicU64,
}

/// The other end of a tap.
#[derive(Clone, Debug)]
struct Ear {
    method: Arc<str>,
    sender: mpsc::UnboundedSender<Passage>,
}

impl Sight {
    pub(super) fn trips(&self) -> &Trips {
        &self.0.trips
    }

    pub(super) fn tap(&self, method: String) -> Tap {
        let (sender, tap) = Tap::new();
        *self.ear() = Some(Ear {
            method: method.into(),
            sender,
        });
        tap
    }

    fn ear(&self) -> std::sync::MutexGuard<'_, Option<Ear>> {
        // Whole whoever panicked with it: it is only replaced and cloned.
        self.0.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What both directions of a link know together.
pub(super) struct Conversation<'a> {
    sight: &'a Sight,
    link: u64,
    ear: Option<Ear>,
    // Both directions run in one task, so nobody ever waits for it.
    calls: Mutex<Calls>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(sight: &'a Sight) -> Self {
        Self {
            sight,
            link: sight.0.links.fetch_add(1, Relaxed) + 1,
            ear: sight.ear().clone(),
            calls: Mutex::new(Calls::default()),
        }
    }

    /// One direction of it.
    pub(super) fn view(&self, direction: Direction) -> View<'_> {
        View {
            conversation: self,
            direction,
            scanner: Scanner::new(direction),
            assembly: Assembly::default(),
            heard: Vec::new(),
        }
    }
}

/// One direction of a link, as HTTP/2.
pub(super) struct View<'a> {
    conversation: &'a Conversation<'a>,
    direction: Direction,
    scanner: Scanner,
    assembly: Assembly,
    /// What the last bytes have made whole.
    heard: Vec<Delivery>,
}

impl View<'_> {
    /// Looks at the next bytes; where the link is to end, if a trip says so.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Option<Mine> {
        if self.scanner.is_inert() {
            return None;
        }
        let conversation = self.conversation;
        let mut witness = Witness {
            conversation,
            direction: self.direction,
            assembly: &mut self.assembly,
            heard: &mut self.heard,
            mine: None,
        };
        let calls = conversation.calls.lock();
        let mut calls = calls.unwrap_or_else(PoisonError::into_inner);
        self.scanner.scan(bytes, &mut calls, &mut witness);
        witness.mine
    }

    /// Takes what was heard with the last bytes, to be told when they are delivered.
    pub(super) fn take_heard(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.heard)
    }
}

/// Takes down what passes.
struct Witness<'a> {
    conversation: &'a Conversation<'a>,
    direction: Direction,
    assembly: &'a mut Assembly,
    heard: &'a mut Vec<Delivery>,
    mine: Option<Mine>,
}

impl Witness<'_> {
    fn tell(&mut self, ear: &Ear, stream: u32, message: Option<bytes::Bytes>) {
        let delivered = Delivery::default();
        self.heard.push(delivered.clone());
        // Nobody listens any more: that is theirs to decide.
        let _ = ear.sender.send(Passage {
            at: Instant::now(),
            link: self.conversation.link,
            stream,
            direction: self.direction,
            delivered,
            message,
        });
    }

    fn ear(&self, method: &Arc<str>) -> Option<&Ear> {
        let ear = self.conversation.ear.as_ref();
        ear.filter(|ear| ear.method == *method)
    }
}

impl Observer for Witness<'_> {
    fn frame(&mut self, frame: Passing<'_>) {
        let trips = self.conversation.sight.trips();
        if let Some(mine) = trips.pass(self.direction, &frame) {
            self.mine = self.mine.or(Some(mine));
        }
    }

    fn body(&mut self, stream: u32, method: &Arc<str>, bytes: &[u8]) {
        if let Some(ear) = self.ear(method).cloned() {
            let mut whole = Vec::new();
            self.assembly
                .take(stream, bytes, |message| whole.push(message));
            for message in whole {
                self.tell(&ear, stream, Some(message));
            }
        }
    }

    fn end(&mut self, stream: u32, method: &Arc<str>) {
        if let Some(ear) = self.ear(method).cloned() {
            self.tell(&ear, stream, None);
        }
        self.assembly.end(stream);
    }
}
