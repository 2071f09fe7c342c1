//! Endpoints that do not serve although their connections are well: calls, streams and waiting
//! calls leave them, and come back.

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

/// What a member does with calls. Pings are answered in any case.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Answer,
    /// It takes calls and does not answer them, until it answers.
    Hang,
    /// It refuses each call at once.
    Refuse(&'static str, &'static str),
}

/// A member, and what it was asked.
#[derive(Clone)]
struct Member {
    does: watch::Sender<Does>,
    asked: Arc<AtomicUsize>,
    probes: Arc<Mutex<Vec<http::HeaderMap>>>,
}

impl Member {
    fn new(does: Does) -> Self {
        Self {
            does: watch::Sender::new(does),
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
        let mut does = self.does.subscribe();
        // INVARIANT: `self` holds the sender.
        let does = does.wait_for(|does| *does != Does::Hang).await;
        match *does.expect("the sender lives") {
            Does::Refuse(status, text) => asked.fail(status, text),
            Does::Answer | Does::Hang if asked.path == "/v3lockpb.Lock/Lock" => {
                asked.answer(framed(&v3lockpb::LockResponse {
                    header: header(2),
                    key: "lock/7".into(),
                }));
            }
            Does::Answer | Does::Hang => asked.answer_well(),
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

/// A client that has chosen the first endpoint, and then got the other.
async fn client(peers: &Peers, mode: Mode) -> Client {
    let builder = Client::builder().endpoint(HUNG).connector(peers.clone());
    with_other(builder, mode).await
}

async fn with_other(builder: ClientBuilder, mode: Mode) -> Client {
    let client = builder.mode(mode).connect().await.expect("it connects");
    client.add_endpoint(WELL).expect("a URL");
    client
}

/// Makes a call every 50 ms for 20 s; returns how each has ended: when it was made, when it ended,
/// and whether it was good.
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
    gaps.max().expect("there are good ones")
}

#[tokio::test(start_paused = true)]
async fn writes_leave_a_member_that_hangs() {
    for mode in MODES {
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
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
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
        let ends = load(|| {
            let call = client.get("k");
            async move { call.await.is_ok() }
        })
        .await;
        assert!(ends.iter().all(|end| end.2), "{mode:?}");
        let longest = ends.iter().map(|end| end.1 - end.0).max();
        let longest = longest.expect("there are some");
        assert!(
            longest < Duration::from_millis(2_000),
            "{mode:?}: {longest:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_at_a_member_that_hangs_ends_once_another_serves() {
    for mode in MODES {
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
        while hung.asked() == 0 {
            let put = client.put("k", "v").no_timeout();
            let begun = Instant::now();
            let put = timeout(Duration::from_secs(10), put).await;
            match put.expect("it does not wait for ever") {
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
async fn a_call_waits_as_long_as_it_may_while_no_endpoint_serves() {
    for mode in MODES {
        let (one, two) = (Member::new(Does::Hang), Member::new(Does::Hang));
        let peers = peers(&[(HUNG, &one), (WELL, &two)]);
        let client = client(&peers, mode).await;
        let put = tokio::spawn(client.put("k", "v").no_timeout());
        let handle = client.member(HUNG).expect("it is one of them");
        let pinned = tokio::spawn(handle.put("k", "v").no_timeout());
        sleep(Duration::from_secs(60)).await;
        assert!(!put.is_finished() && !pinned.is_finished(), "{mode:?}");
        one.does.send_replace(Does::Answer);
        two.does.send_replace(Does::Answer);
        put.await.expect("no panic").expect("an answer");
        pinned.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_after_a_short_time_leave_it_too() {
    for mode in MODES {
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
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
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
        for _ in 0..10 {
            let _ = client.put("k", "v").timeout(Duration::from_secs(3)).await;
        }
        let before = hung.asked();
        for _ in 0..100 {
            client.put("k", "v").await.expect("it goes to the other");
        }
        assert_eq!(hung.asked(), before, "{mode:?}: it is avoided");
        sleep(Duration::from_secs(300)).await;
        // One probe is under way nearly all the time: each is waited for 10 s.
        assert!(hung.probes() < 45, "{mode:?}: {} probes", hung.probes());
        hung.does.send_replace(Does::Answer);
        // It may just have paused.
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
            let (bad, well) = (
                Member::new(Does::Refuse(status, text)),
                Member::new(Does::Answer),
            );
            let peers = peers(&[(HUNG, &bad), (WELL, &well)]);
            let client = client(&peers, mode).await;
            sleep(Duration::from_millis(10)).await;
            for _ in 0..100 {
                client.get("k").await.expect("another one answers");
            }
            assert_eq!(bad.asked().min(1), bad.asked(), "{mode:?}: {text}");
            // It is asked less and less often, and its answer is not waited for.
            sleep(Duration::from_secs(100)).await;
            assert!(bad.probes() < 40, "{mode:?}: {text}: {}", bad.probes());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_want_of_a_user_is_a_good_answer_to_a_probe() {
    let refuses = Does::Refuse("3", "etcdserver: user name is empty");
    let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
    let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
    let builder = Client::builder().endpoint(HUNG).connector(peers.clone());
    let client = with_other(builder, Mode::Random).await;
    while hung.probes() == 0 {
        let _ = client.put("k", "v").timeout(Duration::from_secs(2)).await;
    }
    sleep(Duration::from_secs(2)).await;
    let state = |client: &Client| format!("{:?}", client.status().endpoints[0].state);
    assert_eq!(state(&client), "NotServing");
    hung.does.send_replace(refuses);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(state(&client), "Ready");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_alone_costs_a_probe_and_moves_nothing() {
    let (slow, well) = (Member::new(Does::Answer), Member::new(Does::Answer));
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
        client.put("k", "v").await.expect("it takes 4 s");
    }
    assert_eq!((slow.asked(), well.asked()), (3, 0));
    // Each call asks after 1 and 3 s: after 2 s, the answer to the first probe is the last reply.
    assert_eq!(asked.lock().expect("no panic").len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_call_alone_leaves_a_member_that_hangs_after_its_first_probe() {
    for mode in MODES {
        let (slow, well) = (Member::new(Does::Answer), Member::new(Does::Answer));
        let member = slow.clone();
        // It takes the call, answers probes for 3 s more, and hangs then.
        let peers = peers(&[(WELL, &well)]).and(HUNG, move |_, stream: DuplexStream| {
            let member = member.clone();
            serve(stream, move |asked: Asked| {
                let member = member.clone();
                async move {
                    if !is_probe(&asked) {
                        sleep(Duration::from_secs(3)).await;
                        member.does.send_replace(Does::Hang);
                    }
                    member.answer(asked).await;
                }
            })
        });
        let client = client(&peers, mode).await;
        let handle = client.clone();
        while well.asked() > 0 || slow.probes() == 0 {
            well.asked.store(0, Ordering::Relaxed);
            slow.does.send_replace(Does::Answer);
            let put = handle.put("k", "v").no_timeout();
            let put = timeout(Duration::from_secs(10), put).await;
            if let Err(error) = put.expect("it does not wait for ever") {
                assert_eq!(error.outcome(), Outcome::Unknown, "{mode:?}: {error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_leaves_with_a_probe() {
    let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
    let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
    let token = crate::Token::new("a-secret");
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
async fn where_no_endpoint_serves_calls_still_go_out_and_are_served_at_once() {
    for mode in MODES {
        let (one, two) = (Member::new(Does::Hang), Member::new(Does::Hang));
        let peers = peers(&[(HUNG, &one), (WELL, &two)]);
        let client = client(&peers, mode).await;
        for _ in 0..10 {
            let put = client.put("k", "v").timeout(Duration::from_secs(2)).await;
            let error = put.expect_err("there is no quorum");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{mode:?}: {error}");
        }
        assert!(one.asked() + two.asked() == 10, "each call was sent once");
        // The quorum is back, and only the second member has a part in it.
        two.does.send_replace(Does::Answer);
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
    let hung = Member::new(Does::Hang);
    let peers = peers(&[(HUNG, &hung)]);
    let client = peers.client().await;
    client.put("k", "v").await.expect_err("it hangs");
    assert_eq!(hung.probes(), 0);
    hung.does.send_replace(Does::Answer);
    client.put("k", "v").await.expect("it answers again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_lock_leaves_a_member_that_hangs() {
    for mode in MODES {
        let (hung, well) = (Member::new(Does::Hang), Member::new(Does::Answer));
        let peers = peers(&[(HUNG, &hung), (WELL, &well)]);
        let client = client(&peers, mode).await;
        let lease = LeaseId::new(7).expect("not 0");
        let mut failed = None;
        // In two modes it may go to the other one at first.
        for _ in 0..100 {
            let lock = timeout(Duration::from_secs(60), client.lock("lock", lease)).await;
            match lock.expect("it does not wait for ever") {
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let error = failed.expect("one went to the member that hangs");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{mode:?}: {error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        let lock = client.lock("lock", lease).await;
        lock.expect("the next one goes to the other member");
    }
}

/// Ten thousand waiting locks that looked four times a second would keep a processor busy.
#[tokio::test(start_paused = true)]
async fn a_waiting_lock_does_not_look_now_and_then() {
    let hung = Member::new(Does::Hang);
    let client = peers(&[(HUNG, &hung)]).client().await;
    let lock = client.lock("lock", LeaseId::new(7).expect("not 0"));
    let mut lock = std::pin::pin!(lock.into_future());
    let mut polls = 0;
    let counted = std::future::poll_fn(|cx| {
        polls += 1;
        lock.as_mut().poll(cx)
    });
    let waits = timeout(Duration::from_secs(60), counted).await;
    assert!(waits.is_err(), "it waits for its turn");
    assert!(polls < 20, "{polls} polls in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_elsewhere_when_its_member_hangs() {
    for mode in MODES {
        let (hung, well) = (Script::new(Manner::Silent), Script::new(Manner::Answer));
        let peers = [(HUNG, &hung), (WELL, &well)];
        let peers = peers.iter().fold(Peers::default(), |peers, (url, script)| {
            let script = (*script).clone();
            peers.and(url, move |_, stream| script.clone().serve(stream))
        });
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
            "{mode:?}: it is not renewed at the other one"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_takes_the_place_that_is_there_whichever_endpoint_is_picked() {
    for mode in [Mode::Random, Mode::ConnectAll] {
        let (one, two) = (Script::new(Manner::Answer), Script::new(Manner::Answer));
        let peers = [(HUNG, &one), (WELL, &two)];
        let peers = peers.iter().fold(Peers::default(), |peers, (url, script)| {
            let script = (*script).clone();
            peers.and(url, move |_, stream| script.clone().serve(stream))
        });
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
            assert!(alive.await.is_ok(), "{mode:?}: it waits, and there is room");
        }
    }
}
