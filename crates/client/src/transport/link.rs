//! A live connection, as calls see it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Uri};
use tokio::sync::Notify;

use super::balance::EndpointIndex;
use super::failure::Failure;
use super::identity::Proof;
use super::leader::LeaderMonitor;
use super::link_state::LinkState;
use super::serving::Serving;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::method::Method;

const USER_AGENT: &str = concat!("etcdex/", env!("CARGO_PKG_VERSION"));
const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
const LEADER_HEADER: HeaderName = HeaderName::from_static("hasleader");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("token");

/// The number of a link, which differs between any two links of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(u64);

impl LinkId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A connection that is up. Calls clone its sender and work in their own tasks.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) endpoint: Endpoint,
    /// The index of the endpoint among the client's.
    pub(crate) index: EndpointIndex,
    pub(crate) state: Arc<LinkState>,
    /// Whether the endpoint serves; shared by all connections to it.
    pub(crate) serving: Arc<Serving>,
    /// Identity that the connection has told and proven.
    ///
    /// ORDER: set before the link is published.
    pub(super) told: OnceLock<Proof>,
    /// Notified when a permit is returned, where calls wait for permits.
    freed: Option<Arc<Notify>>,
    sender: SendRequest<Bytes>,
    heads: Heads,
    pub(crate) leader_monitor: LeaderMonitor,
}

/// Parts that all requests over a connection have in common, made once.
struct Heads {
    uris: Box<[Uri]>,
    headers: HeaderMap,
    /// The same with the client's default time-out, which most calls have.
    timed: Option<(Duration, HeaderMap)>,
    /// The same with the newest token too, and the generation of that token.
    token_headers: RwLock<Option<(u64, HeaderMap)>>,
}

/// Parts of a request's head that differ between requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Head<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) require_leader: bool,
    pub(crate) token: Option<&'a TokenHeader>,
}

/// A token as the header of a request.
pub(crate) struct TokenHeader {
    /// The number of the token among the client's.
    pub(crate) generation: u64,
    header: HeaderValue,
}

impl TokenHeader {
    /// `None` if the text cannot stand in a header.
    pub(crate) fn new(token: &str, generation: u64) -> Option<Self> {
        let mut header = HeaderValue::from_str(token).ok()?;
        // A sensitive header is not printed, also in traces of h2, and is in no compression table.
        header.set_sensitive(true);
        Some(Self { generation, header })
    }
}

impl Link {
    pub(crate) fn new(
        endpoint: Endpoint,
        sender: SendRequest<Bytes>,
        state: Arc<LinkState>,
        serving: Arc<Serving>,
        freed: Option<Arc<Notify>>,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let heads = Heads::new(&endpoint, timeout)?;
        Ok(Self {
            id: LinkId::next(),
            endpoint,
            index: serving.index(),
            state,
            serving,
            told: OnceLock::new(),
            freed,
            sender,
            heads,
            leader_monitor: LeaderMonitor::default(),
        })
    }

    /// Returns the identity that the connection has told and proven.
    pub(crate) fn proof(&self) -> Proof {
        self.told.get().copied().unwrap_or(Proof::NONE)
    }

    /// Whether the connection is known to lead to another member than the one with this ID.
    pub(crate) fn misses(&self, wanted: Option<u64>) -> bool {
        let told = self.proof().member();
        wanted.is_some_and(|id| told.is_some_and(|told| told != id))
    }

    /// Returns a sender for one more request.
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Returns the number of streams that the server allows at once.
    pub(crate) fn stream_limit(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Whether a request may have to wait for a stream. The caller's own call counts as under way.
    pub(crate) fn is_full(&self) -> bool {
        self.state.open() > self.state.queue.limit()
    }

    pub(crate) fn request(&self, method: Method, head: Head<'_>) -> Request<()> {
        let mut headers = self.heads.headers(head.timeout, head.token);
        if head.require_leader {
            headers.insert(LEADER_HEADER, HeaderValue::from_static("true"));
        }
        let mut request = Request::new(());
        *request.method_mut() = Verb::POST;
        // INVARIANT: `uris` has one entry for each method, at the index of its number.
        *request.uri_mut() = self.heads.uris[method as usize].clone();
        *request.headers_mut() = headers;
        request
    }

    /// Returns the failure of a request that h2 did not take: nothing was sent.
    pub(crate) fn refused(&self, error: h2::Error) -> Failure {
        self.state.drain();
        let mut failure = Failure::not_sent(
            ErrorKind::Unavailable,
            "the connection takes no more requests",
            Retry::Reconnect,
        );
        failure.error = failure.error.with_source(error);
        failure
    }

    /// Returns the failure of a request whose head h2 took, and whose message it did not take: a server
    /// that has only the head does nothing.
    pub(crate) fn unfinished(&self, error: h2::Error) -> Failure {
        let mut failure = Failure::not_sent(
            ErrorKind::Unavailable,
            "the connection was lost before the request was out",
            Retry::Reconnect,
        );
        failure.error = failure.error.with_source(error);
        failure
    }

    /// Returns the failure of a request for an error of h2 that came after h2 had taken the request. If
    /// the client ended the connection, the failure has the client's reason. `mark` is from before the
    /// request was handed to h2.
    ///
    /// INVARIANT: a request counts as not sent only if the server says so, or if the byte stream has
    /// taken no byte since `mark`.
    pub(crate) fn broken(&self, error: h2::Error, mark: u64) -> Failure {
        if error.is_go_away() {
            self.state.drain();
        }
        let io = error.is_io();
        let failure = Failure::from_h2(error);
        if !io {
            return failure;
        }
        self.state.note_broken();
        let error = match self.state.ending.get() {
            Some((kind, ending)) => Error::new(*kind, *ending),
            None => failure.error,
        };
        let outcome = if mark == self.state.mark() {
            Outcome::NotSent
        } else {
            Outcome::Unknown
        };
        Failure {
            error: error.with_outcome(outcome),
            retry: failure.retry,
        }
    }
}

impl Heads {
    fn new(endpoint: &Endpoint, timeout: Option<Duration>) -> io::Result<Self> {
        let scheme = if endpoint.is_secure() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let authority: Authority = endpoint.authority().parse().map_err(io::Error::other)?;
        let uris = Method::paths()
            .map(|path| {
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(scheme.clone());
                parts.authority = Some(authority.clone());
                parts.path_and_query = Some(PathAndQuery::from_static(path));
                Uri::from_parts(parts).map_err(io::Error::other)
            })
            .collect::<io::Result<_>>()?;
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(
            http::header::USER_AGENT,
            HeaderValue::from_static(USER_AGENT),
        );
        let timed = timeout.map(|duration| {
            let mut headers = headers.clone();
            headers.insert(TIMEOUT_HEADER, timeout_value(duration));
            (duration, headers)
        });
        Ok(Self {
            uris,
            headers,
            timed,
            token_headers: RwLock::new(None),
        })
    }

    fn headers(&self, timeout: Option<Duration>, token: Option<&TokenHeader>) -> HeaderMap {
        match (timeout, &self.timed) {
            (None, _) => self.with_token(&self.headers, token),
            (Some(timeout), Some((default, headers))) if timeout == *default => match token {
                None => headers.clone(),
                Some(token) => self.with_cached_token(headers, token),
            },
            (Some(timeout), _) => {
                let mut headers = self.with_token(&self.headers, token);
                headers.insert(TIMEOUT_HEADER, timeout_value(timeout));
                headers
            }
        }
    }

    fn with_token(&self, headers: &HeaderMap, token: Option<&TokenHeader>) -> HeaderMap {
        let mut headers = headers.clone();
        if let Some(token) = token {
            headers.insert(TOKEN_HEADER, token.header.clone());
        }
        headers
    }

    /// Adds a token to the headers with the default time-out. The result for the newest token is kept,
    /// as most calls of a client have the same time-out and the same token.
    fn with_cached_token(&self, headers: &HeaderMap, token: &TokenHeader) -> HeaderMap {
        let known = self
            .token_headers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((generation, headers)) if *generation == token.generation => headers.clone(),
            _ => {
                drop(known);
                let headers = self.with_token(headers, Some(token));
                *self
                    .token_headers
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) =
                    Some((token.generation, headers.clone()));
                headers
            }
        }
    }
}

/// Returns the value of `grpc-timeout`, which has at most 8 digits: milliseconds, or seconds if there
/// are too many. The value is rounded up, so that the server never gives up before the client.
fn timeout_value(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let milliseconds = timeout.as_micros().div_ceil(1000);
    let text = if milliseconds <= MOST {
        format!("{milliseconds}m")
    } else {
        format!("{}S", milliseconds.div_ceil(1000).min(MOST))
    };
    // INVARIANT: digits and a letter are always a valid header value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("5S"))
}

/// The right to have one call or stream on a link. The link counts it until it is dropped.
pub(crate) struct StreamPermit(Arc<Link>);

impl StreamPermit {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        link.state.enter();
        Self(link)
    }

    /// Returns a permit only if the link has room for one more stream besides the `reserved` ones. If
    /// the server allows no more than `reserved` streams, one of them is given away.
    pub(crate) fn try_new(link: Arc<Link>, reserved: usize) -> Option<Self> {
        let limit = link.stream_limit();
        let limit = limit.saturating_sub(reserved).max(limit.min(1));
        link.state.try_enter(limit).then(|| Self(link))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.state.leave();
        if let Some(freed) = &self.0.freed {
            freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_in_the_words_of_grpc() {
        let text = |duration| timeout_value(duration).to_str().unwrap_or("?").to_owned();
        assert_eq!(text(Duration::from_secs(5)), "5000m");
        assert_eq!(text(Duration::from_micros(1)), "1m");
        assert_eq!(text(Duration::ZERO), "0m");
        assert_eq!(text(Duration::from_millis(99_999_999)), "99999999m");
        assert_eq!(text(Duration::from_millis(100_000_000)), "100000S");
        assert_eq!(text(Duration::MAX), "99999999S");
    }
}
