//! PURE: which endpoint calls go to.
//!
//! "Pick first": a random start, so that a fleet spreads, then the same endpoint for as long
//! as it is connected and serves. Others are tried only while it does not. In the other modes every
//! endpoint is kept connected, and the choice here is only where to look first.

use crate::mode::Mode;

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not tried, or at rest.
    Idle,
    /// The first attempt is under way.
    Trying,
    /// The attempt takes longer than a good one would.
    Slow,
    /// Connected.
    Up,
    /// Connected, but a ping stays unanswered.
    Suspect,
    /// The last attempt failed, or the connection broke.
    Down,
    /// It is none of the client's endpoints any more.
    Retired,
}

/// The other endpoints of a client, as seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherEndpoints {
    /// There are none: whether this one serves makes no difference.
    None,
    /// None of them is known to serve.
    NotServing,
    Serving,
}

/// The choice among the endpoints.
#[derive(Debug)]
pub(crate) struct Balance {
    mode: Mode,
    endpoints: Vec<State>,
    chosen: usize,
}

#[derive(Clone, Copy, Debug)]
struct State {
    health: Health,
    /// False when calls or probes have found out that it does not serve.
    serving: bool,
}

impl State {
    const NEW: Self = Self {
        health: Health::Idle,
        serving: true,
    };

    /// How good it is for a call; less is better.
    fn rank(self) -> u8 {
        match (self.health, self.serving) {
            (Health::Up, true) => 0,
            (Health::Up, false) => 1,
            (Health::Retired, _) => 3,
            _ => 2,
        }
    }

    /// Whether another endpoint should be got ready in its place.
    fn is_in_trouble(self) -> bool {
        !self.serving
            || matches!(
                self.health,
                Health::Slow | Health::Suspect | Health::Down | Health::Retired
            )
    }
}

impl Balance {
    /// `start` is any number; it chooses where to begin.
    pub(crate) fn new(mode: Mode, endpoints: usize, start: usize) -> Self {
        Self {
            mode,
            endpoints: vec![State::NEW; endpoints],
            chosen: start % endpoints.max(1),
        }
    }

    /// The endpoint that calls go to.
    pub(crate) fn chosen(&self) -> usize {
        self.chosen
    }

    /// What is known of the endpoint.
    pub(crate) fn health(&self, endpoint: usize) -> Health {
        self.endpoints[endpoint].health
    }

    /// Whether the endpoint should have a connection, or try to get one.
    pub(crate) fn wants(&self, endpoint: usize) -> bool {
        match self.endpoints[endpoint].health {
            Health::Retired => false,
            _ if self.mode != Mode::PickFirst => true,
            // While the chosen one is in trouble, everybody is.
            _ => endpoint == self.chosen || self.endpoints[self.chosen].is_in_trouble(),
        }
    }

    /// One more endpoint; its place is the number of those before it.
    pub(crate) fn add(&mut self) {
        self.endpoints.push(State::NEW);
    }

    /// The endpoint is not to be used any more. Its place stays taken, so that the others keep
    /// theirs.
    pub(crate) fn retire(&mut self, endpoint: usize) {
        self.endpoints[endpoint].health = Health::Retired;
        self.choose();
    }

    /// A retired endpoint is back.
    pub(crate) fn reinstate(&mut self, endpoint: usize) {
        if self.endpoints[endpoint].health == Health::Retired {
            self.endpoints[endpoint].health = Health::Idle;
            self.choose();
        }
    }

    /// Looks for a home elsewhere, so that connections that grow old spread again.
    pub(crate) fn move_on(&mut self, random: usize) {
        let others = self
            .order(None)
            .filter(|&one| !self.endpoints[one].is_in_trouble());
        let others: Vec<usize> = others.collect();
        if let Some(&next) = others.get(random % others.len().max(1)) {
            self.chosen = next;
        }
    }

    /// The endpoints in the order in which they are to be tried, without `avoided`.
    pub(crate) fn order(&self, avoided: Option<usize>) -> impl Iterator<Item = usize> {
        let count = self.endpoints.len();
        let first = self.chosen;
        (0..count)
            .map(move |step| (first + step) % count)
            .filter(move |&endpoint| {
                Some(endpoint) != avoided && self.endpoints[endpoint].health != Health::Retired
            })
    }

    /// Notes what happened to an endpoint, and chooses anew if that is called for.
    pub(crate) fn note(&mut self, endpoint: usize, health: Health) {
        // What a driver says of an endpoint that was given up has no weight any more.
        if self.endpoints[endpoint].health != Health::Retired {
            self.endpoints[endpoint].health = health;
        }
        self.choose();
    }

    /// Notes whether an endpoint serves, and chooses anew if that is called for.
    pub(crate) fn note_serving(&mut self, endpoint: usize, serving: bool) {
        self.endpoints[endpoint].serving = serving;
        self.choose();
    }

    /// The chosen one stays unless another is better.
    fn choose(&mut self) {
        let rank = |endpoint: usize| self.endpoints[endpoint].rank();
        // INVARIANT: the first of the smallest rank is taken, and the order begins with the
        // chosen one (unless that is retired, and anything is better).
        let best = self.order(None).min_by_key(|&endpoint| rank(endpoint));
        self.chosen = best.unwrap_or(self.chosen);
    }

    /// Whether any endpoint but those that are `avoided` serves, or may soon do.
    pub(crate) fn is_hopeful(&self, avoided: impl Fn(usize) -> bool) -> bool {
        self.order(None).any(|endpoint| {
            let State { health, serving } = self.endpoints[endpoint];
            let hopeful = matches!(health, Health::Idle | Health::Trying | Health::Up);
            serving && hopeful && !avoided(endpoint)
        })
    }

    /// Whether any endpoint but `avoided` is connected and not known not to serve.
    pub(crate) fn is_served(&self, avoided: Option<usize>) -> bool {
        self.order(avoided)
            .any(|endpoint| self.endpoints[endpoint].rank() == 0)
    }

    /// Returns whether there are endpoints besides this one, and whether one of them serves.
    pub(crate) fn others(&self, endpoint: usize) -> OtherEndpoints {
        match self.order(Some(endpoint)).next() {
            None => OtherEndpoints::None,
            Some(_) if self.is_served(Some(endpoint)) => OtherEndpoints::Serving,
            Some(_) => OtherEndpoints::NotServing,
        }
    }

    /// Whether the endpoint is not known not to serve.
    pub(crate) fn is_serving(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].serving
    }

    /// The endpoint that should start to connect now, if any: the first at rest behind those
    /// that are known to be in trouble, or are `avoided`. One that is still within its time is
    /// waited for.
    pub(crate) fn to_wake(&self, avoided: impl Fn(usize) -> bool) -> Option<usize> {
        for endpoint in self.order(None).filter(|&endpoint| !avoided(endpoint)) {
            let State { health, serving } = self.endpoints[endpoint];
            match health {
                Health::Idle => return Some(endpoint),
                Health::Up | Health::Trying if serving && self.mode == Mode::PickFirst => {
                    return None;
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: fn(usize) -> bool = |_| false;

    #[test]
    fn it_stays_with_an_endpoint_that_is_well() {
        let mut balance = Balance::new(Mode::PickFirst, 3, 1);
        assert_eq!(balance.to_wake(NONE), Some(1));
        balance.note(1, Health::Up);
        balance.note(0, Health::Up);
        assert_eq!(balance.chosen(), 1);
        assert_eq!(balance.to_wake(NONE), None);
        assert!(balance.wants(1) && !balance.wants(0));
    }

    #[test]
    fn trouble_wakes_the_next_one_and_the_first_that_is_up_is_taken() {
        let mut balance = Balance::new(Mode::PickFirst, 3, 0);
        balance.note(0, Health::Trying);
        assert_eq!(balance.to_wake(NONE), None);
        balance.note(0, Health::Slow);
        assert_eq!(balance.to_wake(NONE), Some(1));
        balance.note(1, Health::Trying);
        balance.note(1, Health::Down);
        assert_eq!(balance.to_wake(NONE), Some(2));
        balance.note(2, Health::Up);
        assert_eq!(balance.chosen(), 2);
    }

    #[test]
    fn a_suspect_is_left_only_for_one_that_is_well() {
        let mut balance = Balance::new(Mode::PickFirst, 2, 0);
        balance.note(0, Health::Up);
        balance.note(0, Health::Suspect);
        assert_eq!((balance.chosen(), balance.to_wake(NONE)), (0, Some(1)));
        balance.note(1, Health::Up);
        balance.note(0, Health::Up);
        assert_eq!(balance.chosen(), 1);
    }

    #[test]
    fn elsewhere_is_not_where_it_failed() {
        let mut balance = Balance::new(Mode::PickFirst, 2, 0);
        balance.note(0, Health::Up);
        assert_eq!(balance.to_wake(|one| one == 0), Some(1));
        assert_eq!(
            Balance::new(Mode::PickFirst, 1, 7).to_wake(|one| one == 0),
            None
        );
    }

    #[test]
    fn other_modes_connect_to_every_endpoint() {
        for mode in [Mode::Random, Mode::ConnectAll] {
            let mut balance = Balance::new(mode, 3, 0);
            for endpoint in 0..3 {
                assert_eq!(balance.to_wake(NONE), Some(endpoint));
                balance.note(endpoint, Health::Up);
                assert!(balance.wants(endpoint));
            }
            assert_eq!(balance.to_wake(NONE), None);
        }
    }

    #[test]
    fn an_endpoint_that_is_gone_is_neither_chosen_nor_wanted() {
        let mut balance = Balance::new(Mode::PickFirst, 2, 0);
        balance.note(0, Health::Up);
        balance.retire(0);
        assert_eq!((balance.chosen(), balance.to_wake(NONE)), (1, Some(1)));
        balance.note(0, Health::Up);
        assert!(!balance.wants(0));
        assert_eq!(balance.order(None).collect::<Vec<_>>(), [1]);
        balance.add();
        balance.note(2, Health::Up);
        assert_eq!(balance.chosen(), 2);
        balance.reinstate(0);
        assert_eq!(balance.order(None).collect::<Vec<_>>(), [2, 0, 1]);
    }

    proptest! {
        /// As long as any endpoint is up, the chosen one is; and none is given up while it is.
        #[test]
        fn an_endpoint_that_is_up_is_chosen(count in 1..5usize, start: usize, notes in prop::collection::vec((0..5usize, 0..6u8), 0..60)) {
            let mut balance = Balance::new(Mode::PickFirst, count, start);
            for (endpoint, health) in notes {
                let health = [Health::Idle, Health::Trying, Health::Slow, Health::Up, Health::Suspect, Health::Down][health as usize];
                let before = balance.chosen();
                balance.note(endpoint % count, health);
                let up = |endpoint: usize| balance.endpoints[endpoint].health == Health::Up;
                if up(before) { prop_assert_eq!(balance.chosen(), before); }
                if (0..count).any(up) { prop_assert!(up(balance.chosen())); }
            }
        }
    }
}
