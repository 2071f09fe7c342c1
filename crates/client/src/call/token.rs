//! PURE: the lifetime of the client's token.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// The first and the last pause after failed logins.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The token of a client, from the first login on.
///
/// ```text
///                 a login succeeds                a server refuses the token
///  Missing ───────────────────────────► Held ───────────────────────────────► Missing
///            the credentials are refused          a login after the pause
///  Missing ───────────────────────────► Refused ────────────────────────────► its result
///            authentication is disabled           a server refuses a call without a token
///  Missing ───────────────────────────► NotNeeded ──────────────────────────► Missing
///
///  Held stays Held when a renewal succeeds or fails, and becomes NotNeeded when the renewal finds
///  authentication disabled. Replaced credentials lead from every state to Missing.
/// ```
///
/// `T` is the type that calls send; this file does not look into it.
#[derive(Debug)]
pub(crate) struct TokenCache<T> {
    state: CachedToken<T>,
    /// Number of tokens so far, so that a late refusal of an old token does not drop its successor.
    generation: u64,
    /// Pauses after failed logins in a row. There is one login at a time, so they need no jitter.
    backoff: Backoff,
}

#[derive(Debug)]
enum CachedToken<T> {
    Missing,
    Held {
        token: T,
        renew: Option<Instant>,
    },
    /// The server has authentication disabled.
    NotNeeded,
    /// The credentials were refused: the client must not repeat them before `until`.
    Refused {
        until: Instant,
        why: String,
    },
}

/// The state of a client's token. It contains neither the token nor a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenState {
    /// The client has no credentials.
    NoCredentials,
    /// There is no token yet, or the last one was refused: the next call fetches one.
    Missing,
    /// There is a token.
    Held,
    /// The server has authentication disabled.
    NotNeeded,
    /// The server refused the credentials. Calls fail for up to 30 seconds; then the client logs in
    /// again.
    #[non_exhaustive]
    Refused {
        /// Text of the server.
        reason: String,
    },
}

/// The action of a call for its token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenAction<T> {
    /// Send this token.
    Send { token: T, generation: u64 },
    /// Send this token, and fetch the next one in the background.
    Renew { token: T, generation: u64 },
    /// Send no token.
    SendNone,
    /// Fetch a token first.
    Fetch,
    /// Fail: the credentials were refused recently.
    Refused(String),
}

impl<T: Clone> TokenCache<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: CachedToken::Missing,
            generation: 0,
            backoff: Backoff::new(FIRST_PAUSE, LAST_PAUSE),
        }
    }

    pub(crate) fn action(&self, now: Instant) -> TokenAction<T> {
        let generation = self.generation;
        match &self.state {
            CachedToken::Missing => TokenAction::Fetch,
            CachedToken::NotNeeded => TokenAction::SendNone,
            CachedToken::Refused { until, why } if *until > now => {
                TokenAction::Refused(why.clone())
            }
            CachedToken::Refused { .. } => TokenAction::Fetch,
            CachedToken::Held { token, renew } => {
                let token = token.clone();
                match renew {
                    Some(renew) if *renew <= now => TokenAction::Renew { token, generation },
                    _ => TokenAction::Send { token, generation },
                }
            }
        }
    }

    /// Returns the state, without the token.
    pub(crate) fn state(&self) -> TokenState {
        match &self.state {
            CachedToken::Missing => TokenState::Missing,
            CachedToken::Held { .. } => TokenState::Held,
            CachedToken::NotNeeded => TokenState::NotNeeded,
            CachedToken::Refused { why, .. } => TokenState::Refused {
                reason: why.clone(),
            },
        }
    }

    /// Returns the number of the next token.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generation + 1
    }

    /// Records a new token; `life` is its lifetime, if known.
    pub(crate) fn fetched(&mut self, token: T, life: Option<Duration>, now: Instant) {
        self.generation += 1;
        self.backoff.reset();
        self.state = CachedToken::Held {
            token,
            // The minimum keeps a very short lifetime from making every call renew the token.
            renew: life.and_then(|life| now.checked_add(life.mul_f64(0.9).max(FIRST_PAUSE))),
        };
    }

    /// Drops the token, as the credentials were replaced.
    ///
    /// INVARIANT: the number of tokens is kept, so that a late refusal of the old token does not
    /// drop its successor.
    pub(crate) fn replaced(&mut self) {
        self.backoff.reset();
        self.state = CachedToken::Missing;
    }

    /// Records that the server has authentication disabled.
    pub(crate) fn not_needed(&mut self) {
        self.backoff.reset();
        self.state = CachedToken::NotNeeded;
    }

    /// Records a failed login; `refused` is the reason, if the credentials were refused.
    ///
    /// INVARIANT: a token stays in use until a server refuses it. After a failed renewal, the next
    /// one follows after a pause that grows.
    pub(crate) fn failed(&mut self, refused: Option<&str>, now: Instant) {
        match (&mut self.state, refused) {
            (CachedToken::Held { renew, .. }, _) => {
                *renew = now.checked_add(self.backoff.next(1.0));
            }
            (_, Some(why)) => {
                self.state = CachedToken::Refused {
                    until: now + self.backoff.next(1.0),
                    why: why.to_owned(),
                };
            }
            // The next call that needs a token starts another login.
            (_, None) => {}
        }
    }

    /// Records that a server has refused this token, or a call without one (`None`).
    pub(crate) fn invalid(&mut self, generation: Option<u64>) {
        let stale = match (&self.state, generation) {
            (CachedToken::Held { .. }, Some(refused)) => refused == self.generation,
            (CachedToken::NotNeeded, None) => true,
            _ => false,
        };
        if stale {
            self.state = CachedToken::Missing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn held(life: Option<Duration>) -> (TokenCache<&'static str>, Instant) {
        let now = Instant::now();
        let mut token = TokenCache::new();
        assert_eq!(token.action(now), TokenAction::Fetch);
        token.fetched("one", life, now);
        (token, now)
    }

    #[test]
    fn a_token_is_kept_until_it_is_refused() {
        let (mut cache, now) = held(None);
        let one = TokenAction::Send {
            token: "one",
            generation: 1,
        };
        assert_eq!(cache.action(now + seconds(9999)), one);
        cache.invalid(Some(1));
        assert_eq!(cache.action(now), TokenAction::Fetch);
    }

    #[test]
    fn a_late_refusal_does_not_drop_the_successor() {
        let (mut cache, now) = held(None);
        cache.invalid(Some(1));
        cache.fetched("two", None, now);
        cache.invalid(Some(1));
        cache.invalid(None);
        assert_eq!(
            cache.action(now),
            TokenAction::Send {
                token: "two",
                generation: 2
            }
        );
    }

    #[test]
    fn a_token_of_known_life_is_renewed_before_its_end() {
        let (cache, now) = held(Some(seconds(100)));
        assert!(matches!(
            cache.action(now + seconds(89)),
            TokenAction::Send { .. }
        ));
        assert!(matches!(
            cache.action(now + seconds(90)),
            TokenAction::Renew { token: "one", .. }
        ));
    }

    /// The seconds until the next renewal, after each of the failures.
    fn renewals(cache: &mut TokenCache<&str>, now: &mut Instant, failures: usize) -> Vec<u64> {
        let mut pauses = Vec::new();
        for number in 0..failures {
            cache.failed((number % 2 == 0).then_some("the issuer is away"), *now);
            let start = *now;
            while !matches!(cache.action(*now), TokenAction::Renew { token: "one", .. }) {
                assert!(matches!(
                    cache.action(*now),
                    TokenAction::Send { token: "one", .. }
                ));
                *now += seconds(1);
            }
            pauses.push((*now - start).as_secs());
        }
        pauses
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_token_in_use_and_is_tried_less_and_less() {
        let (mut cache, now) = held(Some(seconds(100)));
        let mut now = now + seconds(95);
        let pauses = renewals(&mut cache, &mut now, 7);
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(cache.state(), TokenState::Held);
        cache.fetched("one", Some(seconds(10)), now);
        assert_eq!(renewals(&mut cache, &mut now, 2), [1, 2]);
    }

    #[test]
    fn a_token_of_no_life_is_not_renewed_by_every_call() {
        let (cache, now) = held(Some(Duration::ZERO));
        assert!(matches!(cache.action(now), TokenAction::Send { .. }));
        assert!(matches!(
            cache.action(now + seconds(1)),
            TokenAction::Renew { .. }
        ));
        let (cache, now) = held(Some(Duration::MAX));
        assert!(matches!(
            cache.action(now + seconds(1 << 40)),
            TokenAction::Send { .. }
        ));
    }

    #[test]
    fn a_refused_password_is_not_tried_all_the_time() {
        let mut now = Instant::now();
        let mut cache = TokenCache::<&str>::new();
        cache.failed(None, now);
        assert_eq!(
            cache.action(now),
            TokenAction::Fetch,
            "the credentials were not refused"
        );
        let mut pauses = Vec::new();
        for _ in 0..7 {
            cache.failed(Some("wrong"), now);
            let start = now;
            while cache.action(now) != TokenAction::Fetch {
                assert_eq!(cache.action(now), TokenAction::Refused("wrong".into()));
                now += seconds(1);
            }
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        cache.not_needed();
        cache.failed(Some("wrong"), now);
        assert_eq!(cache.action(now + seconds(1)), TokenAction::Fetch);
    }

    #[test]
    fn authentication_may_be_switched_on_later() {
        let now = Instant::now();
        let mut cache = TokenCache::<&str>::new();
        cache.not_needed();
        assert_eq!(cache.action(now), TokenAction::SendNone);
        cache.invalid(None);
        assert_eq!(cache.action(now), TokenAction::Fetch);
    }
}
