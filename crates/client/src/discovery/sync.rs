//! PURE: the endpoints of a client, by what the members advertise and what is proven.

use crate::cluster::Member;
use crate::endpoint::Endpoint;

/// Returns the URLs of a member that a client may use.
///
/// INVARIANT: a client with an https endpoint uses only https, and another client only http.
pub(crate) fn usable(urls: &[String], secure: bool) -> Vec<Endpoint> {
    let parsed = urls.iter().filter_map(|url| url.parse::<Endpoint>().ok());
    parsed.filter(|one| one.is_secure() == secure).collect()
}

/// The endpoints that a client was given, and those that it has learned.
#[derive(Clone, Debug)]
pub(crate) struct EndpointSync {
    seeds: Vec<Endpoint>,
    learned: Vec<Endpoint>,
    /// Number of times that the user has chosen other endpoints.
    version: u64,
}

/// Changes of the endpoints in use: first additions, then removals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) add: Vec<Endpoint>,
    pub(crate) remove: Vec<Endpoint>,
}

impl EndpointSync {
    pub(crate) fn new(seeds: &[Endpoint]) -> Self {
        Self {
            seeds: seeds.to_vec(),
            learned: Vec::new(),
            version: 0,
        }
    }

    /// Number of times that the user has chosen other endpoints. The result of a sync that began
    /// with another version is void.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Replaces all endpoints, including learned ones, by endpoints that the user has chosen.
    pub(crate) fn replace(&mut self, seeds: Vec<Endpoint>) {
        self.seeds = seeds;
        self.learned.clear();
        self.version += 1;
    }

    /// Returns the client URLs that members with a vote advertise.
    ///
    /// A learner serves almost no requests, and a member that has not started advertises nothing.
    pub(crate) fn advertised(&self, members: &[Member]) -> Vec<Endpoint> {
        let secure = self.seeds.iter().any(Endpoint::is_secure);
        let voters = members.iter().filter(|member| !member.is_learner);
        let mut advertised: Vec<Endpoint> = Vec::new();
        for endpoint in voters.flat_map(|member| usable(&member.client_urls, secure)) {
            if !advertised.contains(&endpoint) {
                advertised.push(endpoint);
            }
        }
        advertised
    }

    /// Returns the changes that follow from the advertised endpoints, and from those that have just
    /// answered as a member of this cluster (`proven`).
    ///
    /// INVARIANT: an endpoint is not used before it has answered, and none is given up unless an
    /// advertised one has answered. So a cluster that advertises unreachable URLs (such as the
    /// default, `http://localhost:2379`) leaves a client unchanged. Endpoints that the user has
    /// added stay.
    pub(crate) fn settle(
        &mut self,
        advertised: &[Endpoint],
        proven: &[Endpoint],
        in_use: &[Endpoint],
    ) -> Changes {
        let works = |one: &&Endpoint| proven.contains(one) && advertised.contains(one);
        let new = advertised.iter().filter(works);
        let add: Vec<Endpoint> = new.filter(|one| !in_use.contains(one)).cloned().collect();
        for endpoint in &add {
            if !self.learned.contains(endpoint) {
                self.learned.push(endpoint.clone());
            }
        }
        if !advertised.iter().any(|one| proven.contains(one)) {
            return Changes::default();
        }
        let ours = |one: &&Endpoint| self.seeds.contains(one) || self.learned.contains(one);
        let gone = in_use.iter().filter(|one| !advertised.contains(one));
        let remove = gone.filter(ours).cloned().collect();
        self.learned.retain(|one| advertised.contains(one));
        Changes { add, remove }
    }

    /// Replaces the given endpoints by those that DNS has now, unless the user has chosen others.
    #[cfg(feature = "srv")]
    pub(crate) fn reseed(&mut self, seeds: Vec<Endpoint>) {
        if self.version > 0 {
            return;
        }
        for old in std::mem::replace(&mut self.seeds, seeds) {
            if !self.seeds.contains(&old) && !self.learned.contains(&old) {
                self.learned.push(old);
            }
        }
    }

    /// Returns whether only https endpoints may be learned.
    #[cfg(feature = "srv")]
    pub(crate) fn is_secure(&self) -> bool {
        self.seeds.iter().any(Endpoint::is_secure)
    }

    /// Returns the changes when no endpoint in use can be reached: the given endpoints are added
    /// again.
    pub(crate) fn fall_back(&self, in_use: &[Endpoint]) -> Changes {
        let missing = self.seeds.iter().filter(|seed| !in_use.contains(seed));
        Changes {
            add: missing.cloned().collect(),
            remove: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoints(urls: &[&str]) -> Vec<Endpoint> {
        urls.iter()
            .map(|url| url.parse().unwrap_or_else(|error| panic!("{error}")))
            .collect()
    }

    fn member(urls: &[&str], is_learner: bool) -> Member {
        Member {
            id: 1,
            client_urls: urls.iter().map(ToString::to_string).collect(),
            is_learner,
            ..Member::default()
        }
    }

    fn changes(add: &[&str], remove: &[&str]) -> Changes {
        Changes {
            add: endpoints(add),
            remove: endpoints(remove),
        }
    }

    #[test]
    fn learners_and_the_wrong_scheme_are_not_advertised() {
        let members = [
            member(&["http://a:1", "https://a:2"], false),
            member(&["http://b:1"], true),
            member(&["nonsense://", "http://a:1", "http://c:1"], false),
            member(&[], false),
        ];
        let plain = EndpointSync::new(&endpoints(&["http://seed:1"]));
        assert_eq!(
            plain.advertised(&members),
            endpoints(&["http://a:1", "http://c:1"])
        );
        let secure = EndpointSync::new(&endpoints(&["http://seed:1", "https://seed:2"]));
        assert_eq!(secure.advertised(&members), endpoints(&["https://a:2"]));
    }

    #[test]
    fn proven_endpoints_are_learned_and_missing_ones_are_removed() {
        let mut sync = EndpointSync::new(&endpoints(&["a"]));
        let (abc, ab) = (endpoints(&["a", "b", "c"]), endpoints(&["a", "b"]));
        let learned = sync.settle(&abc, &abc, &endpoints(&["a", "own"]));
        assert_eq!(learned, changes(&["b", "c"], &[]));
        let in_use = endpoints(&["a", "own", "b", "c"]);
        assert_eq!(sync.settle(&abc, &abc, &in_use), Changes::default());
        // A member that is down for a while is still a member.
        assert_eq!(sync.settle(&abc, &ab, &in_use), Changes::default());
        assert_eq!(sync.settle(&ab, &ab, &in_use), changes(&[], &["c"]));
    }

    #[test]
    fn a_seed_is_given_up_only_for_an_endpoint_that_has_answered() {
        let mut sync = EndpointSync::new(&endpoints(&["seed"]));
        let (seed, ab) = (endpoints(&["seed"]), endpoints(&["a", "b"]));
        assert_eq!(sync.settle(&ab, &[], &seed), Changes::default());
        let proven = endpoints(&["a"]);
        assert_eq!(sync.settle(&ab, &proven, &seed), changes(&["a"], &["seed"]));
        // No learned endpoint can be reached any more.
        let in_use = endpoints(&["a"]);
        assert_eq!(sync.settle(&ab, &[], &in_use), Changes::default());
        assert_eq!(sync.fall_back(&in_use), changes(&["seed"], &[]));
        let in_use = endpoints(&["a", "seed"]);
        assert_eq!(sync.fall_back(&in_use), Changes::default());
        assert_eq!(sync.settle(&ab, &ab, &in_use), changes(&["b"], &["seed"]));
    }

    const URLS: [&str; 6] = [
        "http://a:1",
        "http://b:1",
        "http://c:1",
        "https://a:2",
        "https://b:2",
        "http://own:1",
    ];

    fn some() -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(&URLS[..], 0..=URLS.len())
    }

    proptest! {
        /// For any advertised endpoints, and any answers of them.
        #[test]
        fn a_client_always_keeps_an_endpoint_that_works(
            seeds in prop::sample::subsequence(&URLS[..5], 1..=5),
            rounds in prop::collection::vec((some(), some(), any::<bool>()), 1..12),
        ) {
            let seeds = endpoints(&seeds);
            let secure = seeds.iter().any(Endpoint::is_secure);
            let mut sync = EndpointSync::new(&seeds);
            let mut in_use = seeds.clone();
            let own = endpoints(&["http://own:1"]);
            if !in_use.contains(&own[0]) {
                in_use.extend(own.clone());
            }
            for (urls, answers, lost) in rounds {
                let advertised = sync.advertised(&[member(&urls, false)]);
                let proven = endpoints(&answers);
                let before = in_use.clone();
                let changes = sync.settle(&advertised, &proven, &in_use);
                for one in &changes.add {
                    prop_assert!(proven.contains(one) && advertised.contains(one));
                    prop_assert!(!before.contains(one));
                    prop_assert_eq!(one.is_secure(), secure);
                }
                in_use.extend(changes.add);
                for one in &changes.remove {
                    prop_assert!(!advertised.contains(one));
                    prop_assert!(one != &own[0], "it is the user's");
                }
                if !changes.remove.is_empty() {
                    prop_assert!(in_use.iter().any(|one| proven.contains(one)));
                }
                in_use.retain(|one| !changes.remove.contains(one));
                prop_assert!(!in_use.is_empty());
                prop_assert_eq!(sync.settle(&advertised, &proven, &in_use), Changes::default());
                if lost {
                    in_use.extend(sync.fall_back(&in_use).add);
                    prop_assert!(seeds.iter().all(|seed| in_use.contains(seed)));
                }
            }
        }
    }
}
