//! The client's credentials and its token, and the wait of calls for a token.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::login::{self, Login};
use super::scope::{Core, Scope};
use super::shutdown::ShutdownStage;
use super::token::{TokenAction, TokenCache, TokenState};
use crate::adaptive_timeout::AdaptiveTimeout;
use crate::credentials::{Credentials, Token};
use crate::error::{Error, ErrorKind};
use crate::mutex::Mutex;
use crate::runtime;
use crate::transport::{TokenHeader, closed, now};

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
    /// The time that servers take for a login.
    pub(super) answer_timeout: Mutex<AdaptiveTimeout>,
}

struct AuthenticationState {
    credentials: Credentials,
    /// Number of times that the credentials were replaced.
    version: u64,
    /// The token that was fetched with these credentials.
    cache: TokenCache<Arc<TokenHeader>>,
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

    pub(super) fn credentials(&self) -> (u64, Credentials) {
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
    pub(crate) fn last_error(&self) -> Option<Arc<Error>> {
        let login = self.login.lock();
        login.as_ref()?.borrow().last_error.clone()
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
        runtime.spawn(login::run(Arc::downgrade(core), sender));
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
        let last = if scope.during_shutdown {
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
                let last_error = core.authentication.get().and_then(Self::last_error);
                Err(login::late(limit, last_error))
            }
        }
    }

    /// Records the result of a login with credentials of this version. Returns `None` and records
    /// nothing if the credentials were replaced meanwhile.
    pub(super) fn settle(
        &self,
        version: u64,
        outcome: Result<Token, Error>,
    ) -> Option<Result<(), Error>> {
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
            Ok(login) => login.last_error.clone(),
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
