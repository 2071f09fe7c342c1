//! Checks the watches of a run, and decides whether the client or a server has caused a violation.

use std::collections::BTreeMap;
use std::fmt;

use etcdex_testkit::check::{
    Guarantee, Violation, Wire, check, dropped, grounded, mirrored, needless, owner,
};
use etcdex_testkit::history::{History, Recording};

/// Number of violations of a guarantee that are printed in full.
const PRINTED: usize = 5;
/// The same for violations of servers.
const PRINTED_OF_SERVERS: usize = 1;

/// The result of the checkers.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Violations of the client.
    pub(crate) client: Findings,
    /// Violations of the client's watches that a server had caused.
    pub(crate) explained: Findings,
    /// The proof of each of these in a line: the stretch of the wire with the same violation.
    pub(crate) proofs: Vec<String>,
    /// Violations of servers at the proxies, also those that the client has compensated.
    pub(crate) server: Findings,
}

/// The violations of the client, or of servers.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: BTreeMap<Guarantee, usize>,
    /// The texts of the first violations of each guarantee.
    told: Vec<String>,
}

impl Findings {
    fn add(&mut self, violation: &Violation, most: usize, tell: impl FnOnce() -> String) {
        let count = self.counts.entry(violation.guarantee).or_default();
        *count += 1;
        if *count <= most {
            self.told.push(tell());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.counts.values().sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn told(&self) -> &[String] {
        &self.told
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.len())?;
        for (number, (guarantee, count)) in self.counts.iter().enumerate() {
            let before = if number == 0 { " (" } else { ", " };
            write!(f, "{before}{count} {guarantee}")?;
        }
        f.write_str(if self.is_empty() { "" } else { ")" })
    }
}

/// The recordings of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) history: &'a History,
    /// Watches as their consumers saw them.
    pub(crate) watches: &'a [Recording],
    /// Messages to consumers about all their watches together.
    pub(crate) owners: &'a [Recording],
    /// Watched lists.
    pub(crate) lists: &'a [Recording],
    /// Messages of servers.
    pub(crate) wire: &'a [Recording],
}

/// Checks the recordings of the clients and of the wire.
///
/// A violation of a watch is the server's only if the wire shows the same violation by the server;
/// [`Wire::excuse`] defines which violations are the same. The proof of each excuse is kept.
pub(crate) fn judge(evidence: Evidence<'_>) -> Verdict {
    let Evidence { history, .. } = evidence;
    let mut verdict = Verdict::default();
    let wire = Wire::new(history, evidence.wire);
    for (stretch, violation) in wire.violations() {
        let tell = || violation.explain(history, stretch);
        verdict.server.add(violation, PRINTED_OF_SERVERS, tell);
    }
    for watch in evidence.watches {
        let stretches = wire.of(watch);
        let mut violations = check(history, watch);
        violations.extend(grounded(watch, stretches));
        violations.extend(needless(watch, stretches));
        violations.extend(dropped(watch, stretches));
        for violation in violations {
            let tell = || violation.explain(history, watch);
            match wire.excuse(watch, &violation) {
                Ok(excuse) => {
                    verdict.proofs.push(format!(
                        "{} {}: {} (revision {}): {}",
                        watch.name,
                        violation.guarantee,
                        violation.what,
                        violation.revision,
                        excuse.proof()
                    ));
                    verdict.explained.add(&violation, PRINTED, || {
                        let theirs = excuse.explain(history);
                        format!(
                            "{}  the server has sent:
{theirs}",
                            tell()
                        )
                    });
                }
                Err(why) => verdict.client.add(&violation, PRINTED, || match why {
                    Some(why) => format!("{}  no excuse: {why}\n", tell()),
                    None => tell(),
                }),
            }
        }
    }
    let owners = evidence.owners.iter().map(|one| (one, owner(one)));
    let lists = evidence
        .lists
        .iter()
        .map(|one| (one, mirrored(history, one)));
    for (recording, violations) in owners.chain(lists) {
        for violation in violations {
            let tell = || violation.explain(history, recording);
            verdict.client.add(&violation, PRINTED, tell);
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use etcdex_testkit::history::{Body, Compaction, Message, Op, Query};

    use super::*;

    #[test]
    fn an_excused_violation_is_printed_with_its_proof() {
        let mut history = History::since(1);
        for _ in 0..4 {
            history.append([Op::Put("a".into(), 1)]);
        }
        history.compact(Compaction { at: 0, revision: 4 });
        let lossy = |name: &str| {
            let bodies = [2, 4, 5].map(|revision| Body::Batch {
                header: revision,
                revision,
                events: history.find("a", revision).cloned().into_iter().collect(),
            });
            Recording {
                name: name.to_owned(),
                query: Query {
                    prev_kv: true,
                    ..Query::key("a", 2)
                },
                messages: bodies.map(|body| Message { at: 0, body }).to_vec(),
            }
        };
        let watches = [lossy("one/watch#1")];
        let verdict = |wire: &[Recording]| {
            judge(Evidence {
                history: &history,
                watches: &watches,
                owners: &[],
                lists: &[],
                wire,
            })
        };
        let alone = verdict(&[]);
        assert_eq!(alone.client.to_string(), "1 (1 Reliable)");
        assert!(alone.proofs.is_empty());
        let excused = verdict(&[lossy("one n2 link 3 stream 1 watch 1")]);
        assert_eq!(excused.client.to_string(), "0");
        assert_eq!(excused.explained.to_string(), "1 (1 Reliable)");
        let proof = &excused.proofs[0];
        assert!(
            proof.contains("one n2 link 3 stream 1 watch 1, from 2 to 5"),
            "{proof}"
        );
        let stranger = verdict(&[lossy("other n2 link 3 stream 1 watch 1")]);
        assert_eq!((stranger.client.len(), stranger.server.len()), (1, 1));
    }
}
