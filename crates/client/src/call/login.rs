//! The task that logs in for all calls of a client.
//!
//! A login belongs to the client, not to the call that needed it first. It runs in a task of its
//! own, at any endpoint, with its own time limit, and continues when that call is dropped. While
//! there is a token, the next one is fetched in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use prost::Message;
use tokio::sync::watch;

use super::Call;
use super::request::Request;
use super::scope::{Core, Scope};
use super::shutdown::ShutdownStage;
use crate::adaptive_timeout::AdaptiveTimeout;
use crate::backoff::Backoff;
use crate::credentials::{Credentials, Secret, Token};
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::method::Method;
use crate::mutex::Mutex;
use crate::transport::{Failure, frame, now};

/// How long one attempt to log in may take: with several endpoints, and with one. Each attempt
/// without an answer doubles the limit, up to the last.
///
/// A password costs the server a slow hash, also when the client no longer waits for the answer.
/// When a thousand clients log in at once, an attempt that is abandoned early makes all of them
/// slower. The client therefore abandons an attempt early only in favour of another endpoint, which
/// a call tries at half of its time.
const FIRST_LIMIT: Duration = Duration::from_secs(6);
const ONLY_LIMIT: Duration = Duration::from_secs(30);
const LAST_LIMIT: Duration = Duration::from_secs(120);

/// How long a provider may take for one token.
const PROVIDER_LIMIT: Duration = Duration::from_secs(60);

/// The first and the last pause before another attempt, while calls wait.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// The progress of a login.
#[derive(Clone, Default)]
pub(super) struct Login {
    /// The version of the credentials.
    pub(super) version: u64,
    /// The error of the last attempt.
    pub(super) last_error: Option<Arc<Error>>,
    pub(super) is_over: bool,
}

/// Logs in, repeatedly while calls wait and the cause may be temporary.
pub(super) async fn run(core: Weak<Core>, login: watch::Sender<Login>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
    while let Some(present) = core.upgrade() {
        let Some(authentication) = present.authentication.get() else {
            return;
        };
        let mut closing = present.shutdown.stages();
        // ORDER: subscribes to other credentials before it reads the present ones.
        let mut replaced = present.replaced.subscribe();
        let (version, credentials) = authentication.credentials();
        let outcome = tokio::select! {
            biased;
            _ = closing.wait_for(|stage| *stage == ShutdownStage::Over) => return,
            _ = replaced.changed() => {
                login.send_replace(Login::default());
                backoff.reset();
                continue;
            }
            outcome = attempt(&present, credentials, &authentication.answer_timeout) => outcome,
        };
        // One receiver is that of `Authentication::login`; any other one is a waiting caller.
        let waited_for = login.receiver_count() > 1;
        let again = waited_for && outcome.as_ref().is_err_and(may_pass);
        let last_error = match outcome {
            Err(error) if again => Some(error),
            // ORDER: the result is recorded before waiting callers are woken and look for it.
            outcome => match authentication.settle(version, outcome) {
                Some(settled) => settled.err(),
                None => continue,
            },
        };
        if let Some(error) = &last_error {
            tracing::debug!(target: "etcdex", %error, again, "a login has failed");
        }
        login.send_replace(Login {
            version,
            last_error: last_error.map(Arc::new),
            is_over: !again,
        });
        if !again {
            return;
        }
        // ORDER: the client is released before the pause, which must not keep it alive.
        drop(present);
        tokio::select! {
            // An error means that the client was dropped.
            _ = replaced.changed() => backoff.reset(),
            () = tokio::time::sleep(backoff.next(fastrand::f64())) => {}
        }
    }
}

/// Returns whether a login may succeed later without a change of credentials.
fn may_pass(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::NoLeader
            | ErrorKind::NotLeader
            | ErrorKind::LeaderChanged
            | ErrorKind::Stopped
            | ErrorKind::Learner
            | ErrorKind::TooManyRequests
            | ErrorKind::Cancelled
    )
}

/// Makes one attempt to get a token.
async fn attempt(
    core: &Arc<Core>,
    credentials: Credentials,
    answer_timeout: &Mutex<AdaptiveTimeout>,
) -> Result<Token, Error> {
    match credentials {
        Credentials::Password { user, password } => {
            let request = Authenticate { user, password };
            let only = core.pool.endpoints().len() == 1;
            let first = if only { ONLY_LIMIT } else { FIRST_LIMIT };
            let limit = answer_timeout.lock().limit(first, LAST_LIMIT);
            let started = now();
            let call = Call::new(&Scope::of(Arc::clone(core)).of_login(), request);
            let outcome = call.timeout(limit).await;
            match &outcome {
                Err(error) if error.kind() == ErrorKind::Timeout => answer_timeout.lock().silent(),
                Err(_) => {}
                Ok(_) => {
                    let taken = now().saturating_duration_since(started);
                    answer_timeout.lock().answered(taken);
                }
            }
            outcome
        }
        Credentials::Provider(provider) => {
            match tokio::time::timeout(PROVIDER_LIMIT, provider.token()).await {
                Ok(outcome) => outcome.map_err(|cause| {
                    Error::new(
                        ErrorKind::AuthenticationFailed,
                        "the provider made no token",
                    )
                    .with_source(cause)
                }),
                Err(_) => Err(late(PROVIDER_LIMIT, None)),
            }
        }
    }
}

/// Returns the error of a caller that has waited for a token for too long.
pub(crate) fn late(limit: Duration, last_error: Option<Arc<Error>>) -> Error {
    match last_error {
        Some(last_error) => {
            let message = format!("no token within {limit:?}: {last_error}");
            Error::new(last_error.kind(), message).with_source(last_error)
        }
        None => Error::new(ErrorKind::Timeout, format!("no token within {limit:?}")),
    }
}

/// The request for a token.
#[derive(Debug)]
struct Authenticate {
    user: Arc<str>,
    password: Secret,
}

impl Request for Authenticate {
    type Reply = Token;

    fn method(&self) -> Method {
        Method::Authenticate
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    /// A member without a leader cannot answer the request.
    fn wants_leader(&self) -> bool {
        true
    }

    fn encode(&self, _: Option<&Namespace>, limit: usize) -> Result<Bytes, Failure> {
        let message = AuthenticateRequest {
            name: self.user.as_ref().to_owned(),
            password: self.password.expose().to_owned(),
        };
        frame(&message, limit)
    }

    fn decode(&self, reply: Bytes, _: Option<&Namespace>) -> Result<Token, Error> {
        let reply = AuthenticateResponse::decode(reply).map_err(|_| {
            Error::new(
                ErrorKind::Protocol,
                "the reply to a login cannot be decoded",
            )
        })?;
        Ok(Token::new(reply.token))
    }
}
