//! Telemetry: `tracing` events, and metrics with the feature `metrics`.
//!
//! Events have the target `etcdex`. Events that the client handles by itself have the level
//! `debug`; a lost connection and an endpoint that does not serve have the level `warn`. INVARIANT:
//! no function here takes a key, a value, a password or a token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Error;

/// A call that has ended.
#[derive(Clone, Copy)]
pub(crate) struct Stopped<'a> {
    pub(crate) client: Option<&'a Arc<str>>,
    pub(crate) request: &'static str,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(crate) attempts: u32,
    pub(crate) end: CallEnd<'a>,
}

/// The end of a call.
#[derive(Clone, Copy)]
pub(crate) enum CallEnd<'a> {
    Ok,
    Failed(&'a Error),
    /// The caller dropped the call.
    Dropped,
}

/// Returns whether events or metrics of calls are recorded; otherwise calls do not read the clock.
pub(crate) fn wants_requests() -> bool {
    cfg!(feature = "metrics") || tracing::enabled!(target: "etcdex", tracing::Level::DEBUG)
}

pub(crate) fn request_started(client: Option<&Arc<str>>, request: &'static str) {
    tracing::debug!(target: "etcdex", client = text(client), request, "request started");
}

pub(crate) fn request_stopped(stopped: Stopped<'_>, duration: Duration) {
    let (outcome, kind) = match stopped.end {
        CallEnd::Ok => ("ok", None),
        CallEnd::Failed(error) => (error.outcome().name(), Some(error.kind())),
        CallEnd::Dropped => ("dropped", None),
    };
    tracing::debug!(
        target: "etcdex",
        client = text(stopped.client),
        request = stopped.request,
        endpoint = stopped.endpoint.map(Endpoint::url),
        outcome,
        kind = kind.map(tracing::field::debug),
        attempts = stopped.attempts,
        ?duration,
        "request stopped"
    );
    #[cfg(feature = "metrics")]
    {
        let labels = [
            ("client", owned(stopped.client)),
            ("request", stopped.request.to_owned()),
            (
                "endpoint",
                stopped
                    .endpoint
                    .map_or_else(String::new, ToString::to_string),
            ),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!("etcdex_requests_total", &labels).increment(1);
        metrics::histogram!("etcdex_request_duration_seconds", &labels).record(duration);
    }
}

pub(crate) fn connect_started(client: Option<&Arc<str>>, endpoint: &Endpoint) {
    tracing::debug!(target: "etcdex", client = text(client), %endpoint, "connect started");
}

pub(crate) fn connect_stopped(
    client: Option<&Arc<str>>,
    endpoint: &Endpoint,
    duration: Duration,
    cause: Option<&dyn fmt::Display>,
) {
    let outcome = if cause.is_none() { "ok" } else { "failed" };
    tracing::debug!(
        target: "etcdex",
        client = text(client),
        %endpoint,
        outcome,
        cause = cause.map(tracing::field::display),
        ?duration,
        "connect stopped"
    );
    #[cfg(feature = "metrics")]
    {
        let labels = [
            ("client", owned(client)),
            ("endpoint", endpoint.to_string()),
            ("outcome", outcome.to_owned()),
        ];
        metrics::counter!("etcdex_connects_total", &labels).increment(1);
        metrics::histogram!("etcdex_connect_duration_seconds", &labels).record(duration);
    }
}

/// Reports the end of a connection; `lost` if the client did not plan it.
pub(crate) fn disconnected(
    client: Option<&Arc<str>>,
    endpoint: &Endpoint,
    reason: &str,
    lost: bool,
) {
    let client_name = text(client);
    if lost {
        tracing::warn!(target: "etcdex", client = client_name, %endpoint, reason, "disconnected");
    } else {
        tracing::debug!(target: "etcdex", client = client_name, %endpoint, reason, "disconnected");
    }
    #[cfg(feature = "metrics")]
    {
        let labels = [
            ("client", owned(client)),
            ("endpoint", endpoint.to_string()),
            ("planned", (!lost).to_string()),
        ];
        metrics::counter!("etcdex_disconnects_total", &labels).increment(1);
    }
}

/// Reports that calls and probes have found an endpoint to serve, or not to.
pub(crate) fn serving(client: Option<&Arc<str>>, endpoint: &Endpoint, serving: bool) {
    let client_name = text(client);
    if serving {
        tracing::info!(target: "etcdex", client = client_name, %endpoint, "serving");
    } else {
        tracing::warn!(target: "etcdex", client = client_name, %endpoint, "not serving");
    }
}

fn text(client: Option<&Arc<str>>) -> Option<&str> {
    client.map(|name| &**name)
}

#[cfg(feature = "metrics")]
fn owned(client: Option<&Arc<str>>) -> String {
    text(client).unwrap_or_default().to_owned()
}
