//! The identity of the client: a user with a password, or a token from elsewhere. Passwords and
//! tokens are never printed.
//!
//! A user and a password are options of the builder
//! ([`ClientBuilder::credentials`](crate::ClientBuilder::credentials)). A program that gets its
//! tokens elsewhere implements [`TokenProvider`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<str>);

impl Secret {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the text, to be sent to the server and for nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

// INVARIANT: passwords and tokens reach no log, error or `Debug`, not even their lengths.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A token that proves the identity of the caller to the server, such as a JWT.
///
/// `Debug` does not show it.
///
/// ```
/// use std::time::Duration;
/// use etcdex::credentials::Token;
///
/// let token = Token::new("eyJhbGciOi...").valid_for(Duration::from_secs(300));
/// # assert!(!format!("{token:?}").contains("eyJ"));
/// ```
#[derive(Clone, Debug)]
pub struct Token {
    text: Secret,
    life: Option<Duration>,
}

impl Token {
    /// Makes a token of unknown lifetime: the client renews it when the server refuses it.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: Secret::new(text),
            life: None,
        }
    }

    /// Sets how long the token is valid, from now on. When nine tenths of that have passed, the
    /// client fetches the next token in the background. It uses this token until the next one has
    /// arrived or a server refuses this one.
    #[must_use]
    pub fn valid_for(mut self, life: Duration) -> Self {
        self.life = Some(life);
        self
    }

    pub(crate) fn text(&self) -> &str {
        self.text.expose()
    }

    pub(crate) fn life(&self) -> Option<Duration> {
        self.life
    }
}

/// The future that [`TokenProvider::token`] returns.
pub type TokenFuture =
    Pin<Box<dyn Future<Output = Result<Token, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// Makes tokens for a client.
///
/// The client asks for one token at a time: at its start, before a token expires, and when the
/// server has refused one. The provider may take 60 s for a token. Calls that need the token wait
/// within their own time-outs; calls that have a token use that one. The client asks a provider
/// that fails again after 1 s, then after 2 s, and so on up to 30 s.
///
/// A [`Token`] is a provider that always returns itself, and so is a function that returns a
/// [`TokenFuture`]. Errors must not contain the token.
pub trait TokenProvider: Send + Sync + 'static {
    /// Starts to make a token.
    fn token(&self) -> TokenFuture;
}

impl TokenProvider for Token {
    fn token(&self) -> TokenFuture {
        let token = self.clone();
        Box::pin(async { Ok(token) })
    }
}

impl<F: Fn() -> TokenFuture + Send + Sync + 'static> TokenProvider for F {
    fn token(&self) -> TokenFuture {
        self()
    }
}

/// The source of tokens.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// The server makes tokens for a user and a password.
    Password { user: Arc<str>, password: Secret },
    /// The user's program makes tokens.
    Provider(Arc<dyn TokenProvider>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Provider(_) => f.write_str("Provider"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = Credentials::Password {
            user: "root".into(),
            password: Secret::new("hunter2"),
        };
        let token = Token::new("hunter2").valid_for(Duration::from_secs(1));
        let printed = format!("{credentials:?} {token:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("root"), "{printed}");
    }
}
