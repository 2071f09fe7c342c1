//! Asks for the members now and then, and does what the rule says. It has no rules.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sync::{Changes, Sync};
use crate::call::{Call, Core, Scope, Stage};
use crate::cluster::ListMembers;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::method::{Lane, Method};
use crate::transport::{Health, Member, Origin, Want};

/// After the given endpoints had to be taken back, the members are asked for so soon.
const SOON: Duration = Duration::from_secs(1);

/// While nothing can be reached, it is looked for other endpoints so often.
const AGAIN: Duration = Duration::from_secs(10);

/// How long the members are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any client lives.
const FOREVER: Duration = Duration::from_secs(1 << 31);

/// Where DNS is to be asked for the given endpoints again, if anywhere.
#[cfg(feature = "srv")]
type Source = Option<crate::srv::Srv>;
#[cfg(not(feature = "srv"))]
type Source = ();

/// The endpoints that a client was given and has learned, and the task that learns them.
///
/// ORDER: the rule and the transport's endpoints are changed under the same lock, so that the two
/// always agree.
pub(crate) struct Discovery {
    rule: Mutex<Sync>,
    /// Held during a sync: of two member lists, the older must not be settled last.
    turn: tokio::sync::Mutex<()>,
    /// Whether the task was made.
    is_learning: AtomicBool,
}

impl Discovery {
    pub(crate) fn new(seeds: &[Endpoint]) -> Arc<Self> {
        Arc::new(Self {
            rule: Mutex::new(Sync::new(seeds)),
            turn: tokio::sync::Mutex::default(),
            is_learning: AtomicBool::new(false),
        })
    }

    fn rule(&self) -> MutexGuard<'_, Sync> {
        // Nothing that panics leaves it half done.
        self.rule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns the client's endpoints from its first connection on, if the options ask for that.
    pub(crate) fn start(self: &Arc<Self>, core: &Arc<Core>) {
        #[cfg(feature = "srv")]
        let asks_dns = core.options.srv.is_some();
        #[cfg(not(feature = "srv"))]
        let asks_dns = false;
        if asks_dns || core.options.auto_sync_interval.is_some() {
            self.learn(core);
        }
    }

    /// Makes the task, if there is none. It runs until the client is gone or closed, in whatever
    /// runtime a connection of the client lives.
    fn learn(self: &Arc<Self>, core: &Arc<Core>) {
        if !self.is_learning.swap(true, Ordering::Relaxed) {
            let learner = Learner {
                core: Arc::downgrade(core),
                discovery: Arc::clone(self),
                changes: core.transport.changes(),
                closing: core.closing.stages(),
                interval: core.options.auto_sync_interval,
                #[cfg(feature = "srv")]
                source: core.options.srv.clone(),
                #[cfg(not(feature = "srv"))]
                source: (),
            };
            park(core, Running(Some(learner)));
        }
    }

    /// Asks the cluster for its members, tries what they advertise, and settles the endpoints.
    /// The given endpoints are back when none of the learned ones can be reached any more.
    ///
    /// # Errors
    /// The errors of the call that asks for the members.
    pub(crate) async fn sync_now(
        self: &Arc<Self>,
        scope: &Scope,
        members: Call<ListMembers>,
    ) -> Result<Vec<Endpoint>, Error> {
        let runtime = crate::runtime::present();
        runtime.map_err(|error| scope.describe(error, Method::MemberList, None, 0))?;
        self.learn(&scope.core);
        self.sync(&scope.core, members).await?;
        Ok(scope.core.transport.endpoints())
    }

    async fn sync(&self, core: &Arc<Core>, members: Call<ListMembers>) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let (version, seeds) = {
            let rule = self.rule();
            (rule.version(), rule.clone())
        };
        let members = members.await?;
        let origin = Origin::Cluster(members.header.cluster_id);
        let advertised = seeds.advertised(&members.members);
        let mut proven = Vec::new();
        let mut trials = JoinSet::new();
        for endpoint in &advertised {
            trials.spawn(connects(Arc::clone(core), endpoint.clone(), origin));
        }
        while let Some(trial) = trials.join_next().await {
            // None of them panics; one that its runtime has ended proves nothing.
            proven.extend(trial.ok().flatten());
        }
        let mut rule = self.rule();
        // The user has chosen others meanwhile, of another cluster perhaps.
        if rule.version() == version {
            let changes = rule.settle(&advertised, &proven, &core.transport.endpoints());
            apply(core, changes, origin);
        }
        Ok(())
    }

    /// Uses these endpoints and no others: those that the client is given from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for an endpoint that can never be reached;
    /// then nothing has changed.
    pub(crate) fn replace(&self, core: &Core, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        let mut rule = self.rule();
        core.transport.replace(&endpoints)?;
        rule.replace(endpoints);
        Ok(())
    }
}

/// Leaves the task to the next runtime in which a connection lives.
fn park(core: &Core, running: Running) {
    core.transport
        .park(Box::new(move || Box::pin(running.run())));
}

/// The task, or what is left of it when its runtime ends.
///
/// INVARIANT: it is dropped with the task, also before the first poll, and parks what the next
/// task needs unless the client is closed or gone.
struct Running(Option<Learner>);

impl Running {
    async fn run(mut self) {
        if let Some(learner) = &mut self.0 {
            let mut closing = learner.closing.clone();
            tokio::select! {
                // An error is the end of the client, too.
                _ = closing.wait_for(|stage| *stage > Stage::Open) => {}
                _ = learner.run() => {}
            }
        }
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a panic nothing is known of it.
        let learner = self.0.take().filter(|_| !std::thread::panicking());
        let core = learner.as_ref().and_then(|learner| learner.core.upgrade());
        if let Some(core) = core {
            park(&core, Self(learner));
        }
    }
}

struct Learner {
    core: Weak<Core>,
    discovery: Arc<Discovery>,
    changes: watch::Receiver<u64>,
    closing: watch::Receiver<Stage>,
    /// `None`: the members are never asked for.
    interval: Option<Duration>,
    source: Source,
}

impl Learner {
    /// `None` when the client is gone.
    async fn run(&mut self) -> Option<()> {
        // It makes no connection by itself: the first look comes when there is one.
        let is_up = |health: &[Health]| health.contains(&Health::Up);
        wait(&self.core, &mut self.changes, is_up).await?;
        let mut pause = self.interval.map_or(FOREVER, |_| Duration::ZERO);
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                down = wait(&self.core, &mut self.changes, all_down) => {
                    drop(down?);
                    if !self.fall_back().await? {
                        // Nothing but time helps.
                        let is_better = |health: &[Health]| !all_down(health);
                        let better = wait(&self.core, &mut self.changes, is_better);
                        let _ = tokio::time::timeout(pause.min(AGAIN), better).await;
                        continue;
                    }
                    tokio::time::sleep(SOON).await;
                }
            }
            let Some(interval) = self.interval else {
                continue;
            };
            let core = self.core.upgrade()?;
            let scope = Scope::of(Arc::clone(&core));
            // The client lives as long as this call.
            let members = Call::new(&scope, ListMembers::new()).timeout(PATIENCE);
            if let Err(error) = self.discovery.sync(&core, members).await {
                tracing::debug!(target: "etcdex", %error, "the members could not be asked for");
            }
            drop((core, scope));
            pause = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        }
    }

    /// Nothing can be reached: uses the given endpoints again, as DNS has them now if it is to be
    /// asked. Says whether that is any help.
    async fn fall_back(&mut self) -> Option<bool> {
        #[cfg(feature = "srv")]
        if let Some(srv) = &self.source {
            let (is_secure, version) = {
                let rule = self.discovery.rule();
                (rule.is_secure(), rule.version())
            };
            // Endpoints that the user has chosen since are not those of DNS.
            if version == 0 {
                match super::lookup(srv, is_secure).await {
                    Ok(seeds) => self.discovery.rule().reseed(seeds),
                    Err(error) => tracing::debug!(target: "etcdex", %error, "DNS has no endpoints"),
                }
            }
        }
        #[cfg(not(feature = "srv"))]
        let () = self.source;
        let core = self.core.upgrade()?;
        let rule = self.discovery.rule();
        let back = rule.fall_back(&core.transport.endpoints());
        let helps = !back.add.is_empty();
        // They are the user's, also those that DNS has where the user has named a domain.
        apply(&core, back, Origin::User);
        Some(helps)
    }
}

fn all_down(health: &[Health]) -> bool {
    health.iter().all(|one| *one == Health::Down)
}

/// Waits until the states of the endpoints are as wanted; `None` when the client is gone.
async fn wait(
    core: &Weak<Core>,
    changes: &mut watch::Receiver<u64>,
    wanted: impl Fn(&[Health]) -> bool,
) -> Option<Arc<Core>> {
    loop {
        changes.borrow_and_update();
        let present = core.upgrade()?;
        let seen = present.transport.seen();
        let health: Vec<Health> = seen.iter().map(|one| one.health).collect();
        if wanted(&health) {
            return Some(present);
        }
        drop(present);
        changes.changed().await.ok()?;
    }
}

/// Returns the endpoint if it can be reached and is one of the cluster. A connection is published
/// only when it has proven that; no call is made, and no token leaves.
async fn connects(core: Arc<Core>, endpoint: Endpoint, origin: Origin) -> Option<Endpoint> {
    let want = Want {
        lane: Lane::Unary,
        member: Some(Member::at(core.transport.attach(&endpoint, origin).ok()?)),
        avoided: None,
        parting: false,
    };
    // It is made in two steps, each of which has that time.
    let limit = core.options.connect_timeout.saturating_mul(2);
    let place = tokio::time::timeout(limit, core.transport.occupy(want)).await;
    if let (Err(_), Some((_, cause))) = (&place, core.transport.trouble(want)) {
        tracing::debug!(target: "etcdex", %endpoint, %cause, "what a member advertises is not used");
    }
    place.ok()?.ok().map(|_| endpoint)
}

fn apply(core: &Core, changes: Changes, origin: Origin) {
    // ORDER: the last endpoint cannot be removed, so the new ones come first.
    for endpoint in changes.add {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint was learned from the cluster");
        if let Err(error) = core.transport.add(&endpoint, origin) {
            tracing::debug!(target: "etcdex", %error, "and cannot be used");
        }
    }
    for endpoint in changes.remove {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint is advertised by no member");
        core.transport.remove(&endpoint);
    }
}
