//! Steady load by one client, which checks every answer.

mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etcdex::{Client, ErrorKind, LeaseId, LeaseKeeper, LeaseState, Mode};
use etcdex_testkit::{Cluster, Direction, Proxy};
use tokio::task::JoinSet;

use self::workers::{Counter, Puts};
use super::BOUND;
use crate::stage::{DEADLINE, eventually};

const TTL: Duration = Duration::from_secs(5);

/// A client, its proxies to each member, and its tasks.
pub(super) struct Traffic {
    pub(super) mode: Mode,
    /// In the order of the members.
    pub(super) proxies: Vec<Proxy>,
    pub(super) gaps: Arc<Watch>,
    client: Client,
    keeper: LeaseKeeper,
    over: Arc<AtomicBool>,
    tasks: JoinSet<TaskResult>,
}

/// The result of a task.
enum TaskResult {
    Nothing,
    Puts(Puts),
    Counter(Counter),
}

impl Traffic {
    pub(super) async fn start(cluster: &Cluster, mode: Mode) -> Self {
        let mut proxies = Vec::new();
        for member in cluster.members() {
            proxies.push(Proxy::start(member.client_address()).await.unwrap());
        }
        let builder = Client::builder().endpoints(proxies.iter().map(Proxy::endpoint));
        let builder = builder.mode(mode).namespace(format!("{mode:?}/"));
        let client = builder.timeout(BOUND).connect().await.unwrap();
        let mut traffic = Self {
            mode,
            proxies,
            gaps: Arc::default(),
            keeper: lease(&client).await,
            client,
            over: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..2 {
            traffic.spawn(number).await;
        }
        traffic
    }

    /// Starts two writers of different kinds, and two readers of the keys of the first one.
    async fn spawn(&mut self, number: usize) {
        let work = workers::Work {
            client: self.client.clone(),
            gaps: Arc::clone(&self.gaps),
            over: Arc::clone(&self.over),
        };
        let counter = Counter::new(&self.client, number).await;
        for _ in 0..2 {
            let read = workers::read(work.clone(), counter.key(), counter.acknowledged());
            self.tasks.spawn(read);
        }
        self.tasks.spawn(counter.count(work.clone()));
        self.tasks.spawn(Puts::new(number).put(work));
    }

    /// Waits until every task has had some more successful answers.
    pub(super) async fn flows(&mut self) {
        let begun = Instant::now();
        let tasks = self.tasks.len() as u64;
        for _ in 0..3 {
            // ORDER: all tasks have arrived in the turn before, so that none is missed.
            self.gaps.arrived.store(0, Ordering::SeqCst);
            let turn = self.gaps.turn.fetch_add(1, Ordering::SeqCst) + 1;
            while self.gaps.arrived.load(Ordering::SeqCst) < tasks {
                if let Some(end) = self.tasks.try_join_next() {
                    // Before the end, a task ends only by a panic.
                    std::panic::resume_unwind(end.err().unwrap().into_panic());
                }
                let waited = begun.elapsed();
                assert!(waited < DEADLINE, "{:?}: turn {turn} hangs", self.mode);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Returns the index of the member that gets most calls.
    pub(super) async fn used(&self) -> usize {
        let before = self.sent();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sent = self.sent().into_iter().zip(before);
        let sent = sent.map(|(after, before)| after - before).enumerate();
        sent.max_by_key(|(_, bytes)| *bytes).unwrap().0
    }

    /// Asserts that calls go to this member.
    pub(super) async fn assert_uses(&self, place: usize) {
        let before = self.sent()[place];
        let what = format!("{:?} uses the member", self.mode);
        // Far more bytes than a renewal of the lease.
        eventually(&what, || async { self.sent()[place] > before + 5_000 }).await;
    }

    fn sent(&self) -> Vec<u64> {
        let sent = |proxy: &Proxy| proxy.forwarded(Direction::ToServer);
        self.proxies.iter().map(sent).collect()
    }

    /// Records the remaining time of the lease, and asserts that the lease is not lost.
    pub(super) fn look_at_lease(&self) {
        let left = match self.keeper.state() {
            LeaseState::Alive { expires, .. } => expires.saturating_duration_since(Instant::now()),
            LeaseState::AtRisk { remaining, .. } => remaining,
            LeaseState::Unknown { .. } => Duration::ZERO,
            other => panic!("{:?}: {other:?}", self.mode),
        };
        let left = u64::try_from(left.as_millis()).unwrap();
        self.gaps.lease.fetch_min(left, Ordering::Relaxed);
    }

    /// Replaces a lease that the server may have revoked.
    pub(super) async fn change_lease(&mut self) {
        let lease = lease(&self.client).await;
        let before = std::mem::replace(&mut self.keeper, lease);
        if let Err(error) = before.revoke().await {
            assert_eq!(error.kind(), ErrorKind::LeaseNotFound, "{error:?}");
            self.gaps.revoked.store(true, Ordering::Relaxed);
        }
    }

    /// Asserts that the same lease lives, with the same key.
    pub(super) async fn assert_lease_lives(&self) {
        eventually("the lease is known to live", || async {
            self.look_at_lease();
            matches!(self.keeper.state(), LeaseState::Alive { .. })
        })
        .await;
        let ttl = self.client.ttl(self.keeper.id()).keys().await.unwrap();
        assert!(ttl.ttl.is_some(), "{:?}: {ttl:?}", self.mode);
        let key = leased(self.keeper.id());
        assert_eq!(ttl.keys, [&*key]);
        let kv = self.client.get(&key).await.unwrap().into_kv().unwrap();
        assert_eq!((kv.version, kv.lease), (1, Some(self.keeper.id())));
    }

    /// Stops the tasks, and compares the outcomes that the client reported with the store.
    pub(super) async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            match task.unwrap() {
                TaskResult::Nothing => {}
                TaskResult::Puts(puts) => puts.check(&self.client).await,
                TaskResult::Counter(counter) => counter.check(&self.client).await,
            }
        }
    }
}

/// The key of the lease.
fn leased(id: LeaseId) -> String {
    format!("hush/leased/{id}")
}

/// Keeps a lease with a key.
async fn lease(client: &Client) -> LeaseKeeper {
    let lease = client.grant(TTL).await.unwrap();
    let put = client.put(leased(lease.id), "hush");
    put.lease(lease.id).await.unwrap();
    let mut keeper = client.keep(lease.id);
    let state = keeper.changed().await;
    assert!(matches!(state, LeaseState::Alive { .. }), "{state:?}");
    keeper
}

/// Measurements of the tasks of one client since the last `clear`.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: AtomicU64,
    write: AtomicU64,
    unknown: AtomicU64,
    applied: AtomicU64,
    /// Milliseconds.
    lease: AtomicU64,
    revoked: AtomicBool,
    /// Each task arrives once in a turn, with its first successful answer.
    turn: AtomicU64,
    arrived: AtomicU64,
}

/// The longest waits for a successful answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaps {
    pub(super) read: Duration,
    pub(super) write: Duration,
    /// Number of writes with an unknown outcome.
    pub(super) unknown: u64,
    pub(super) applied: u64,
    /// Minimum of the remaining time of the lease.
    pub(super) lease: Duration,
    /// Whether the server has revoked the lease.
    pub(super) revoked: bool,
}

impl Watch {
    pub(super) fn clear(&self) {
        for number in [&self.read, &self.write, &self.unknown, &self.applied] {
            number.store(0, Ordering::Relaxed);
        }
        self.lease.store(u64::MAX, Ordering::Relaxed);
        self.revoked.store(false, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Gaps {
        let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let time = |micros: &AtomicU64| Duration::from_micros(number(micros));
        Gaps {
            read: time(&self.read),
            write: time(&self.write),
            unknown: number(&self.unknown),
            applied: number(&self.applied),
            lease: Duration::from_millis(number(&self.lease)),
            revoked: self.revoked.load(Ordering::Relaxed),
        }
    }
}
