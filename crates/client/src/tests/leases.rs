//! The task that renews leases, against a scripted server, in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Buf;
use etcdex_proto::etcdserverpb as pb;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};

use super::peer::{Asked, Peers, framed, head, header, headers, serve_streams};
use crate::client::EndpointState;
use crate::credentials::Token;
use crate::credentials::TokenFuture;
use crate::lease::LeaseEnd;
use crate::{ErrorKind, LeaseId, LeaseState, Mode};

const TTL: Duration = Duration::from_secs(6);
const STREAM: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

fn id(number: i64) -> LeaseId {
    LeaseId::new(number).expect("not 0")
}

/// Returns the end of a lease; the keeper has to report it at once.
async fn lost(keeper: &crate::LeaseKeeper) -> LeaseEnd {
    let end = tokio::time::timeout(TTL / 10, keeper.lost()).await;
    end.unwrap_or_else(|_| panic!("{:?}", keeper.state()))
}

fn is_alive(state: LeaseState) -> bool {
    matches!(state, LeaseState::Alive { .. })
}

/// The behavior of a server on renewals.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    Answer,
    /// Answers one renewal after the other, each after this delay.
    Slow(Duration),
    Gone,
    Silent,
    NoLeader,
    /// Refuses the token of each stream.
    TokenEnded,
    /// Refuses each stream without a token.
    TokenWanted,
}

/// Trailers with which the server ends a stream of renewals.
fn status(manner: Manner) -> Option<[(&'static str, &'static str); 2]> {
    let (code, text) = match manner {
        Manner::NoLeader => ("14", "etcdserver: no leader"),
        Manner::TokenEnded => ("16", "etcdserver: invalid auth token"),
        Manner::TokenWanted => ("3", "etcdserver: user name is empty"),
        _ => return None,
    };
    Some([("grpc-status", code), ("grpc-message", text)])
}

/// A server of leases: its behavior, the renewals that it got, its open streams and all streams.
#[derive(Clone)]
pub(super) struct Script {
    manner: Arc<Mutex<Manner>>,
    renewals: Arc<Mutex<Vec<i64>>>,
    opened: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    leader_wanted: Arc<AtomicUsize>,
    /// Leases that were revoked.
    pub(super) revoked: Arc<Mutex<Vec<i64>>>,
    /// Requests that are never answered.
    pub(super) held: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner: Arc::new(Mutex::new(manner)),
            renewals: Arc::default(),
            opened: Arc::default(),
            open: Arc::default(),
            leader_wanted: Arc::default(),
            revoked: Arc::default(),
            held: Arc::default(),
        }
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().expect("no panic")
    }

    pub(super) fn set_manner(&self, manner: Manner) {
        *self.manner.lock().expect("no panic") = manner;
    }

    pub(super) fn renewals(&self) -> usize {
        self.renewals.lock().expect("no panic").len()
    }

    pub(super) async fn serve(self, stream: DuplexStream) {
        let (this, other) = (self.clone(), self);
        let streams = move |request, reply| this.clone().stream(request, reply);
        serve_streams(stream, STREAM, streams, move |asked| other.answer(asked)).await;
    }

    fn answer(&self, asked: Asked) {
        let manner = self.manner();
        let silent = manner == Manner::Silent;
        if asked.path.ends_with("/LeaseRevoke") && !silent {
            if manner == Manner::Gone {
                return asked.fail("5", "etcdserver: requested lease not found");
            }
            let revoke = pb::LeaseRevokeRequest::decode(asked.message.clone());
            let id = revoke.expect("a request").id;
            self.revoked.lock().expect("no panic").push(id);
        }
        if asked.path.ends_with("/LeaseGrant") && !silent {
            let grant = pb::LeaseGrantRequest::decode(asked.message.clone());
            let grant = grant.expect("a request");
            return asked.answer(framed(&pb::LeaseGrantResponse {
                header: header(2),
                id: grant.id,
                ttl: grant.ttl,
                ..pb::LeaseGrantResponse::default()
            }));
        }
        let hangs = asked.message.windows(4).any(|part| part == b"hang");
        if silent || hangs {
            return self.held.lock().expect("no panic").push(asked);
        }
        asked.answer_well();
    }

    async fn stream(
        self,
        request: http::Request<h2::RecvStream>,
        mut reply: h2::server::SendResponse<bytes::Bytes>,
    ) {
        if request.headers().contains_key("hasleader") {
            self.leader_wanted.fetch_add(1, Ordering::Relaxed);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let has_token = request.headers().contains_key("token");
        let refusal = status(self.manner());
        if let Some(status) = refusal.filter(|_| self.manner() != Manner::TokenWanted || !has_token)
        {
            let mut head = head("application/grpc");
            head.headers_mut().extend(headers(&status));
            let _ = reply.send_response(head, true);
            return;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut body = request.into_body();
        let mut stream = reply
            .send_response(head("application/grpc"), false)
            .expect("open");
        while let Some(Ok(mut frame)) = body.data().await {
            let _ = body.flow_control().release_capacity(frame.len());
            while frame.len() >= 5 {
                let length = (&frame[1..5]).get_u32() as usize;
                let message = frame.split_to(5 + length).split_off(5);
                let id = pb::LeaseKeepAliveRequest::decode(message)
                    .expect("a renewal")
                    .id;
                self.renewals.lock().expect("no panic").push(id);
                let ttl = match self.manner() {
                    Manner::Answer | Manner::TokenWanted => 6,
                    Manner::Slow(delay) => {
                        sleep(delay).await;
                        6
                    }
                    Manner::Gone => 0,
                    Manner::TokenEnded => {
                        let status = status(Manner::TokenEnded).expect("the status has trailers");
                        let _ = stream.send_trailers(headers(&status));
                        self.open.fetch_sub(1, Ordering::Relaxed);
                        return;
                    }
                    Manner::Silent | Manner::NoLeader => continue,
                };
                let header = header(2);
                let answer = pb::LeaseKeepAliveResponse { header, id, ttl };
                let _ = stream.send_data(framed(&answer), false);
            }
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn one(script: &Script) -> Peers {
    let script = script.clone();
    Peers::one(move |_, stream| script.clone().serve(stream))
}

#[tokio::test(start_paused = true)]
async fn all_handles_share_one_stream_which_ends_with_the_last_keeper() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut first = client.keep(id(7));
    assert_eq!(first.state(), LeaseState::Unknown { cause: None });
    assert!(is_alive(first.changed().await));
    let mut second = client.namespace("n/").with_timeout(TTL).keep(id(8));
    assert!(is_alive(second.changed().await));
    let third = client.clone().keep(id(7));
    sleep(TTL * 10).await;
    assert!(is_alive(first.state()) && is_alive(second.state()) && is_alive(third.state()));
    assert_eq!(script.opened.load(Ordering::Relaxed), 1);
    assert_eq!(script.leader_wanted.load(Ordering::Relaxed), 1);
    // Two leases, each with about three and a half renewals in each of ten times-to-live.
    let renewals = script.renewals();
    assert!((60..=76).contains(&renewals), "{renewals}");

    drop((first, second));
    assert_eq!(script.open.load(Ordering::Relaxed), 1);
    drop(third);
    sleep(TTL).await;
    assert_eq!(
        script.open.load(Ordering::Relaxed),
        0,
        "the stream is closed"
    );
    let before = script.renewals();
    sleep(TTL * 10).await;
    assert_eq!(script.renewals(), before);

    let mut again = client.keep(id(7));
    assert!(is_alive(again.changed().await));
    assert_eq!(script.opened.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_holds_the_client_and_its_end_frees_it() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    drop(client);
    keeper.changed().await;
    sleep(TTL * 3).await;
    assert!(is_alive(keeper.state()));
    drop(keeper);
    sleep(TTL).await;
    assert_eq!(script.open.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_reported_and_renewed_no_more() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    keeper.changed().await;
    script.set_manner(Manner::Gone);
    assert_eq!(keeper.lost().await, LeaseEnd::Revoked);
    assert_eq!(keeper.changed().await, LeaseState::Lost(LeaseEnd::Revoked));
    assert_eq!(keeper.changed().await, LeaseState::Lost(LeaseEnd::Revoked));
    let before = script.renewals();
    sleep(TTL * 10).await;
    assert_eq!(script.renewals(), before);
    drop(keeper);
    script.set_manner(Manner::Answer);
    assert!(is_alive(client.keep(id(7)).changed().await));
}

/// The loss of a lease is not reported to a later keeper of the same ID.
#[tokio::test(start_paused = true)]
async fn a_lease_of_the_same_id_is_kept_at_once() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    keeper.changed().await;
    keeper.revoke().await.expect("an answer");
    let mut again = client.keep(id(7));
    assert!(is_alive(again.changed().await));
    sleep(TTL * 3).await;
    assert!(is_alive(again.state()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_and_one_without_a_leader_are_left() {
    for manner in [Manner::Silent, Manner::NoLeader] {
        let scripts = [Script::new(Manner::Answer), Script::new(Manner::Answer)];
        let [one, two] = scripts.clone();
        let peers = Peers::one(move |_, stream| one.clone().serve(stream))
            .and("http://two:1", move |_, stream| two.clone().serve(stream));
        let client = peers.client().await;
        let mut keeper = client.keep(id(7));
        keeper.changed().await;
        let used = scripts
            .iter()
            .position(|script| script.renewals() > 0)
            .expect("one");
        scripts[used].set_manner(manner);
        if manner == Manner::NoLeader {
            // etcd ends its streams like this when the leader is lost.
            scripts[used].set_manner(Manner::Silent);
            sleep(TTL / 4).await;
            scripts[used].set_manner(Manner::NoLeader);
        }
        sleep(TTL * 3).await;
        assert!(is_alive(keeper.state()), "{:?}", keeper.state());
        assert!(scripts[1 - used].renewals() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn at_risk_unknown_and_alive_again_are_reported() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    keeper.changed().await;
    script.set_manner(Manner::Silent);
    match keeper.changed().await {
        LeaseState::AtRisk { remaining, cause } => {
            assert!(remaining <= TTL / 3 && remaining > TTL / 4, "{remaining:?}");
            assert_eq!(cause.kind(), ErrorKind::Timeout);
            let endpoint = cause.endpoint().map(ToString::to_string);
            assert_eq!(endpoint.as_deref(), Some("http://one:1"), "{cause}");
        }
        state => panic!("{state:?}"),
    }
    let unknown = |state| match state {
        LeaseState::Unknown { cause } => cause.map(|cause| cause.kind()),
        state => panic!("{state:?}"),
    };
    assert_eq!(unknown(keeper.changed().await), Some(ErrorKind::Timeout));
    sleep(TTL).await;
    script.set_manner(Manner::Answer);
    assert!(is_alive(keeper.changed().await));
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_renews_nothing() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    let left = client.close(Duration::ZERO).await;
    assert_eq!(left.leases, [id(7)]);
    let renewals = script.renewals();
    let closed = LeaseState::Lost(LeaseEnd::ClientClosed);
    assert_eq!(lost(&keeper).await, LeaseEnd::ClientClosed);
    assert_eq!(keeper.changed().await, closed);
    assert_eq!(keeper.changed().await, closed);
    assert_eq!(lost(&keeper).await, LeaseEnd::ClientClosed);
    // A keeper of a closed client ends, too.
    assert_eq!(lost(&client.keep(id(7))).await, LeaseEnd::ClientClosed);
    assert_eq!(client.keep(id(8)).changed().await, closed);
    sleep(TTL * 10).await;
    assert_eq!(script.opened.load(Ordering::Relaxed), 1);
    assert_eq!(script.renewals(), renewals);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_leases_share_a_stream() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let keepers: Vec<_> = (1..=10_000).map(|number| client.keep(id(number))).collect();
    sleep(TTL * 4).await;
    assert!(keepers.iter().all(|keeper| is_alive(keeper.state())));
    assert_eq!(script.opened.load(Ordering::Relaxed), 1);
    let renewals = script.renewals();
    assert!(renewals < 10_000 * 16, "{renewals}");
    drop(keepers);
    sleep(TTL).await;
    assert_eq!(script.open.load(Ordering::Relaxed), 0);
}

/// Fails the first grant with an unknown outcome, and answers the second that the lease exists.
async fn grant(asked: Asked, seen: Arc<Mutex<Vec<i64>>>) {
    let request = pb::LeaseGrantRequest::decode(asked.message.clone()).expect("a grant");
    let first = {
        let mut seen = seen.lock().expect("no panic");
        seen.push(request.id);
        seen.len() == 1
    };
    if first {
        asked.fail("14", "etcdserver: request timed out");
    } else {
        asked.fail("9", "etcdserver: lease already exists");
    }
}

#[tokio::test]
async fn a_grant_that_is_sent_again_makes_one_lease() {
    let seen = Arc::<Mutex<Vec<i64>>>::default();
    let asked = Arc::clone(&seen);
    let peers = Peers::one(move |_, stream| {
        let seen = Arc::clone(&asked);
        super::peer::serve(stream, move |asked| grant(asked, Arc::clone(&seen)))
    });
    let client = peers.client().await;
    let lease = client
        .grant(TTL)
        .await
        .expect("the first grant made the lease");
    let ids = std::mem::take(&mut *seen.lock().expect("no panic"));
    assert_eq!(ids, [lease.id.as_i64(); 2]);
    assert!(lease.id.as_i64() > 0);
    assert_eq!(lease.ttl, TTL);

    // A grant with an ID of the user's is sent once: an existing lease may be another client's.
    let error = client.grant(TTL).id(id(7)).await.expect_err("timed out");
    assert_eq!(error.outcome(), crate::Outcome::Unknown);
    let error = client.grant(TTL).id(id(7)).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::LeaseExists);
    // Without an earlier attempt, an existing lease is another client's, too.
    let error = client.grant(TTL).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::LeaseExists);
}

#[test]
fn futures_of_a_keeper_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    fn check(mut keeper: crate::LeaseKeeper) {
        is_send(&keeper.changed());
        is_send(&keeper.lost());
        is_send(&keeper.revoke());
    }
    let _ = check;
}

/// Each renewal takes nearly half of the time-to-live, the first one too.
#[tokio::test(start_paused = true)]
async fn a_slow_server_keeps_a_lease_alive_over_one_stream() {
    let script = Script::new(Manner::Slow(TTL * 12 / 25));
    let client = one(&script).client().await;
    let lease = client.grant(TTL).await.expect("an answer");
    let mut keeper = client.keep(lease.id);
    assert!(is_alive(keeper.changed().await));
    for _ in 0..600 {
        sleep(TTL / 60).await;
        let state = keeper.state();
        assert!(!matches!(state, LeaseState::Unknown { .. }), "{state:?}");
    }
    assert_eq!(script.opened.load(Ordering::Relaxed), 1);
}

/// The client does not know the time-to-live before the first answer, so it tries another stream
/// meanwhile.
#[tokio::test(start_paused = true)]
async fn a_stream_stays_open_for_a_slow_first_answer_beside_another_stream() {
    let script = Script::new(Manner::Slow(TTL * 12 / 25));
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    let before = script.opened.load(Ordering::Relaxed);
    assert!((2..=3).contains(&before), "{before}");
    for _ in 0..600 {
        sleep(TTL / 60).await;
        let state = keeper.state();
        assert!(!matches!(state, LeaseState::Unknown { .. }), "{state:?}");
    }
    assert_eq!(script.opened.load(Ordering::Relaxed), before);
    assert_eq!(script.open.load(Ordering::Relaxed), 1);
}

/// The stream over the silent member stays open until the other member has answered.
#[tokio::test(start_paused = true)]
async fn a_lease_of_two_seconds_survives_a_member_that_hangs() {
    for hung in [0, 1] {
        let scripts = [Script::new(Manner::Answer), Script::new(Manner::Answer)];
        scripts[hung].set_manner(Manner::Silent);
        let [one, two] = scripts.clone();
        let peers = Peers::one(move |_, stream| one.clone().serve(stream))
            .and("http://two:1", move |_, stream| two.clone().serve(stream));
        let client = peers.client().await;
        let mut keeper = client.keep(id(7));
        let begun = tokio::time::Instant::now();
        assert!(is_alive(keeper.changed().await));
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// A member that refuses connections, or that demands a token which the client cannot get.
#[tokio::test(start_paused = true)]
async fn a_state_names_the_cause_of_unanswered_renewals() {
    let script = Script::new(Manner::Answer);
    let (one, refused) = (script.clone(), Arc::new(AtomicUsize::new(0)));
    let refuses = Arc::clone(&refused);
    let peers = Peers::one(move |_, stream| {
        let (script, refuses) = (one.clone(), Arc::clone(&refuses));
        async move {
            if refuses.load(Ordering::Relaxed) == 0 {
                tokio::select! {
                    () = script.serve(stream) => {}
                    () = until_set(&refuses) => {}
                }
            }
        }
    });
    let client = peers.client().await;
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    refused.store(1, Ordering::Relaxed);
    let LeaseState::AtRisk { cause, .. } = keeper.changed().await else {
        panic!("{:?}", keeper.state());
    };
    assert_eq!(cause.kind(), ErrorKind::Unavailable, "{cause}");
    assert!(cause.to_string().contains("http://one:1"), "{cause}");
    let LeaseState::Unknown { cause: Some(cause) } = keeper.changed().await else {
        panic!("{:?}", keeper.state());
    };
    assert_eq!(cause.kind(), ErrorKind::Unavailable, "{cause}");
    assert!(cause.endpoint().is_some() && !cause.message().is_empty());

    // A keeper that is made meanwhile has the same cause.
    let late = client.keep(id(8));
    sleep(TTL).await;
    let state = late.state();
    assert!(
        matches!(state, LeaseState::Unknown { cause: Some(_) }),
        "{state:?}"
    );

    let script = Script::new(Manner::NoLeader);
    let client = self::one(&script).client().await;
    let keeper = client.keep(id(7));
    sleep(TTL).await;
    let LeaseState::Unknown { cause: Some(cause) } = keeper.state() else {
        panic!("{:?}", keeper.state());
    };
    assert_eq!(cause.kind(), ErrorKind::NoLeader, "{cause}");
    assert!(cause.to_string().contains("http://one:1"), "{cause}");
}

/// No stream was ever opened, so no stream has ended with an error.
#[tokio::test(start_paused = true)]
async fn a_state_names_the_endpoint_that_refuses_connections() {
    let builder = Peers::default().builder().endpoint("http://nowhere:1");
    let client = builder.connect_lazy().expect("the options are valid");
    let keeper = client.keep(id(7));
    sleep(TTL).await;
    let LeaseState::Unknown { cause: Some(cause) } = keeper.state() else {
        panic!("{:?}", keeper.state());
    };
    assert_eq!(cause.kind(), ErrorKind::Unavailable, "{cause}");
    assert!(cause.to_string().contains("http://nowhere:1"), "{cause}");
}

/// The endpoint that refuses connections is not the cause of the silence of the other one.
#[tokio::test(start_paused = true)]
async fn a_state_names_the_endpoint_that_is_silent_and_not_one_that_is_down() {
    let script = Script::new(Manner::Answer);
    let builder = one(&script).builder().endpoint("http://nowhere:1");
    let connect = builder.mode(crate::Mode::ConnectAll).connect();
    let client = connect.await.expect("the client connects");
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    script.set_manner(Manner::Silent);
    let LeaseState::AtRisk { cause, .. } = keeper.changed().await else {
        panic!("{:?}", keeper.state());
    };
    assert_eq!(cause.kind(), ErrorKind::Timeout, "{cause}");
    let endpoint = cause.endpoint().map(ToString::to_string);
    assert_eq!(endpoint.as_deref(), Some("http://one:1"), "{cause}");
}

/// A client whose provider returns one token, and then fails or hangs.
async fn with_one_token(script: &Script, hangs: bool) -> crate::Client {
    let asked = AtomicUsize::new(0);
    let provider = move || -> TokenFuture {
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Box::pin(async { Ok(Token::new("first")) }),
            _ if hangs => Box::pin(std::future::pending()),
            _ => Box::pin(async { Err("no more tokens".into()) }),
        }
    };
    let connect = one(script).builder().token(provider).connect();
    connect.await.expect("the client connects")
}

#[tokio::test(start_paused = true)]
async fn a_state_names_the_token_that_is_missing() {
    for hangs in [false, true] {
        let script = Script::new(Manner::Answer);
        let client = with_one_token(&script, hangs).await;
        let mut keeper = client.keep(id(7));
        assert!(is_alive(keeper.changed().await));
        script.set_manner(Manner::TokenEnded);
        let LeaseState::AtRisk { cause, .. } = keeper.changed().await else {
            panic!("{:?}", keeper.state());
        };
        // A provider that hangs has not failed yet, so the cause is the refusal of the server.
        let kind = match hangs {
            false => ErrorKind::AuthenticationFailed,
            true => ErrorKind::InvalidToken,
        };
        assert_eq!(cause.kind(), kind, "{cause}");
        assert!(cause.message().contains("token"), "{cause}");
        let LeaseState::Unknown { cause: Some(cause) } = keeper.changed().await else {
            panic!("{:?}", keeper.state());
        };
        assert!(cause.message().contains("token"), "{cause}");
        sleep(TTL * 10).await;
        let LeaseState::Unknown { cause: Some(cause) } = keeper.state() else {
            panic!("{:?}", keeper.state());
        };
        assert!(cause.message().contains("no token"), "{cause}");
        let opened = script.opened.load(Ordering::Relaxed);
        assert!(opened < 10, "{opened} streams without a token");
    }
}

/// The other endpoint is connected, answers pings, and serves no call.
#[tokio::test(start_paused = true)]
async fn after_a_refused_token_renewals_go_on_at_the_endpoint_that_serves() {
    let (good, hung) = (Script::new(Manner::Answer), Script::new(Manner::Silent));
    let script = hung.clone();
    let peers = one(&good).and("http://two:1", move |_, stream| {
        script.clone().serve(stream)
    });
    let provider = || -> TokenFuture { Box::pin(async { Ok(Token::new("token")) }) };
    let builder = peers.builder().token(provider).mode(Mode::ConnectAll);
    let client = builder.connect().await.expect("the client connects");
    for _ in 0..20 {
        let _ = client.get("k").await;
    }
    let endpoints = client.status().endpoints;
    let hung_state = endpoints
        .iter()
        .find(|one| one.endpoint.url() == "http://two:1");
    assert!(matches!(
        hung_state.map(|one| &one.state),
        Some(EndpointState::NotServing)
    ));
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    good.set_manner(Manner::TokenEnded);
    while good.open.load(Ordering::Relaxed) > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    good.set_manner(Manner::Answer);
    let refused = Instant::now();
    until_set(&good.open).await;
    let waited = refused.elapsed();
    assert!(waited < Duration::from_millis(500), "{waited:?}");
    assert_eq!(
        hung.opened.load(Ordering::Relaxed),
        0,
        "streams at the hung one"
    );
}

/// Some releases of etcd check no token of a renewal. A login is a write, and takes a slow hash.
#[tokio::test(start_paused = true)]
async fn renewals_do_not_wait_for_a_login_that_hangs() {
    let script = Script::new(Manner::Answer);
    // The server holds each request with this text, and no stream.
    let builder = one(&script).builder().credentials("hang", "password");
    let client = builder.connect_lazy().expect("the options are valid");
    let keeper = client.keep(id(7));
    sleep(TTL * 10).await;
    assert!(is_alive(keeper.state()), "{:?}", keeper.state());
    assert!(script.renewals() >= 10);
}

#[tokio::test(start_paused = true)]
async fn renewals_wait_for_a_token_where_a_server_wants_one() {
    let script = Script::new(Manner::TokenWanted);
    let provider = || -> TokenFuture { Box::pin(async { Ok(Token::new("token")) }) };
    let builder = one(&script).builder().token(provider);
    let client = builder.connect_lazy().expect("the options are valid");
    let mut keeper = client.keep(id(7));
    tokio::time::timeout(TTL, async { while !is_alive(keeper.changed().await) {} })
        .await
        .expect("the second stream has a token");
    assert_eq!(script.opened.load(Ordering::Relaxed), 2);
}

async fn until_set(flag: &AtomicUsize) {
    while flag.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoke_of_the_same_client_is_reported_at_once() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let keepers = [client.keep(id(7)), client.namespace("n/").keep(id(7))];
    sleep(TTL / 10).await;
    assert!(keepers.iter().all(|keeper| is_alive(keeper.state())));
    let before = script.renewals();
    client
        .with_timeout(TTL)
        .revoke(id(7))
        .await
        .expect("an answer");
    for keeper in &keepers {
        assert_eq!(lost(keeper).await, LeaseEnd::Revoked);
    }
    assert_eq!(
        script.renewals(),
        before,
        "the keeper needs no renewal to learn it"
    );

    // A request value has the same effect.
    let keeper = client.keep(id(7));
    sleep(TTL / 10).await;
    client
        .run(crate::lease::Revoke::new(id(7)))
        .await
        .expect("an answer");
    assert_eq!(lost(&keeper).await, LeaseEnd::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_revoke_that_finds_no_lease_is_reported_and_one_without_an_answer_is_not() {
    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let keeper = client.keep(id(7));
    sleep(TTL / 10).await;
    script.set_manner(Manner::Silent);
    let error = client.revoke(id(7)).timeout(TTL / 60).await;
    assert_eq!(
        error.expect_err("silent").outcome(),
        crate::Outcome::Unknown
    );
    assert!(is_alive(keeper.state()));
    script.set_manner(Manner::Gone);
    let error = client.revoke(id(7)).await.expect_err("the lease is gone");
    assert_eq!(error.kind(), ErrorKind::LeaseNotFound);
    assert_eq!(lost(&keeper).await, LeaseEnd::Revoked);
}

/// The answer to the first renewal may say that the lease is gone before the answer to the revoke
/// comes.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_revoked_before_its_first_answer_has_not_expired() {
    let script = Script::new(Manner::Gone);
    script.set_manner(Manner::Slow(TTL / 6));
    let client = one(&script).client().await;
    let keeper = client.keep(id(7));
    let mut revoke = Box::pin(client.revoke(id(7)).into_future());
    assert!(super::peer::poll_once(&mut revoke).is_pending());
    script.set_manner(Manner::Gone);
    assert_eq!(keeper.lost().await, LeaseEnd::Revoked);
}

/// The wall clock goes on while the machine sleeps, and the clock of the leases does not.
#[tokio::test(start_paused = true)]
async fn after_a_sleep_of_the_machine_a_lease_is_in_doubt_until_the_next_answer() {
    use crate::lease::registry::tests::SLEPT;

    let script = Script::new(Manner::Answer);
    let client = one(&script).client().await;
    let mut keeper = client.keep(id(7));
    assert!(is_alive(keeper.changed().await));
    script.set_manner(Manner::Silent);
    let renewals = script.renewals();
    SLEPT.set(TTL / 2);
    let LeaseState::Unknown { cause: Some(cause) } = keeper.state() else {
        panic!("{:?}", keeper.state());
    };
    assert!(cause.to_string().contains("slept"), "{cause}");
    let state = keeper.changed().await;
    assert!(matches!(state, LeaseState::Unknown { .. }), "{state:?}");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(script.renewals(), renewals + 1, "the driver renews at once");
    script.set_manner(Manner::Answer);
    assert!(is_alive(keeper.changed().await));
    SLEPT.set(Duration::ZERO);
}
