//! One stream of renewals, and the renewals that wait for it.

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::LeaseKeepAliveRequest;

use crate::call::{BidiEvent, BidiStream};
use crate::kv::LeaseId;
use crate::lease::unanswered::StreamNumber;
use crate::transport::frame;

pub(super) struct RenewalStream {
    pub(super) number: StreamNumber,
    pub(super) bidi: BidiStream,
    /// Renewals that wait for the server's window.
    pub(super) batch: Vec<LeaseId>,
}

impl RenewalStream {
    /// Waits for an event. Dropping the future loses nothing.
    pub(super) async fn event(&mut self) -> BidiEvent {
        let event = self.bidi.event(|| renewals(&self.batch)).await;
        if matches!(event, BidiEvent::Sent) {
            self.batch.clear();
        }
        event
    }
}

/// Returns the messages of a batch, one after the other.
fn renewals(batch: &[LeaseId]) -> Option<Bytes> {
    let mut frames = BytesMut::with_capacity(batch.len() * 16);
    for id in batch {
        let id = id.as_i64();
        // INVARIANT: a renewal is below any limit, which is the only cause of an error here.
        if let Ok(renewal) = frame(&LeaseKeepAliveRequest { id }, usize::MAX) {
            frames.extend_from_slice(&renewal);
        }
    }
    (!frames.is_empty()).then(|| frames.freeze())
}
