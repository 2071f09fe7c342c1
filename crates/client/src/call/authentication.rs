//! The client's token, and the login that fetches it for all calls.
//!
//! A login belongs to the client, not to the call that needed it first. It runs in a task of its
//! own, at any endpoint, with its own time limit, and continues when that call is dropped. While
//! there is a token, the next one is fetched in the background.

use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use prost::Message;
use tokio::sync::watch;

use super::token::{TokenAction, TokenCache, TokenState};
use super::{Call, Core, Request, Scope, ShutdownStage};
use crate::adaptive_timeout::AdaptiveTimeout;
use crate::backoff::Backoff;
use crate::credentials::{Credentials, Token};
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::method::Method;
use crate::mutex::Mutex;
use crate::runtime;
use crate::transport::{Failure, TokenHeader, closed, frame, now};

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

/// How long the task of a stream waits for a token before it gets an error. The login continues
/// meanwhile.
pub(crate) const STREAM_LIMIT: Duration = Duration::from_secs(5);

/// How often a caller starts a login again whose task has ended, before it gets an error.
const LOST_LOGINS: u32 = 3;

/// The client's credentials and its token, kept across connections.
pub(crate) struct Authentication {
    state: Mutex<AuthenticationState>,
    /// The login in progress; its sender is dropped with its task.
    login: Mutex<Option<watch::Receiver<Login>>>,
    answer_timeout: Mutex<AdaptiveTimeout>,
}

struct AuthenticationState {
    credentials: Credentials,
    /// Number of times that the credentials were replaced.
    version: u64,
    /// The token that was fetched with these credentials.
    cache: TokenCache<Arc<TokenHeader>>,
}

/// The progress of a login.
#[derive(Clone, Default)]
struct Login {
    /// The version of the credentials.
    version: u64,
    /// The error of the last attempt.
    trouble: Option<Arc<Error>>,
    is_over: bool,
}

/// The token that a call sends.
pub(crate) enum CallCredential {
    Token(Arc<TokenHeader>),
    /// Authentication is disabled.
    Anonymous,
    /// There is no token yet: the call waits for a login.
    Fetch,
}

impl Authentication {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            state: Mutex::new(AuthenticationState {
                credentials,
                version: 0,
                cache: TokenCache::new(),
            }),
            login: Mutex::default(),
            answer_timeout: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, AuthenticationState> {
        self.state.lock()
    }

    fn credentials(&self) -> (u64, Credentials) {
        let state = self.lock();
        (state.version, state.credentials.clone())
    }

    /// Replaces the credentials. The token of the old credentials is dropped, and so is the result
    /// of a login with them that is in progress.
    pub(crate) fn replace(&self, credentials: Credentials) {
        let mut state = self.lock();
        state.credentials = credentials;
        state.version += 1;
        state.cache.replaced();
    }

    fn answer_timeout(&self) -> MutexGuard<'_, AdaptiveTimeout> {
        self.answer_timeout.lock()
    }

    /// Returns the token that a call sends now, and starts a renewal if one is due.
    pub(crate) fn credential(&self, core: &Arc<Core>) -> Result<CallCredential, Error> {
        match self.lock().cache.action(now()) {
            TokenAction::Send { token, .. } => Ok(CallCredential::Token(token)),
            TokenAction::Renew { token, .. } => {
                // A renewal that cannot start must not delay the call.
                let _ = self.login(core);
                Ok(CallCredential::Token(token))
            }
            TokenAction::SendNone => Ok(CallCredential::Anonymous),
            TokenAction::Fetch => Ok(CallCredential::Fetch),
            TokenAction::Refused(why) => Err(refused(why)),
        }
    }

    /// Returns the state of the token, without the token.
    pub(crate) fn state(&self) -> TokenState {
        self.lock().cache.state()
    }

    /// Records that a server has refused this token, or a call without one (`None`).
    pub(crate) fn invalid(&self, token: Option<&TokenHeader>) {
        self.lock()
            .cache
            .invalid(token.map(|token| token.generation));
    }

    /// Returns the error of the login in progress, if it has had one.
    pub(crate) fn trouble(&self) -> Option<Arc<Error>> {
        let login = self.login.lock();
        login.as_ref()?.borrow().trouble.clone()
    }

    /// Returns the login in progress, and starts one if there is none.
    fn login(&self, core: &Arc<Core>) -> Result<watch::Receiver<Login>, Error> {
        let mut login = self.login.lock();
        let is_under_way = |one: &&watch::Receiver<Login>| {
            let is_over = one.borrow().is_over;
            !is_over && one.has_changed().is_ok()
        };
        if let Some(present) = login.as_ref().filter(is_under_way) {
            return Ok(present.clone());
        }
        let runtime = runtime::present()?;
        let (sender, receiver) = watch::channel(Login::default());
        *login = Some(receiver.clone());
        runtime.spawn(run(Arc::downgrade(core), sender));
        Ok(receiver)
    }

    /// Waits for a token. The caller limits the time.
    ///
    /// # Errors
    /// The error of the login, or that the client was closed.
    ///
    /// # Cancel safety
    /// Dropping the future does not end the login.
    pub(crate) async fn fetch(scope: Scope) -> Result<Option<Arc<TokenHeader>>, Error> {
        let mut closing = scope.core.shutdown.stages();
        // A call that belongs to the end of a client may continue until the end is over.
        let last = if scope.parting {
            ShutdownStage::Over
        } else {
            ShutdownStage::Draining
        };
        tokio::select! {
            biased;
            _ = closing.wait_for(|stage| *stage >= last) => Err(closed()),
            outcome = wait(&scope) => outcome,
        }
    }

    /// Waits for a token for at most `limit`, for callers without a time limit of their own.
    pub(crate) async fn fetch_within(
        scope: Scope,
        limit: Duration,
    ) -> Result<Option<Arc<TokenHeader>>, Error> {
        let core = Arc::clone(&scope.core);
        match tokio::time::timeout(limit, Self::fetch(scope)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let trouble = core.authentication.get().and_then(Self::trouble);
                Err(late(limit, trouble))
            }
        }
    }

    /// Makes one attempt to get a token.
    async fn attempt(&self, core: &Arc<Core>, credentials: Credentials) -> Result<Token, Error> {
        match credentials {
            Credentials::Password { user, password } => {
                let request = Authenticate { user, password };
                let only = core.transport.endpoints().len() == 1;
                let first = if only { ONLY_LIMIT } else { FIRST_LIMIT };
                let limit = self.answer_timeout().limit(first, LAST_LIMIT);
                let started = now();
                let call = Call::new(&Scope::of(Arc::clone(core)).anonymous(), request);
                let outcome = call.timeout(limit).await;
                match &outcome {
                    Err(error) if error.kind() == ErrorKind::Timeout => {
                        self.answer_timeout().silent()
                    }
                    Err(_) => {}
                    Ok(_) => {
                        let taken = now().saturating_duration_since(started);
                        self.answer_timeout().answered(taken);
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

    /// Records the result of a login with credentials of this version. Returns `None` and records
    /// nothing if the credentials were replaced meanwhile.
    fn settle(&self, version: u64, outcome: Result<Token, Error>) -> Option<Result<(), Error>> {
        let mut state = self.lock();
        (state.version == version).then(|| state.settle(outcome))
    }
}

impl AuthenticationState {
    fn settle(&mut self, outcome: Result<Token, Error>) -> Result<(), Error> {
        let cache = &mut self.cache;
        match outcome {
            Ok(token) => {
                let generation = cache.next_generation();
                let Some(header) = TokenHeader::new(token.text(), generation) else {
                    let why = "the token has characters that are not allowed in a header";
                    cache.failed(Some(why), now());
                    return Err(Error::new(ErrorKind::Config, why));
                };
                cache.fetched(Arc::new(header), token.life(), now());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AuthenticationDisabled => {
                cache.not_needed();
                Ok(())
            }
            Err(error) => {
                let refused = error.kind() == ErrorKind::AuthenticationFailed;
                cache.failed(refused.then(|| error.message()), now());
                Err(error)
            }
        }
    }
}

/// Waits until there is a token, or none is needed. Starts the login if there is none.
async fn wait(scope: &Scope) -> Result<Option<Arc<TokenHeader>>, Error> {
    let Some(authentication) = scope.authentication() else {
        return Ok(None);
    };
    let mut lost = 0;
    loop {
        match authentication.credential(&scope.core)? {
            CallCredential::Token(token) => return Ok(Some(token)),
            CallCredential::Anonymous => return Ok(None),
            CallCredential::Fetch => {}
        }
        let mut login = authentication.login(&scope.core)?;
        let failed = match login.wait_for(|login| login.is_over).await {
            // The login used credentials that were replaced: the caller waits for the next one.
            Ok(login) if login.version != authentication.lock().version => None,
            Ok(login) => login.trouble.clone(),
            Err(_) => {
                // The runtime of the login has ended, or a provider has panicked: start another
                // login here.
                lost += 1;
                (lost == LOST_LOGINS).then(|| {
                    let message = "the task of the login has ended without a result; the provider may have panicked";
                    Arc::new(Error::new(ErrorKind::AuthenticationFailed, message))
                })
            }
        };
        if let Some(error) = failed {
            let copy = error.again();
            return Err(copy.with_source(error));
        }
    }
}

/// Logs in, repeatedly while calls wait and the cause may be temporary.
async fn run(core: Weak<Core>, login: watch::Sender<Login>) {
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
            outcome = authentication.attempt(&present, credentials) => outcome,
        };
        // One receiver is that of `Authentication::login`; any other one is a waiting caller.
        let waited_for = login.receiver_count() > 1;
        let again = waited_for && outcome.as_ref().is_err_and(may_pass);
        let trouble = match outcome {
            Err(error) if again => Some(error),
            // ORDER: the result is recorded before waiting callers are woken and look for it.
            outcome => match authentication.settle(version, outcome) {
                Some(settled) => settled.err(),
                None => continue,
            },
        };
        if let Some(error) = &trouble {
            tracing::debug!(target: "etcdex", %error, again, "a login has failed");
        }
        login.send_replace(Login {
            version,
            trouble: trouble.map(Arc::new),
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

/// Returns the error of a caller that has waited for a token for too long.
pub(crate) fn late(limit: Duration, trouble: Option<Arc<Error>>) -> Error {
    match trouble {
        Some(trouble) => {
            let message = format!("no token within {limit:?}: {trouble}");
            Error::new(trouble.kind(), message).with_source(trouble)
        }
        None => Error::new(ErrorKind::Timeout, format!("no token within {limit:?}")),
    }
}

/// Returns whether an error says that the call's token is missing or no longer valid.
pub(crate) fn is_about_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken | ErrorKind::StaleToken | ErrorKind::TokenMissing
    )
}

fn refused(why: String) -> Error {
    Error::new(
        ErrorKind::AuthenticationFailed,
        format!("{why} (the client pauses before it logs in again)"),
    )
}

/// The request for a token.
#[derive(Debug)]
struct Authenticate {
    user: Arc<str>,
    password: crate::credentials::Secret,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_with_replaced_credentials_leaves_no_trace() {
        let password = |text: &str| Credentials::Password {
            user: "root".into(),
            password: crate::credentials::Secret::new(text),
        };
        let authentication = Authentication::new(password("old"));
        let (version, _) = authentication.credentials();
        authentication.replace(password("new"));
        let refused = Error::new(ErrorKind::AuthenticationFailed, "no");
        for outcome in [Ok(Token::new("old")), Err(refused)] {
            assert!(authentication.settle(version, outcome).is_none());
            assert_eq!(authentication.state(), TokenState::Missing);
        }
        let (version, _) = authentication.credentials();
        let settled = authentication.settle(version, Ok(Token::new("new")));
        assert!(matches!(settled, Some(Ok(()))));
        assert_eq!(authentication.state(), TokenState::Held);
    }
}
