//! The calls that the task makes beside its stream.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;

use super::Future;
use crate::call::{Call, Scope, gone};
use crate::error::Error;
use crate::kv::{Get, ResponseHeader, broken};
use crate::maintenance::Status;
use crate::transport::EndpointTarget;
use crate::transport::stream::Incoming;

/// The longest wait for the version of a server. Without the version, the machine requests no progress.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// The calls that are under way.
#[derive(Default)]
pub(super) struct SideCalls {
    /// The read of the store's revision, and the key that it counts.
    pin: Option<(Bytes, Future<Result<ResponseHeader, Error>>)>,
    /// The request for the version of the stream's server.
    version: Option<Future<Option<String>>>,
}

/// The end of a call.
pub(super) enum SideEvent {
    /// The read of the store's revision, with the key that it has counted.
    Pinned(Bytes, Result<ResponseHeader, Error>),
    Version(Option<String>),
}

impl SideCalls {
    /// Starts a read of the store's revision. The read is linearizable, so the revision is not older
    /// than this call.
    pub(super) fn pin(&mut self, scope: Option<Scope>, key: Bytes) {
        let asked = key.clone();
        let pin = async move {
            let scope = scope.ok_or_else(gone)?;
            let timeout = scope.timeout.of_a_call();
            let mut count = Call::new(&scope, Get::new(asked)).count_only();
            if let Some(timeout) = timeout {
                // Less than the time-out of the watch, so that its future can name the cause.
                count = count.timeout(timeout / 5 * 4);
            }
            let header = count.await?.header;
            if header.revision < 1 {
                return Err(broken("a reply does not tell the store's revision"));
            }
            Ok(header)
        };
        self.pin = Some((key, Box::pin(pin)));
    }

    /// Asks for the version of the stream's server.
    pub(super) fn ask_version(&mut self, scope: Scope, stream: &Incoming) {
        let scope = Scope {
            member: Some(EndpointTarget::at(stream.link().index)),
            ..scope
        };
        let status = Call::new(&scope, Status::new()).timeout(VERSION_TIMEOUT);
        self.version = Some(Box::pin(async move {
            status.await.ok().map(|status| status.version)
        }));
    }

    /// The stream is gone, and the version of its server does not matter any more.
    pub(super) fn forget_version(&mut self) {
        self.version = None;
    }

    /// Waits for the end of a call. Dropping the future loses nothing.
    pub(super) async fn event(&mut self) -> SideEvent {
        let Self { pin, version } = self;
        let pinned = async {
            match pin {
                Some((_, pin)) => pin.await,
                None => pending().await,
            }
        };
        let told = async {
            match version {
                Some(version) => version.await,
                None => pending().await,
            }
        };
        tokio::select! {
            header = pinned => {
                // INVARIANT: there is a read, because the event comes from it.
                let key = self.pin.take().map(|(key, _)| key).unwrap_or_default();
                SideEvent::Pinned(key, header)
            }
            told = told => {
                self.version = None;
                SideEvent::Version(told)
            }
        }
    }
}
