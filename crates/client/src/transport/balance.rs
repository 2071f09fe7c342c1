//! PURE: which endpoint calls go to.
//!
//! "Pick first" begins at a random endpoint, so that a fleet of clients spreads, and stays with that
//! endpoint for as long as the endpoint is connected and serves. Other endpoints are tried only while
//! it does not. In the other modes every endpoint is kept connected, and the choice here is only the
//! endpoint that is looked at first.

use crate::mode::Mode;

/// The state of the connection to an endpoint, as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Not tried, or idle.
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
    /// The endpoint is not one of the client's any more.
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
    /// False when a call or a probe has shown that the endpoint does not serve.
    serving: bool,
}

impl State {
    const NEW: Self = Self {
        health: Health::Idle,
        serving: true,
    };

    /// Returns the rank of the endpoint for a call; less is better.
    fn rank(self) -> u8 {
        match (self.health, self.serving) {
            (Health::Up, true) => 0,
            (Health::Up, false) => 1,
            (Health::Retired, _) => 3,
            _ => 2,
        }
    }

    /// Whether another endpoint should be connected to in its place.
    fn is_in_trouble(self) -> bool {
        !self.serving
            || matches!(
                self.health,
                Health::Slow | Health::Suspect | Health::Down | Health::Retired
            )
    }
}

impl Balance {
    /// `start` is any number; it selects the first endpoint.
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

    /// Returns the state of the connection to the endpoint.
    pub(crate) fn health(&self, endpoint: usize) -> Health {
        self.endpoints[endpoint].health
    }

    /// Whether the endpoint should have a connection, or try to get one.
    pub(crate) fn wants(&self, endpoint: usize) -> bool {
        match self.endpoints[endpoint].health {
            Health::Retired => false,
            _ if self.mode != Mode::PickFirst => true,
            // While the chosen endpoint is in trouble, every endpoint should be connected.
            _ => endpoint == self.chosen || self.endpoints[self.chosen].is_in_trouble(),
        }
    }

    /// Adds an endpoint, whose index is the number of endpoints before it.
    pub(crate) fn add(&mut self) {
        self.endpoints.push(State::NEW);
    }

    /// The endpoint is not to be used any more. Its index stays taken, so that the other endpoints
    /// keep theirs.
    pub(crate) fn retire(&mut self, endpoint: usize) {
        self.endpoints[endpoint].health = Health::Retired;
        self.choose();
    }

    /// A retired endpoint is used again.
    pub(crate) fn reinstate(&mut self, endpoint: usize) {
        if self.endpoints[endpoint].health == Health::Retired {
            self.endpoints[endpoint].health = Health::Idle;
            self.choose();
        }
    }

    /// Chooses another endpoint at random, so that connections that are replaced for their age spread
    /// again.
    pub(crate) fn move_on(&mut self, random: usize) {
        let others = self
            .order(None)
            .filter(|&one| !self.endpoints[one].is_in_trouble());
        let others: Vec<usize> = others.collect();
        if let Some(&next) = others.get(random % others.len().max(1)) {
            self.chosen = next;
        }
    }

    /// Returns the endpoints in the order in which they are to be tried, without `avoided`.
    pub(crate) fn order(&self, avoided: Option<usize>) -> impl Iterator<Item = usize> {
        let count = self.endpoints.len();
        let first = self.chosen;
        (0..count)
            .map(move |step| (first + step) % count)
            .filter(move |&endpoint| {
                Some(endpoint) != avoided && self.endpoints[endpoint].health != Health::Retired
            })
    }

    /// Notes the state of the connection to an endpoint, and chooses again.
    pub(crate) fn note(&mut self, endpoint: usize, health: Health) {
        // The driver of a removed endpoint may still run; its notes do not count.
        if self.endpoints[endpoint].health != Health::Retired {
            self.endpoints[endpoint].health = health;
        }
        self.choose();
    }

    /// Notes whether an endpoint serves, and chooses again.
    pub(crate) fn note_serving(&mut self, endpoint: usize, serving: bool) {
        self.endpoints[endpoint].serving = serving;
        self.choose();
    }

    /// Keeps the chosen endpoint unless another one is better.
    fn choose(&mut self) {
        let rank = |endpoint: usize| self.endpoints[endpoint].rank();
        // INVARIANT: the first endpoint of the smallest rank is taken, and the order begins with the
        // chosen one (unless that is retired, and any other is better).
        let best = self.order(None).min_by_key(|&endpoint| rank(endpoint));
        self.chosen = best.unwrap_or(self.chosen);
    }

    /// Whether any endpoint that is not `avoided` serves, or may soon serve.
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

    /// Returns the endpoint that should start to connect now, if any: the first idle one in the order
    /// that is not `avoided`. In "pick first" there is none while an endpoint before it is connected
    /// and serves, or its attempt is not slow yet.
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
