//! The tokens of users who have logged in.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Number of letters of a token, as in etcd.
///
/// Source: etcd, `server/auth/simple_token.go` (`defaultSimpleTokenLength`).
const LENGTH: usize = 16;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The tokens that are valid. `Debug` does not show them.
pub(crate) struct Tokens {
    /// How long a token is valid after its last use.
    ttl: Duration,
    tokens: Mutex<All>,
}

#[derive(Default)]
struct All {
    by_text: HashMap<String, Token>,
    /// The number of the last token. It makes each token another one.
    last: u64,
}

struct Token {
    user: String,
    expiry: Duration,
}

impl Tokens {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            tokens: Mutex::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // No operation leaves the map half changed.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a token for a user.
    ///
    /// # Errors
    /// That of the system, if it gives no random bytes.
    pub(crate) fn assign(&self, user: String, now: Duration) -> Result<String, getrandom::Error> {
        let mut random = [0; LENGTH];
        getrandom::fill(&mut random)?;
        let letters = random.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        let mut all = self.all();
        all.by_text.retain(|_, token| token.expiry > now);
        all.last += 1;
        let text = format!("{}.{}", String::from_iter(letters), all.last);
        let expiry = now + self.ttl;
        all.by_text.insert(text.clone(), Token { user, expiry });
        Ok(text)
    }

    /// Returns the user of a token, which is valid for longer by this.
    pub(crate) fn user(&self, text: &str, now: Duration) -> Option<String> {
        let mut all = self.all();
        let token = all.by_text.get_mut(text)?;
        if token.expiry <= now {
            return None;
        }
        token.expiry = now + self.ttl;
        Some(token.user.clone())
    }

    /// Ends the tokens of a user.
    pub(crate) fn remove_user(&self, user: &str) {
        self.all().by_text.retain(|_, token| token.user != user);
    }

    /// Ends all tokens.
    pub(crate) fn clear(&self) {
        self.all().by_text.clear();
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}
