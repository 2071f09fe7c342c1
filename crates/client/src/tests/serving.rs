//! Endpoints that do not serve although their connections work: calls, streams and waiting calls
//! leave them, and use them again later.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdex_proto::{etcdserverpb as pb, v3lockpb};
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::leases::{Manner, Script};
use super::peer::{Asked, Peers, framed, header, serve};
use crate::{Client, ClientBuilder, ErrorKind, LeaseId, LeaseState, Mode, Outcome};

const HUNG: &str = "http://hung:1";
const WELL: &str = "http://well:1";
const MODES: [Mode; 3] = [Mode::PickFirst, Mode::Random, Mode::ConnectAll];

/// The behavior of a member on calls. It always answers pings.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Behavior {
    Answer,
    /// Accepts calls, and answers them when the behavior changes to `Answer`.
    Hang,
    /// Refuses each call at once.
    Refuse(&'static str, &'static str),
}

/// A member, and the requests that it got.
#[derive(Clone)]
struct Member {
    behavior: watch::Sender<Behavior>,
    asked: Arc<AtomicUsize>,
    probes: Arc<Mutex<Vec<http::HeaderMap>>>,
}

impl Member {
    fn new(behavior: Behavior) -> Self {
        Self {
            behavior: watch::Sender::new(behavior),
            asked: Arc::default(),
            probes: Arc::default(),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn probes(&self) -> usize {
        self.probes.lock().expect("no panic").len()
    }

    async fn answer(self, asked: Asked) {
        if is_probe(&asked) {
            let headers = asked.headers.clone();
            self.probes.lock().expect("no panic").push(headers);
        } else {
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        let mut behavior = self.behavior.subscribe();
        // INVARIANT: `self` holds the sender.
        let behavior = behavior
            .wait_for(|behavior| *behavior != Behavior::Hang)
            .await;
        match *behavior.expect("the sender lives") {
            Behavior::Refuse(status, text) => asked.fail(status, text),
            Behavior::Answer | Behavior::Hang if asked.path == "/v3lockpb.Lock/Lock" => {
                asked.answer(framed(&v3lockpb::LockResponse {
                    header: header(2),
                    key: "lock/7".into(),
                }));
            }
            Behavior::Answer | Behavior::Hang => asked.answer_well(),
        }
    }
}

fn is_probe(asked: &Asked) -> bool {
    asked.path == "/etcdserverpb.KV/Range"
        && pb::RangeRequest::decode(asked.message.clone())
            .is_ok_and(|range| range.key == b"\0"[..] && range.count_only && !range.serializable)
}

fn peers(members: &[(&str, &Member)]) -> Peers {
    members
        .iter()
        .fold(Peers::default(), |peers, (url, member)| {
            let member = (*member).clone();
            peers.and(url, move |_, stream: DuplexStream| {
                let member = member.clone();
                serve(stream, move |asked| member.clone().answer(asked))
            })
        })
}

fn scripts(members: [(&str, Script); 2]) -> Peers {
    let members = members.into_iter();
    members.fold(Peers::default(), |peers, (url, script)| {
        peers.and(url, move |_, stream| script.clone().serve(stream))
    })
}

/// A client that has chosen the first endpoint, and to which the other was added then.
async fn client(peers: &Peers, mode: Mode) -> Client {
    let builder = Client::builder().endpoint(HUNG).connector(peers.clone());
    with_other(builder, mode).await
}

/// Two members, and a client that has chosen the first one.
async fn two(mode: Mode, behaviors: [Behavior; 2]) -> (Member, Member, Client) {
    let [first, second] = behaviors.map(Member::new);
    let peers = peers(&[(HUNG, &first), (WELL, &second)]);
    let client = client(&peers, mode).await;
    (first, second, client)
}

async fn with_other(builder: ClientBuilder, mode: Mode) -> Client {
    let client = builder
        .mode(mode)
        .connect()
        .await
        .expect("the client connects");
    client.add_endpoint(WELL).expect("a URL");
    client
}

/// Makes a call every 50 ms for 20 s. Returns for each call when it was made, when it ended, and
/// whether it succeeded.
async fn load<F>(call: impl Fn() -> F) -> Vec<(Duration, Duration, bool)>
where
    F: Future<Output = bool> + Send + 'static,
{
    let begun = Instant::now();
    let mut calls = Vec::new();
    while begun.elapsed() < Duration::from_secs(20) {
        let (made, call) = (begun.elapsed(), call());
        calls.push(tokio::spawn(async move {
            let good = call.await;
            (made, begun.elapsed(), good)
        }));
        sleep(Duration::from_millis(50)).await;
    }
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.expect("no panic"));
    }
    ends
}

fn longest_gap(ends: &[(Duration, Duration, bool)]) -> Duration {
    let mut good: Vec<Duration> = ends.iter().filter(|end| end.2).map(|end| end.1).collect();
    good.sort_unstable();
    let mut before = Duration::ZERO;
    let gaps = good.into_iter().map(|at| {
        let gap = at - before;
        before = at;
        gap
    });
    gaps.max().expect("some calls succeed")
}

#[tokio::test(start_paused = true)]
async fn writes_leave_a_member_that_hangs() {
    for mode in MODES {
        let (_, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        let ends = load(|| {
            let call = client.put("k", "v");
            async move { call.await.is_ok() }
        })
        .await;
        // The member counts as not serving 600 ms after the first doubt.
        let late = |end: &&(Duration, Duration, bool)| end.0 > Duration::from_millis(1_700);
        assert!(ends.iter().filter(late).all(|end| end.2), "{mode:?}");
        let gap = longest_gap(&ends);
        assert!(gap < Duration::from_millis(2_000), "{mode:?}: {gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn reads_leave_a_member_that_hangs_and_none_fails() {
    for mode in MODES {
        let (_, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        let ends = load(|| {
            let call = client.get("k");
            async move { call.await.is_ok() }
        })
        .await;
        assert!(ends.iter().all(|end| end.2), "{mode:?}");
        let longest = ends.iter().map(|end| end.1 - end.0).max();
        let longest = longest.expect("some calls end");
        assert!(
            longest < Duration::from_millis(2_000),
            "{mode:?}: {longest:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_at_a_member_that_hangs_ends_once_another_serves() {
    for mode in MODES {
        let (hung, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        while hung.asked() == 0 {
            let put = client.put("k", "v").no_timeout();
            let begun = Instant::now();
            let put = timeout(Duration::from_secs(10), put).await;
            match put.expect("the call ends in time") {
                Ok(_) => assert_eq!(hung.asked(), 0),
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::Unknown, "{mode:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{mode:?}: {error}");
                    let took = begun.elapsed();
                    assert!(took < Duration::from_millis(3_000), "{mode:?}: {took:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_all_of_its_time_while_no_endpoint_serves() {
    for mode in MODES {
        let (one, two, client) = two(mode, [Behavior::Hang, Behavior::Hang]).await;
        let put = tokio::spawn(client.put("k", "v").no_timeout());
        let handle = client.with_endpoint(HUNG).expect("the endpoint is known");
        let pinned = tokio::spawn(handle.put("k", "v").no_timeout());
        sleep(Duration::from_secs(60)).await;
        assert!(!put.is_finished() && !pinned.is_finished(), "{mode:?}");
        one.behavior.send_replace(Behavior::Answer);
        two.behavior.send_replace(Behavior::Answer);
        put.await.expect("no panic").expect("an answer");
        pinned.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_after_a_short_time_move_the_choice_too() {
    for mode in MODES {
        let (_, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        let ends = load(|| {
            let call = timeout(Duration::from_millis(200), client.put("k", "v"));
            async move { call.await.is_ok() }
        })
        .await;
        let late = |end: &&(Duration, Duration, bool)| end.0 > Duration::from_millis(1_500);
        assert!(ends.iter().filter(late).all(|end| end.2), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_serves_again_is_used_again_at_once() {
    for mode in [Mode::Random, Mode::ConnectAll] {
        let (hung, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        for _ in 0..10 {
            let _ = client.put("k", "v").timeout(Duration::from_secs(3)).await;
        }
        let before = hung.asked();
        for _ in 0..100 {
            client
                .put("k", "v")
                .await
                .expect("the put goes to the other endpoint");
        }
        assert_eq!(hung.asked(), before, "{mode:?}: the member is avoided");
        sleep(Duration::from_secs(300)).await;
        // One probe is open nearly all the time: each stays open for 10 s.
        assert!(hung.probes() < 45, "{mode:?}: {} probes", hung.probes());
        hung.behavior.send_replace(Behavior::Answer);
        // The prober may be in a pause.
        sleep(Duration::from_millis(1_100)).await;
        let before = hung.asked();
        for _ in 0..100 {
            client.put("k", "v").await.expect("an answer");
        }
        let used = hung.asked() - before;
        assert!((20..80).contains(&used), "{mode:?}: {used} of 100");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_member_without_service_move_the_choice() {
    for (status, text) in [
        ("14", "etcdserver: no leader"),
        ("14", "etcdserver: server stopped"),
        ("9", "etcdserver: rpc not supported for learner"),
        ("14", "no healthy upstream"),
    ] {
        for mode in MODES {
            let (bad, _, client) =
                two(mode, [Behavior::Refuse(status, text), Behavior::Answer]).await;
            sleep(Duration::from_millis(10)).await;
            for _ in 0..100 {
                client.get("k").await.expect("another one answers");
            }
            assert_eq!(bad.asked().min(1), bad.asked(), "{mode:?}: {text}");
            // The client probes it less and less often, and no call waits for a probe.
            sleep(Duration::from_secs(100)).await;
            assert!(bad.probes() < 40, "{mode:?}: {text}: {}", bad.probes());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_user_is_a_good_answer_to_a_probe() {
    let refuses = Behavior::Refuse("3", "etcdserver: user name is empty");
    let (hung, well) = (Member::new(Behavior::Hang), Member::new(Behavior::Answer));
    let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
    let builder = Client::builder().endpoint(HUNG).connector(peers.clone());
    let client = with_other(builder, Mode::Random).await;
    while hung.probes() == 0 {
        let _ = client.put("k", "v").timeout(Duration::from_secs(2)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let state = |client: &Client| format!("{:?}", client.status().endpoints[0].state);
    assert_eq!(state(&client), "NotServing");
    hung.behavior.send_replace(refuses);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(state(&client), "Ready");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_alone_costs_a_probe_and_moves_nothing() {
    let (slow, well) = (Member::new(Behavior::Answer), Member::new(Behavior::Answer));
    let asked = Arc::clone(&slow.probes);
    let member = slow.clone();
    let peers = peers(&[(WELL, &well)]).and(HUNG, move |_, stream: DuplexStream| {
        let member = member.clone();
        serve(stream, move |asked: Asked| {
            let member = member.clone();
            async move {
                if !is_probe(&asked) {
                    sleep(Duration::from_secs(4)).await;
                }
                member.answer(asked).await;
            }
        })
    });
    let client = client(&peers, Mode::PickFirst).await;
    for _ in 0..3 {
        client.put("k", "v").await.expect("an answer after 4 s");
    }
    assert_eq!((slow.asked(), well.asked()), (3, 0));
    // Each call asks for a probe after 1 and 3 s. It asks for none after 2 s, as the answer to the
    // first probe is then the last reply.
    assert_eq!(asked.lock().expect("no panic").len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_call_alone_leaves_a_member_that_hangs_after_its_first_probe() {
    for mode in MODES {
        let (slow, well) = (Member::new(Behavior::Answer), Member::new(Behavior::Answer));
        let member = slow.clone();
        // The member accepts the call, answers probes for 3 s more, and hangs then.
        let peers = peers(&[(WELL, &well)]).and(HUNG, move |_, stream: DuplexStream| {
            let member = member.clone();
            serve(stream, move |asked: Asked| {
                let member = member.clone();
                async move {
                    if !is_probe(&asked) {
                        sleep(Duration::from_secs(3)).await;
                        member.behavior.send_replace(Behavior::Hang);
                    }
                    member.answer(asked).await;
                }
            })
        });
        let client = client(&peers, mode).await;
        let handle = client.clone();
        while well.asked() > 0 || slow.probes() == 0 {
            well.asked.store(0, Ordering::Relaxed);
            slow.behavior.send_replace(Behavior::Answer);
            let put = handle.put("k", "v").no_timeout();
            let put = timeout(Duration::from_secs(10), put).await;
            if let Err(error) = put.expect("the call ends in time") {
                assert_eq!(error.outcome(), Outcome::Unknown, "{mode:?}: {error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_carries_no_secret() {
    let (hung, well) = (Member::new(Behavior::Hang), Member::new(Behavior::Answer));
    let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
    let token = crate::credentials::Token::new("a-secret");
    let builder = Client::builder().endpoint(HUNG).connector(peers.clone());
    let client = with_other(builder.token(token), Mode::PickFirst).await;
    let _ = client.put("k", "v").await;
    let probes = hung.probes.lock().expect("no panic");
    assert!(!probes.is_empty());
    for headers in &*probes {
        assert!(!headers.contains_key("token"), "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_sent_while_no_endpoint_serves_and_succeed_once_one_does() {
    for mode in MODES {
        let (one, two, client) = two(mode, [Behavior::Hang, Behavior::Hang]).await;
        for _ in 0..10 {
            let put = client.put("k", "v").timeout(Duration::from_secs(2)).await;
            let error = put.expect_err("there is no quorum");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{mode:?}: {error}");
        }
        assert!(one.asked() + two.asked() == 10, "each call was sent once");
        // The quorum is back, and only the second member is part of it.
        two.behavior.send_replace(Behavior::Answer);
        sleep(Duration::from_millis(1_100)).await;
        let begun = Instant::now();
        for _ in 0..10 {
            client.put("k", "v").await.expect("there is a quorum");
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_one_endpoint_is_not_probed() {
    let hung = Member::new(Behavior::Hang);
    let peers = peers(&[(HUNG, &hung)]);
    let client = peers.client().await;
    client.put("k", "v").await.expect_err("the member hangs");
    assert_eq!(hung.probes(), 0);
    hung.behavior.send_replace(Behavior::Answer);
    client
        .put("k", "v")
        .await
        .expect("the member answers again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_lock_leaves_a_member_that_hangs() {
    for mode in MODES {
        let (_, _, client) = two(mode, [Behavior::Hang, Behavior::Answer]).await;
        let lease = LeaseId::new(7).expect("not 0");
        let mut failed = None;
        // In two modes the lock may go to the other member at first.
        for _ in 0..100 {
            let lock = timeout(Duration::from_secs(60), client.lock("lock", lease)).await;
            match lock.expect("the call ends in time") {
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let error = failed.expect("one lock went to the member that hangs");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{mode:?}: {error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        let lock = client.lock("lock", lease).await;
        lock.expect("the next one goes to the other member");
    }
}

/// Ten thousand waiting locks that polled four times a second would use up a processor. The reads of the
/// queue do that at a member that hangs, some seven times a minute for 3 s.
#[tokio::test(start_paused = true)]
async fn a_waiting_lock_does_not_poll() {
    let hung = Member::new(Behavior::Hang);
    let client = peers(&[(HUNG, &hung)]).client().await;
    let lock = client.lock("lock", LeaseId::new(7).expect("not 0"));
    let mut lock = std::pin::pin!(lock.into_future());
    let mut polls = 0;
    let counted = std::future::poll_fn(|cx| {
        polls += 1;
        lock.as_mut().poll(cx)
    });
    let waits = timeout(Duration::from_secs(60), counted).await;
    assert!(waits.is_err(), "the lock waits for its turn");
    assert!(polls < 120, "{polls} polls in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_elsewhere_when_its_member_hangs() {
    for mode in MODES {
        let (hung, well) = (Script::new(Manner::Silent), Script::new(Manner::Answer));
        let peers = scripts([(HUNG, hung), (WELL, well)]);
        let client = client(&peers, mode).await;
        let mut keeper = client.keep(LeaseId::new(7).expect("not 0"));
        // A renewal is overdue after 1 s, and the next stream avoids the member.
        let alive = timeout(Duration::from_millis(1_500), async {
            while !matches!(keeper.state(), LeaseState::Alive { .. }) {
                keeper.changed().await;
            }
        });
        assert!(
            alive.await.is_ok(),
            "{mode:?}: no renewal at the other member"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_uses_a_free_connection_of_any_endpoint() {
    for mode in [Mode::Random, Mode::ConnectAll] {
        let (one, two) = (Script::new(Manner::Answer), Script::new(Manner::Answer));
        let peers = scripts([(HUNG, one), (WELL, two)]);
        // The connections of the streams come up while both endpoints are picked in turn.
        for number in 1..=100 {
            let client = client(&peers, mode).await;
            let mut keepers: Vec<_> = (0..4)
                .map(|handle| client.keep(LeaseId::new(number * 4 + handle).expect("not 0")))
                .collect();
            let alive = timeout(Duration::from_secs(1), async {
                for keeper in &mut keepers {
                    while !matches!(keeper.state(), LeaseState::Alive { .. }) {
                        keeper.changed().await;
                    }
                }
            });
            assert!(
                alive.await.is_ok(),
                "{mode:?}: the stream waits although a connection is free"
            );
        }
    }
}
