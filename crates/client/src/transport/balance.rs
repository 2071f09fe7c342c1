//! PURE: which endpoint calls go to.
//!
//! "Pick first": a random start, so that a fleet spreads, then the same endpoint for as long
//! as it is well. Others are tried only while it is not.

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
}

/// The choice among the endpoints.
#[derive(Debug)]
pub(crate) struct Balance {
    endpoints: Vec<Health>,
    chosen: usize,
}

impl Balance {
    /// `start` is any number; it chooses where to begin.
    pub(crate) fn new(endpoints: usize, start: usize) -> Self {
        Self {
            endpoints: vec![Health::Idle; endpoints],
            chosen: start % endpoints.max(1),
        }
    }

    /// The endpoint that calls go to.
    pub(crate) fn chosen(&self) -> usize {
        self.chosen
    }

    /// Whether the endpoint should have a connection, or try to get one.
    pub(crate) fn wants(&self, endpoint: usize) -> bool {
        endpoint == self.chosen || self.endpoints[self.chosen] != Health::Up
    }

    /// The endpoints in the order in which they are to be tried, without `avoided`.
    pub(crate) fn order(&self, avoided: Option<usize>) -> impl Iterator<Item = usize> {
        let count = self.endpoints.len();
        let first = self.chosen;
        (0..count)
            .map(move |step| (first + step) % count)
            .filter(move |&endpoint| Some(endpoint) != avoided)
    }

    /// Notes what happened to an endpoint, and chooses anew if that is called for.
    pub(crate) fn note(&mut self, endpoint: usize, health: Health) {
        self.endpoints[endpoint] = health;
        if self.endpoints[self.chosen] == Health::Up {
            return;
        }
        let up = |&endpoint: &usize| self.endpoints[endpoint] == Health::Up;
        let well = self.order(None).find(up);
        self.chosen = well.unwrap_or(self.chosen);
    }

    /// Whether any endpoint but `avoided` is well, or may soon be.
    pub(crate) fn is_hopeful(&self, avoided: Option<usize>) -> bool {
        self.order(avoided).any(|endpoint| {
            matches!(
                self.endpoints[endpoint],
                Health::Idle | Health::Trying | Health::Up
            )
        })
    }

    /// The endpoint that should start to connect now, if any: the first at rest behind those
    /// that are known to be in trouble. One that is still within its time is waited for.
    pub(crate) fn to_wake(&self, avoided: Option<usize>) -> Option<usize> {
        for endpoint in self.order(avoided) {
            match self.endpoints[endpoint] {
                Health::Idle => return Some(endpoint),
                Health::Up | Health::Trying => return None,
                Health::Slow | Health::Suspect | Health::Down => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_stays_with_an_endpoint_that_is_well() {
        let mut balance = Balance::new(3, 1);
        assert_eq!(balance.to_wake(None), Some(1));
        balance.note(1, Health::Up);
        balance.note(0, Health::Up);
        assert_eq!(balance.chosen(), 1);
        assert_eq!(balance.to_wake(None), None);
        assert!(balance.wants(1) && !balance.wants(0));
    }

    #[test]
    fn trouble_wakes_the_next_one_and_the_first_that_is_up_is_taken() {
        let mut balance = Balance::new(3, 0);
        balance.note(0, Health::Trying);
        assert_eq!(balance.to_wake(None), None);
        balance.note(0, Health::Slow);
        assert_eq!(balance.to_wake(None), Some(1));
        balance.note(1, Health::Trying);
        balance.note(1, Health::Down);
        assert_eq!(balance.to_wake(None), Some(2));
        balance.note(2, Health::Up);
        assert_eq!(balance.chosen(), 2);
    }

    #[test]
    fn a_suspect_is_left_only_for_one_that_is_well() {
        let mut balance = Balance::new(2, 0);
        balance.note(0, Health::Up);
        balance.note(0, Health::Suspect);
        assert_eq!((balance.chosen(), balance.to_wake(None)), (0, Some(1)));
        balance.note(1, Health::Up);
        balance.note(0, Health::Up);
        assert_eq!(balance.chosen(), 1);
    }

    #[test]
    fn elsewhere_is_not_where_it_failed() {
        let mut balance = Balance::new(2, 0);
        balance.note(0, Health::Up);
        assert_eq!(balance.to_wake(Some(0)), Some(1));
        assert_eq!(Balance::new(1, 7).to_wake(Some(0)), None);
    }

    proptest! {
        /// As long as any endpoint is up, the chosen one is; and none is given up while it is.
        #[test]
        fn an_endpoint_that_is_up_is_chosen(count in 1..5usize, start: usize, notes in prop::collection::vec((0..5usize, 0..6u8), 0..60)) {
            let mut balance = Balance::new(count, start);
            for (endpoint, health) in notes {
                let health = [Health::Idle, Health::Trying, Health::Slow, Health::Up, Health::Suspect, Health::Down][health as usize];
                let before = balance.chosen();
                balance.note(endpoint % count, health);
                let up = |endpoint: usize| balance.endpoints[endpoint] == Health::Up;
                if up(before) { prop_assert_eq!(balance.chosen(), before); }
                if (0..count).any(up) { prop_assert!(up(balance.chosen())); }
            }
        }
    }
}
