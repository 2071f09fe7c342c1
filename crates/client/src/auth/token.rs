//! Logging in: a name and a password become a token.
#![cfg_attr(not(test), expect(dead_code, reason = "logging in comes on top of it"))]

use std::fmt;

use etcdex_proto::etcdserverpb as pb;

use super::check_user;
use crate::kv::plain_request;
use crate::transport::Failure;

/// What a logged-in user sends along with each call. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// Logs in. `Debug` does not show the password.
///
/// Doing it twice makes a second token, which expires by itself.
#[derive(Clone, Debug)]
pub(crate) struct Authenticate {
    wire: pb::AuthenticateRequest,
}

impl Authenticate {
    pub(crate) fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            wire: pb::AuthenticateRequest {
                name: name.into(),
                password: password.into(),
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_user(&self.wire.name)
    }
}

plain_request! {
    Authenticate: Authenticate, repeatable: true, check: Self::check,
    |answer: pb::AuthenticateResponse| -> Token { Token(answer.token) }
}
