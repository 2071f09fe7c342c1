//! What is known of a call, and told of it: in its error, in spans and in metrics.

use std::time::Instant;

use crate::call::Scope;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::method::Method;
use crate::telemetry::{self, End, Stopped};
use crate::transport::now;

/// What is known of a call. Before its first poll that is nothing.
#[derive(Default)]
pub(super) struct Account {
    method: Option<Method>,
    /// The request changes nothing.
    read: bool,
    /// When it was first polled, if anybody wants to know.
    started: Option<Instant>,
    /// Where the last attempt went.
    endpoint: Option<Endpoint>,
    attempts: u32,
}

impl Account {
    /// Tells of its beginning, if anybody wants to know.
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

    /// Adds to an error what is known of the call.
    pub(super) fn describe(&self, scope: &Scope, error: Error) -> Error {
        let error = if self.read { error.of_a_read() } else { error };
        match self.method {
            Some(method) => scope.describe(error, method, self.endpoint.as_ref(), self.attempts),
            None => error,
        }
    }

    /// Tells of its end, if anybody has heard of its beginning.
    pub(super) fn tell(&self, scope: &Scope, end: End<'_>) {
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
