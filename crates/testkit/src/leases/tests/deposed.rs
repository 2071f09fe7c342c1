//! Proofs that a deposed leader has revoked a lease, and the violations that they explain.

use super::*;

const OLD: u64 = 0x91e4_0443_d7b4_1f23;
const NEXT: u64 = 0xce51_8d08_3a78_0221;
const THIRD: u64 = 0x6cd0_0afa_86cc_0935;

fn leaders() -> [Leadership; 2] {
    [leads(2, OLD), leads(3, NEXT)]
}

fn leads(term: u64, member: u64) -> Leadership {
    Leadership { term, member }
}

/// A request for lease 1, which is the lease of the key in the other tests.
fn revocation(term: u64, proposer: u64) -> Revocation {
    Revocation {
        lease: 1,
        index: 40,
        term,
        proposer: u16::try_from(proposer & 0xffff).unwrap(),
        user: "root".to_owned(),
    }
}

fn is_proven(revocations: &[Revocation], leaders: &[Leadership]) -> bool {
    Deposed::new(revocations, leaders)
        .proof("leases/0000000000000001")
        .is_some()
}

#[test]
fn a_member_that_led_before_and_does_not_lead_is_proven_to_have_revoked() {
    assert!(is_proven(&[revocation(3, OLD)], &leaders()));
    // Without users, the request has none.
    let mut nameless = revocation(3, OLD);
    nameless.user.clear();
    assert!(is_proven(&[nameless], &leaders()));
    let deposed = Deposed::new(&[revocation(3, OLD)], &leaders());
    assert_eq!(
        deposed.proof("leases/1"),
        Some(
            "revoked at 40 of the raft log, in term 3, which ce518d083a780221 led, by \
             91e40443d7b41f23, which led in term 2"
        )
    );
    assert_eq!(deposed.proof("leases/2"), None);
    assert_eq!(deposed.proof("leases/no lease"), None);
}

#[test]
fn other_requests_prove_nothing() {
    // The leader itself, at its time and at present.
    assert!(!is_proven(&[revocation(3, NEXT)], &leaders()));
    assert!(!is_proven(&[revocation(2, OLD)], &leaders()));
    // A member that never led, or leads later: a client has sent the request to it.
    assert!(!is_proven(&[revocation(3, THIRD)], &leaders()));
    let later = [leads(2, OLD), leads(3, NEXT), leads(4, THIRD)];
    assert!(!is_proven(&[revocation(3, THIRD)], &later));
    // A client has sent the request to the member.
    let mut asked = revocation(3, OLD);
    asked.user = "watcher".to_owned();
    assert!(!is_proven(&[asked], &leaders()));
    // The leader is not known, or two members have these bits.
    assert!(!is_proven(&[revocation(4, OLD)], &leaders()));
    let twins = [
        leads(1, THIRD << 16 | OLD & 0xffff),
        leads(2, OLD),
        leads(3, NEXT),
    ];
    assert!(!is_proven(&[revocation(3, OLD)], &twins));
}

#[test]
fn the_first_request_is_the_one_that_revokes() {
    let both = [revocation(3, NEXT), revocation(3, OLD)];
    assert!(!is_proven(&both, &leaders()));
    let both = [revocation(3, OLD), revocation(3, NEXT)];
    assert!(is_proven(&both, &leaders()));
}

#[test]
fn a_lease_that_a_deposed_leader_has_revoked_may_go_early() {
    let judge = |proposer, words: &[(u64, State)], left: &[Left]| {
        let faults = check_leases(Leases {
            leases: &[lease(words.iter().copied())],
            looks: &looks(28),
            left,
            served: &served(10, 60),
            deposed: &Deposed::new(&[revocation(3, proposer)], &leaders()),
        });
        promises(&faults)
    };
    let words: Vec<_> = lives(30).chain([(32, State::Lost)]).collect();
    let broken = |excused| vec![(Promise::Alive, excused), (Promise::Kept, excused)];
    assert_eq!(judge(OLD, &words, &[]), broken(true));
    assert_eq!(judge(NEXT, &words, &[]), broken(false));

    // The keeper has to report the end all the same.
    let words: Vec<_> = lives(30).chain([(33, State::Unknown)]).collect();
    let mut told = broken(true);
    told.push((Promise::Told, false));
    assert_eq!(judge(OLD, &words, &[]), told);

    // The proof explains a server without the lease, and not one with less time.
    let left = |left| Left {
        key: "leases/1".into(),
        began: 29 * SECOND + 1,
        ended: 29 * SECOND + 2,
        left,
    };
    let words: Vec<_> = lives(30).chain([(32, State::Lost)]).collect();
    let mut all = broken(true);
    all.push((Promise::Left, true));
    assert_eq!(judge(OLD, &words, &[left(None)]), all);
    all[2].1 = false;
    assert_eq!(judge(OLD, &words, &[left(Some(0))]), all);
}

#[test]
fn a_lock_may_be_granted_while_the_holder_cannot_know_that_its_lease_was_revoked() {
    let mut history = History::since(1);
    history.append([Op::Put("lock/1".into(), 0)]);
    history.append([Op::Put("lock/2".into(), 0)]);
    history.append([Op::Delete("lock/1".into())]);
    let grants = [
        grant("lock/1", 10, 20, Some(3)),
        grant("lock/2", 19, 30, Some(4)),
    ];
    let judge = |lease, proposer| {
        let revocation = Revocation {
            lease,
            ..revocation(3, proposer)
        };
        let grants = Grants {
            grants: &grants,
            gives_lost_locks: false,
            deposed: &Deposed::new(&[revocation], &leaders()),
        };
        promises(&check_locks(&history, grants))
    };
    assert_eq!(judge(1, OLD), [(Promise::Alone, true)]);
    assert_eq!(judge(1, NEXT), [(Promise::Alone, false)]);
    // The proof for the next holder explains nothing.
    assert_eq!(judge(2, OLD), [(Promise::Alone, false)]);
}

#[test]
fn a_leader_that_has_led_for_less_than_the_time_to_live_cannot_know_that_it_is_over() {
    // The leader of term 2 leads again in term 4, and revokes the lease by its clock of then.
    let leaders = [leads(2, OLD), leads(3, NEXT), leads(4, OLD)];
    let judge = |elected: u64, user: &str| {
        let mut looks = looks(28);
        for look in looks
            .iter_mut()
            .filter(|look| look.began >= elected * SECOND)
        {
            look.term = 4;
        }
        let request = Revocation {
            user: user.to_owned(),
            ..revocation(4, OLD)
        };
        let faults = check_leases(Leases {
            leases: &[lease(lives(30).chain([(32, State::Lost)]))],
            looks: &looks,
            left: &[],
            served: &served(10, 60),
            deposed: &Deposed::new(&[request], &leaders),
        });
        promises(&faults)
    };
    let broken = |excused| vec![(Promise::Alive, excused), (Promise::Kept, excused)];
    // The lease lives for 3 s, and was gone by 29 s and a microsecond.
    assert_eq!(judge(28, "root"), broken(true));
    assert_eq!(judge(28, ""), broken(true));
    assert_eq!(judge(27, "root"), broken(false));
    assert_eq!(judge(28, "watcher"), broken(false));
    // No answer shows when the leader was elected.
    assert_eq!(judge(0, "root"), broken(false));
}
