//! Gets the client's token, once for all calls that want it at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use prost::Message;

use super::token::{Advice, TokenLife, TokenState};
use super::wire::Wire;
use super::{Call, Request, Scope};
use crate::credentials::{Credentials, Token};
use crate::error::{Error, ErrorKind};
use crate::key::Namespace;
use crate::method::Method;
use crate::transport::{Failure, Pass, frame, now};

/// The client's credentials and its token, kept across connections.
pub(crate) struct Authentication {
    credentials: Credentials,
    life: Mutex<TokenLife<Arc<Pass>>>,
    /// Held by whoever fetches a token; when that call is dropped, the next one takes over.
    turn: tokio::sync::Mutex<()>,
}

/// What a call sends of its own accord, or has to wait for.
pub(crate) enum Entry {
    With(Arc<Pass>),
    Without,
    Fetch,
}

impl Authentication {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            life: Mutex::new(TokenLife::new()),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    fn life(&self) -> MutexGuard<'_, TokenLife<Arc<Pass>>> {
        // Nothing panics while it is held.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known right now.
    pub(crate) fn entry(&self) -> Result<Entry, Error> {
        match self.life().advice(now()) {
            Advice::Send { token, .. } => Ok(Entry::With(token)),
            // One call renews it, the others go on with what they have.
            Advice::Renew { token, .. } => Ok(match self.turn.try_lock() {
                Ok(_) => Entry::Fetch,
                Err(_) => Entry::With(token),
            }),
            Advice::Without => Ok(Entry::Without),
            Advice::Fetch => Ok(Entry::Fetch),
            Advice::Refused(why) => Err(refused(why)),
        }
    }

    /// What is known of the token, without it.
    pub(crate) fn state(&self) -> TokenState {
        self.life().state()
    }

    /// A call was refused for the token that it had, or for having none.
    pub(crate) fn invalid(&self, pass: Option<&Pass>) {
        self.life().invalid(pass.map(|pass| pass.generation));
    }

    /// Gets a token unless another call has got one meanwhile.
    ///
    /// It runs in a task of its own: a call that nobody polls for a while must not keep the
    /// others from logging in. Dropping the future ends the task, and the next call takes over.
    pub(crate) async fn fetch(scope: Scope) -> Result<Option<Arc<Pass>>, Error> {
        let mut task = Task(tokio::spawn(async move {
            match scope.authentication() {
                Some(authentication) => authentication.take_turn(scope.clone()).await,
                None => Ok(None),
            }
        }));
        let ended = (&mut task.0).await;
        ended.unwrap_or_else(|cause| {
            let error = Error::new(ErrorKind::AuthenticationFailed, "the login was broken off");
            Err(error.with_source(cause))
        })
    }

    async fn take_turn(&self, scope: Scope) -> Result<Option<Arc<Pass>>, Error> {
        let _turn = self.turn.lock().await;
        let present = match self.life().advice(now()) {
            Advice::Send { token, .. } => return Ok(Some(token)),
            Advice::Without => return Ok(None),
            Advice::Refused(why) => return Err(refused(why)),
            Advice::Renew { token, .. } => Some(token),
            Advice::Fetch => None,
        };
        let outcome = match &self.credentials {
            Credentials::Password { user, password } => {
                let request = Authenticate {
                    user: Arc::clone(user),
                    password: password.clone(),
                };
                Call::new(&scope.anonymous(), request).await
            }
            Credentials::Provider(provider) => provider.token().await.map_err(|cause| {
                Error::new(ErrorKind::AuthenticationFailed, "no token could be made")
                    .with_source(cause)
            }),
        };
        match (outcome, present) {
            (Err(error), Some(present)) => {
                tracing::debug!(target: "etcdex", %error, "the token could not be renewed yet");
                self.life().put_off(now());
                Ok(Some(present))
            }
            (outcome, _) => self.settle(outcome),
        }
    }

    /// Notes what came of a fetch.
    fn settle(&self, outcome: Result<Token, Error>) -> Result<Option<Arc<Pass>>, Error> {
        let mut life = self.life();
        match outcome {
            Ok(token) => {
                let generation = life.next_generation();
                let Some(pass) = Pass::new(token.text(), generation) else {
                    let why = "the token has characters that no header can hold";
                    life.refused(why.to_owned(), now());
                    return Err(Error::new(ErrorKind::Config, why));
                };
                let pass = Arc::new(pass);
                life.fetched(Arc::clone(&pass), token.life(), now());
                Ok(Some(pass))
            }
            Err(error) => match error.kind() {
                ErrorKind::AuthenticationDisabled => {
                    life.needless();
                    Ok(None)
                }
                ErrorKind::AuthenticationFailed => {
                    life.refused(error.message().to_owned(), now());
                    Err(error)
                }
                _ => Err(error),
            },
        }
    }
}

/// A task that ends with whoever waits for it.
struct Task(tokio::task::JoinHandle<Result<Option<Arc<Pass>>, Error>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a failure says that the call's token is of no use any more.
pub(crate) fn is_about_token(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken | ErrorKind::StaleToken | ErrorKind::TokenMissing
    )
}

fn refused(why: String) -> Error {
    Error::new(
        ErrorKind::AuthenticationFailed,
        format!("{why} (asked a moment ago; it is tried again in a while)"),
    )
}

/// Asks the server for a token.
#[derive(Debug)]
struct Authenticate {
    user: Arc<str>,
    password: crate::credentials::Secret,
}

impl Request for Authenticate {
    type Reply = Token;
}

#[allow(private_interfaces)]
impl Wire for Authenticate {
    type Answer = Token;

    fn method(&self) -> Method {
        Method::Authenticate
    }

    fn is_repeatable(&self) -> bool {
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
        let reply = AuthenticateResponse::decode(reply)
            .map_err(|_| Error::new(ErrorKind::Protocol, "the reply to a login cannot be read"))?;
        Ok(Token::new(reply.token))
    }
}
