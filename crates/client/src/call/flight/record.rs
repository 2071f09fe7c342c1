//! The facts about a call for its error, its events and its metrics.

use std::time::Instant;

use crate::call::scope::Scope;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::method::Method;
use crate::telemetry::{self, CallEnd, Stopped};
use crate::transport::now;

/// The facts about a call; empty before its first poll.
#[derive(Default)]
pub(super) struct CallRecord {
    method: Option<Method>,
    /// Whether the request changes nothing.
    read: bool,
    /// When the call was first polled; `None` if no event or metric is recorded.
    started: Option<Instant>,
    /// Endpoint of the last attempt.
    endpoint: Option<Endpoint>,
    attempts: u32,
}

impl CallRecord {
    /// Records the beginning, and reports it if events or metrics of calls are recorded.
    pub(super) fn begin(&mut self, scope: &Scope, method: Method, read: bool, moment: Instant) {
        self.method = Some(method);
        self.read = read;
        if telemetry::wants_requests() {
            self.started = Some(moment);
            telemetry::request_started(scope.core.options.name.as_ref(), method.name());
        }
    }

    pub(super) fn attempt(&mut self, endpoint: &Endpoint) {
        self.endpoint = Some(endpoint.clone());
        self.attempts += 1;
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Adds the facts about the call to an error.
    pub(super) fn describe(&self, scope: &Scope, error: Error) -> Error {
        let error = if self.read { error.of_a_read() } else { error };
        match self.method {
            Some(method) => scope.describe(error, method, self.endpoint.as_ref(), self.attempts),
            None => error,
        }
    }

    /// Reports the end, if the beginning was reported.
    pub(super) fn report_end(&self, scope: &Scope, end: CallEnd<'_>) {
        if let (Some(started), Some(method)) = (self.started, self.method) {
            let stopped = Stopped {
                client: scope.core.options.name.as_ref(),
                request: method.name(),
                endpoint: self.endpoint.as_ref(),
                attempts: self.attempts,
                end,
            };
            telemetry::request_stopped(stopped, now().saturating_duration_since(started));
        }
    }
}
