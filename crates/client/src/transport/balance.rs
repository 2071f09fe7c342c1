//! PURE: how good each endpoint is, and which one the mode "pick first" has chosen.
//!
//! "Pick first" begins at a random endpoint, so that a fleet of clients spreads, and stays with that
//! endpoint for as long as the endpoint is connected and serves. Other endpoints are tried only while
//! it does not. In the other modes every endpoint is kept connected, and the choice here is only where
//! the order of retries begins, and the fallback when no endpoint is fit.

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

/// The number of an endpoint in the order in which the endpoints of a client were added. An endpoint
/// keeps its index for the life of the client, also when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointIndex(usize);

impl EndpointIndex {
    pub(super) fn new(index: usize) -> Self {
        Self(index)
    }

    pub(super) fn get(self) -> usize {
        self.0
    }
}

/// The choice among the endpoints.
#[derive(Debug)]
pub(crate) struct Balance {
    mode: Mode,
    endpoints: Vec<State>,
    chosen: EndpointIndex,
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
            chosen: EndpointIndex(start % endpoints.max(1)),
        }
    }

    /// The endpoint that calls go to.
    pub(crate) fn chosen(&self) -> EndpointIndex {
        self.chosen
    }

    /// Returns the state of the connection to the endpoint.
    pub(crate) fn health(&self, endpoint: EndpointIndex) -> Health {
        self.endpoints[endpoint.0].health
    }

    /// Whether the endpoint should have a connection, or try to get one.
    pub(crate) fn wants(&self, endpoint: EndpointIndex) -> bool {
        match self.endpoints[endpoint.0].health {
            Health::Retired => false,
            _ if self.mode != Mode::PickFirst => true,
            // While the chosen endpoint is in trouble, every endpoint should be connected.
            _ => endpoint == self.chosen || self.endpoints[self.chosen.0].is_in_trouble(),
        }
    }

    /// Adds an endpoint, whose index is the number of endpoints before it.
    pub(crate) fn add(&mut self) {
        self.endpoints.push(State::NEW);
    }

    /// The endpoint is not to be used any more. Its index stays taken, so that the other endpoints
    /// keep theirs.
    pub(crate) fn retire(&mut self, endpoint: EndpointIndex) {
        self.endpoints[endpoint.0].health = Health::Retired;
        self.choose();
    }

    /// A retired endpoint is used again.
    pub(crate) fn reinstate(&mut self, endpoint: EndpointIndex) {
        if self.endpoints[endpoint.0].health == Health::Retired {
            self.endpoints[endpoint.0].health = Health::Idle;
            self.choose();
        }
    }

    /// Chooses another endpoint at random, so that connections that are replaced for their age spread
    /// again.
    pub(crate) fn move_on(&mut self, random: usize) {
        let others = self
            .order(None)
            .filter(|&one| !self.endpoints[one.0].is_in_trouble());
        let others: Vec<EndpointIndex> = others.collect();
        if let Some(&next) = others.get(random % others.len().max(1)) {
            self.chosen = next;
        }
    }

    /// Returns the endpoints in the order in which they are to be tried, without `avoided`.
    pub(crate) fn order(
        &self,
        avoided: Option<EndpointIndex>,
    ) -> impl Iterator<Item = EndpointIndex> {
        let count = self.endpoints.len();
        let first = self.chosen.0;
        (0..count)
            .map(move |step| EndpointIndex((first + step) % count))
            .filter(move |&endpoint| {
                Some(endpoint) != avoided && self.endpoints[endpoint.0].health != Health::Retired
            })
    }

    /// Notes the state of the connection to an endpoint, and chooses again.
    pub(crate) fn note(&mut self, endpoint: EndpointIndex, health: Health) {
        // The driver of a removed endpoint may still run; its notes do not count.
        if self.endpoints[endpoint.0].health != Health::Retired {
            self.endpoints[endpoint.0].health = health;
        }
        self.choose();
    }

    /// Notes whether an endpoint serves, and chooses again.
    pub(crate) fn note_serving(&mut self, endpoint: EndpointIndex, serving: bool) {
        self.endpoints[endpoint.0].serving = serving;
        self.choose();
    }

    /// Keeps the chosen endpoint unless another one is better.
    fn choose(&mut self) {
        let rank = |endpoint: EndpointIndex| self.endpoints[endpoint.0].rank();
        // INVARIANT: the first endpoint of the smallest rank is taken, and the order begins with the
        // chosen one (unless that is retired, and any other is better).
        let best = self.order(None).min_by_key(|&endpoint| rank(endpoint));
        self.chosen = best.unwrap_or(self.chosen);
    }

    /// Whether any endpoint that is not `avoided` serves, or may soon serve.
    pub(crate) fn is_hopeful(&self, avoided: impl Fn(EndpointIndex) -> bool) -> bool {
        self.order(None).any(|endpoint| {
            let State { health, serving } = self.endpoints[endpoint.0];
            let hopeful = matches!(health, Health::Idle | Health::Trying | Health::Up);
            serving && hopeful && !avoided(endpoint)
        })
    }

    /// Whether any endpoint but `avoided` is connected and not known not to serve.
    pub(crate) fn is_served(&self, avoided: Option<EndpointIndex>) -> bool {
        self.order(avoided)
            .any(|endpoint| self.endpoints[endpoint.0].rank() == 0)
    }

    /// Returns whether there are endpoints besides this one, and whether one of them serves.
    pub(crate) fn others(&self, endpoint: EndpointIndex) -> OtherEndpoints {
        match self.order(Some(endpoint)).next() {
            None => OtherEndpoints::None,
            Some(_) if self.is_served(Some(endpoint)) => OtherEndpoints::Serving,
            Some(_) => OtherEndpoints::NotServing,
        }
    }

    /// Whether the endpoint is not known not to serve.
    pub(crate) fn is_serving(&self, endpoint: EndpointIndex) -> bool {
        self.endpoints[endpoint.0].serving
    }

    /// Returns the endpoint that should start to connect now, if any: the first idle one in the order
    /// that is not `avoided`. In "pick first" there is none while an endpoint before it is connected
    /// and serves, or its attempt is not slow yet.
    pub(crate) fn to_wake(&self, avoided: impl Fn(EndpointIndex) -> bool) -> Option<EndpointIndex> {
        for endpoint in self.order(None).filter(|&endpoint| !avoided(endpoint)) {
            let State { health, serving } = self.endpoints[endpoint.0];
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

    const NONE: fn(EndpointIndex) -> bool = |_| false;
    const E: [EndpointIndex; 3] = [EndpointIndex(0), EndpointIndex(1), EndpointIndex(2)];

    #[test]
    fn it_stays_with_an_endpoint_that_is_well() {
        let mut balance = Balance::new(Mode::PickFirst, 3, 1);
        assert_eq!(balance.to_wake(NONE), Some(E[1]));
        balance.note(E[1], Health::Up);
        balance.note(E[0], Health::Up);
        assert_eq!(balance.chosen(), E[1]);
        assert_eq!(balance.to_wake(NONE), None);
        assert!(balance.wants(E[1]) && !balance.wants(E[0]));
    }

    #[test]
    fn trouble_wakes_the_next_one_and_the_first_that_is_up_is_taken() {
        let mut balance = Balance::new(Mode::PickFirst, 3, 0);
        balance.note(E[0], Health::Trying);
        assert_eq!(balance.to_wake(NONE), None);
        balance.note(E[0], Health::Slow);
        assert_eq!(balance.to_wake(NONE), Some(E[1]));
        balance.note(E[1], Health::Trying);
        balance.note(E[1], Health::Down);
        assert_eq!(balance.to_wake(NONE), Some(E[2]));
        balance.note(E[2], Health::Up);
        assert_eq!(balance.chosen(), E[2]);
    }

    #[test]
    fn a_suspect_is_left_only_for_one_that_is_well() {
        let mut balance = Balance::new(Mode::PickFirst, 2, 0);
        balance.note(E[0], Health::Up);
        balance.note(E[0], Health::Suspect);
        assert_eq!(
            (balance.chosen(), balance.to_wake(NONE)),
            (E[0], Some(E[1]))
        );
        balance.note(E[1], Health::Up);
        balance.note(E[0], Health::Up);
        assert_eq!(balance.chosen(), E[1]);
    }

    #[test]
    fn elsewhere_is_not_where_it_failed() {
        let mut balance = Balance::new(Mode::PickFirst, 2, 0);
        balance.note(E[0], Health::Up);
        assert_eq!(balance.to_wake(|one| one == E[0]), Some(E[1]));
        assert_eq!(
            Balance::new(Mode::PickFirst, 1, 7).to_wake(|one| one == E[0]),
            None
        );
    }

    #[test]
    fn other_modes_connect_to_every_endpoint() {
        for mode in [Mode::Random, Mode::ConnectAll] {
            let mut balance = Balance::new(mode, 3, 0);
            for endpoint in E {
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
        balance.note(E[0], Health::Up);
        balance.retire(E[0]);
        assert_eq!(
            (balance.chosen(), balance.to_wake(NONE)),
            (E[1], Some(E[1]))
        );
        balance.note(E[0], Health::Up);
        assert!(!balance.wants(E[0]));
        assert_eq!(balance.order(None).collect::<Vec<_>>(), [E[1]]);
        balance.add();
        balance.note(E[2], Health::Up);
        assert_eq!(balance.chosen(), E[2]);
        balance.reinstate(E[0]);
        assert_eq!(balance.order(None).collect::<Vec<_>>(), [E[2], E[0], E[1]]);
    }

    proptest! {
        /// As long as any endpoint is up, the chosen one is; and none is given up while it is.
        #[test]
        fn an_endpoint_that_is_up_is_chosen(count in 1..5usize, start: usize, notes in prop::collection::vec((0..5usize, 0..6u8), 0..60)) {
            let mut balance = Balance::new(Mode::PickFirst, count, start);
            for (endpoint, health) in notes {
                let health = [Health::Idle, Health::Trying, Health::Slow, Health::Up, Health::Suspect, Health::Down][health as usize];
                let before = balance.chosen();
                balance.note(EndpointIndex(endpoint % count), health);
                let up = |endpoint: EndpointIndex| balance.endpoints[endpoint.0].health == Health::Up;
                if up(before) { prop_assert_eq!(balance.chosen(), before); }
                if (0..count).map(EndpointIndex).any(up) { prop_assert!(up(balance.chosen())); }
            }
        }
    }
}
