//! PURE: the lifetime of the client's token.

use std::time::{Duration, Instant};

/// The first pause after a failed login; the pause doubles up to the last one.
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
pub(crate) struct TokenLife<T> {
    state: State<T>,
    /// Number of tokens so far, so that a late refusal of an old token does not drop its successor.
    generation: u64,
    /// Number of failed logins in a row.
    failures: u32,
}

#[derive(Debug)]
enum State<T> {
    Missing,
    Held {
        token: T,
        renew: Option<Instant>,
    },
    /// The server has authentication disabled.
    Needless,
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
pub(crate) enum Advice<T> {
    /// Send this token.
    Send { token: T, generation: u64 },
    /// Send this token, and fetch the next one in the background.
    Renew { token: T, generation: u64 },
    /// Send no token.
    Without,
    /// Fetch a token first.
    Fetch,
    /// Fail: the credentials were refused recently.
    Refused(String),
}

impl<T: Clone> TokenLife<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Missing,
            generation: 0,
            failures: 0,
        }
    }

    pub(crate) fn advice(&self, now: Instant) -> Advice<T> {
        let generation = self.generation;
        match &self.state {
            State::Missing => Advice::Fetch,
            State::Needless => Advice::Without,
            State::Refused { until, why } if *until > now => Advice::Refused(why.clone()),
            State::Refused { .. } => Advice::Fetch,
            State::Held { token, renew } => {
                let token = token.clone();
                match renew {
                    Some(renew) if *renew <= now => Advice::Renew { token, generation },
                    _ => Advice::Send { token, generation },
                }
            }
        }
    }

    /// Returns the state, without the token.
    pub(crate) fn state(&self) -> TokenState {
        match &self.state {
            State::Missing => TokenState::Missing,
            State::Held { .. } => TokenState::Held,
            State::Needless => TokenState::NotNeeded,
            State::Refused { why, .. } => TokenState::Refused {
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
        self.failures = 0;
        self.state = State::Held {
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
        self.failures = 0;
        self.state = State::Missing;
    }

    /// Records that the server has authentication disabled.
    pub(crate) fn needless(&mut self) {
        self.failures = 0;
        self.state = State::Needless;
    }

    /// Records a failed login; `refused` is the reason, if the credentials were refused.
    ///
    /// INVARIANT: a token stays in use until a server refuses it. After a failed renewal, the next
    /// one follows after a pause that grows.
    pub(crate) fn failed(&mut self, refused: Option<&str>, now: Instant) {
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.failures.min(10))
            .min(LAST_PAUSE);
        match (&mut self.state, refused) {
            (State::Held { renew, .. }, _) => *renew = now.checked_add(pause),
            (_, Some(why)) => {
                self.state = State::Refused {
                    until: now + pause,
                    why: why.to_owned(),
                };
            }
            // The next call that needs a token starts another login.
            (_, None) => return,
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Records that a server has refused this token, or a call without one (`None`).
    pub(crate) fn invalid(&mut self, generation: Option<u64>) {
        let stale = match (&self.state, generation) {
            (State::Held { .. }, Some(refused)) => refused == self.generation,
            (State::Needless, None) => true,
            _ => false,
        };
        if stale {
            self.state = State::Missing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn held(life: Option<Duration>) -> (TokenLife<&'static str>, Instant) {
        let now = Instant::now();
        let mut token = TokenLife::new();
        assert_eq!(token.advice(now), Advice::Fetch);
        token.fetched("one", life, now);
        (token, now)
    }

    #[test]
    fn a_token_is_kept_until_it_is_refused() {
        let (mut life, now) = held(None);
        let one = Advice::Send {
            token: "one",
            generation: 1,
        };
        assert_eq!(life.advice(now + seconds(9999)), one);
        life.invalid(Some(1));
        assert_eq!(life.advice(now), Advice::Fetch);
    }

    #[test]
    fn a_late_refusal_does_not_drop_the_successor() {
        let (mut life, now) = held(None);
        life.invalid(Some(1));
        life.fetched("two", None, now);
        life.invalid(Some(1));
        life.invalid(None);
        assert_eq!(
            life.advice(now),
            Advice::Send {
                token: "two",
                generation: 2
            }
        );
    }

    #[test]
    fn a_token_of_known_life_is_renewed_before_its_end() {
        let (life, now) = held(Some(seconds(100)));
        assert!(matches!(
            life.advice(now + seconds(89)),
            Advice::Send { .. }
        ));
        assert!(matches!(
            life.advice(now + seconds(90)),
            Advice::Renew { token: "one", .. }
        ));
    }

    /// The seconds until the next renewal, after each of the failures.
    fn renewals(life: &mut TokenLife<&str>, now: &mut Instant, failures: usize) -> Vec<u64> {
        let mut pauses = Vec::new();
        for number in 0..failures {
            life.failed((number % 2 == 0).then_some("the issuer is away"), *now);
            let start = *now;
            while !matches!(life.advice(*now), Advice::Renew { token: "one", .. }) {
                assert!(matches!(
                    life.advice(*now),
                    Advice::Send { token: "one", .. }
                ));
                *now += seconds(1);
            }
            pauses.push((*now - start).as_secs());
        }
        pauses
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_token_in_use_and_is_tried_less_and_less() {
        let (mut life, now) = held(Some(seconds(100)));
        let mut now = now + seconds(95);
        let pauses = renewals(&mut life, &mut now, 7);
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(life.state(), TokenState::Held);
        life.fetched("one", Some(seconds(10)), now);
        assert_eq!(renewals(&mut life, &mut now, 2), [1, 2]);
    }

    #[test]
    fn a_token_of_no_life_is_not_renewed_by_every_call() {
        let (life, now) = held(Some(Duration::ZERO));
        assert!(matches!(life.advice(now), Advice::Send { .. }));
        assert!(matches!(
            life.advice(now + seconds(1)),
            Advice::Renew { .. }
        ));
        let (life, now) = held(Some(Duration::MAX));
        assert!(matches!(
            life.advice(now + seconds(1 << 40)),
            Advice::Send { .. }
        ));
    }

    #[test]
    fn a_refused_password_is_not_tried_all_the_time() {
        let mut now = Instant::now();
        let mut life = TokenLife::<&str>::new();
        life.failed(None, now);
        assert_eq!(life.advice(now), Advice::Fetch, "nobody has refused it");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            life.failed(Some("wrong"), now);
            let start = now;
            while life.advice(now) != Advice::Fetch {
                assert_eq!(life.advice(now), Advice::Refused("wrong".into()));
                now += seconds(1);
            }
            pauses.push((now - start).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        life.needless();
        life.failed(Some("wrong"), now);
        assert_eq!(life.advice(now + seconds(1)), Advice::Fetch);
    }

    #[test]
    fn authentication_may_be_switched_on_later() {
        let now = Instant::now();
        let mut life = TokenLife::<&str>::new();
        life.needless();
        assert_eq!(life.advice(now), Advice::Without);
        life.invalid(None);
        assert_eq!(life.advice(now), Advice::Fetch);
    }
}
