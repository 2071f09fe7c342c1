//! The task that asks for the members periodically and applies the rule. It has no rules of its
//! own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sync::{Changes, EndpointSync};
use crate::call::{Call, Core, Scope, ShutdownStage};
use crate::cluster::ListMembers;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::method::{Lane, Method};
use crate::mutex::Mutex;
use crate::transport::{EndpointTarget, Health, Origin, PickInfo};

/// Delay before the members are asked for again, after a return to the given endpoints.
const RESYNC_DELAY: Duration = Duration::from_secs(1);

/// Interval between two searches for other endpoints, while no endpoint can be reached.
const RECHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Time-out of the call that asks for the members.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than any client lives.
const NEVER: Duration = Duration::from_secs(1 << 31);

/// The SRV records to look up when no endpoint can be reached, if any.
#[cfg(feature = "srv")]
type Source = Option<crate::srv::Srv>;
#[cfg(not(feature = "srv"))]
type Source = ();

/// The endpoints that a client was given and has learned, and the task that learns them.
///
/// ORDER: the rule and the transport's endpoints are changed under the same lock, so that they
/// always agree.
pub(crate) struct Discovery {
    rule: Mutex<EndpointSync>,
    /// Held during a sync, so that an older list of members is never applied after a newer one.
    sync_lock: tokio::sync::Mutex<()>,
    /// Whether the task was created.
    is_learning: AtomicBool,
}

impl Discovery {
    pub(crate) fn new(seeds: &[Endpoint]) -> Arc<Self> {
        Arc::new(Self {
            rule: Mutex::new(EndpointSync::new(seeds)),
            sync_lock: tokio::sync::Mutex::default(),
            is_learning: AtomicBool::new(false),
        })
    }

    fn rule(&self) -> MutexGuard<'_, EndpointSync> {
        self.rule.lock()
    }

    /// Starts to learn the client's endpoints with its first connection, if the options ask for
    /// that.
    pub(crate) fn start(self: &Arc<Self>, core: &Arc<Core>) {
        #[cfg(feature = "srv")]
        let asks_dns = core.options.srv.is_some();
        #[cfg(not(feature = "srv"))]
        let asks_dns = false;
        if asks_dns || core.options.auto_sync_interval.is_some() {
            self.learn(core);
        }
    }

    /// Creates the task, if there is none. The task runs until the client is dropped or closed, in
    /// a runtime in which a connection of the client lives.
    fn learn(self: &Arc<Self>, core: &Arc<Core>) {
        if !self.is_learning.swap(true, Ordering::Relaxed) {
            let task = SyncTask {
                core: Arc::downgrade(core),
                discovery: Arc::clone(self),
                changes: core.pool.changes(),
                closing: core.shutdown.stages(),
                interval: core.options.auto_sync_interval,
                #[cfg(feature = "srv")]
                source: core.options.srv.clone(),
                #[cfg(not(feature = "srv"))]
                source: (),
            };
            defer(core, RunningSync(Some(task)));
        }
    }

    /// Asks the cluster for its members, tries the URLs that they advertise, and applies the
    /// result. From then on, the client also returns to the given endpoints when no learned one can
    /// be reached.
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
        Ok(scope.core.pool.endpoints())
    }

    async fn sync(&self, core: &Arc<Core>, members: Call<ListMembers>) -> Result<(), Error> {
        let _guard = self.sync_lock.lock().await;
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
            // The tasks do not panic. A task that ended with its runtime proves nothing.
            proven.extend(trial.ok().flatten());
        }
        let mut rule = self.rule();
        // If the user has chosen other endpoints meanwhile, perhaps of another cluster, the result
        // is void.
        if rule.version() == version {
            let changes = rule.settle(&advertised, &proven, &core.pool.endpoints());
            apply(core, changes, origin);
        }
        Ok(())
    }

    /// Uses these endpoints and no others; they replace the endpoints that the client was given.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for an endpoint that can never be reached;
    /// then nothing has changed.
    pub(crate) fn replace(&self, core: &Core, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        let mut rule = self.rule();
        core.pool.replace(&endpoints)?;
        rule.replace(endpoints);
        Ok(())
    }
}

/// Stores the task until the next runtime in which a connection lives.
fn defer(core: &Core, running: RunningSync) {
    core.pool.defer(Box::new(move || Box::pin(running.run())));
}

/// The running task. When it is dropped because its runtime ends, it parks itself for the next
/// runtime.
///
/// INVARIANT: it is dropped with the task's future, also before the first poll, and parks the state
/// that the next task needs, unless the client is closed or dropped.
struct RunningSync(Option<SyncTask>);

impl RunningSync {
    async fn run(mut self) {
        if let Some(task) = &mut self.0 {
            let mut closing = task.closing.clone();
            tokio::select! {
                // An error means that the client was dropped.
                _ = closing.wait_for(|stage| *stage > ShutdownStage::Open) => {}
                _ = task.run() => {}
            }
        }
        self.0 = None;
    }
}

impl Drop for RunningSync {
    fn drop(&mut self) {
        // After a panic, the state may be inconsistent.
        let task = self.0.take().filter(|_| !std::thread::panicking());
        let core = task.as_ref().and_then(|task| task.core.upgrade());
        if let Some(core) = core {
            defer(&core, Self(task));
        }
    }
}

struct SyncTask {
    core: Weak<Core>,
    discovery: Arc<Discovery>,
    changes: watch::Receiver<u64>,
    closing: watch::Receiver<ShutdownStage>,
    /// `None`: the task does not ask for members periodically.
    interval: Option<Duration>,
    source: Source,
}

impl SyncTask {
    /// Runs until the client is dropped; returns `None` then.
    async fn run(&mut self) -> Option<()> {
        // The task makes no connection by itself: it asks for the first time when there is one.
        let is_up = |health: &[Health]| health.contains(&Health::Up);
        wait(&self.core, &mut self.changes, is_up).await?;
        let mut pause = self.interval.map_or(NEVER, |_| Duration::ZERO);
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                down = wait(&self.core, &mut self.changes, all_down) => {
                    drop(down?);
                    if !self.fall_back().await? {
                        // The given endpoints do not help: wait until an endpoint is reached again.
                        let is_better = |health: &[Health]| !all_down(health);
                        let better = wait(&self.core, &mut self.changes, is_better);
                        let _ = tokio::time::timeout(pause.min(RECHECK_INTERVAL), better).await;
                        continue;
                    }
                    tokio::time::sleep(RESYNC_DELAY).await;
                }
            }
            let Some(interval) = self.interval else {
                continue;
            };
            let core = self.core.upgrade()?;
            let scope = Scope::of(Arc::clone(&core));
            // The client stays alive as long as this call.
            let members = Call::new(&scope, ListMembers::new()).timeout(LIST_TIMEOUT);
            if let Err(error) = self.discovery.sync(&core, members).await {
                tracing::debug!(target: "etcdex", %error, "the members could not be asked for");
            }
            drop((core, scope));
            pause = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        }
    }

    /// Returns to the given endpoints, after a new lookup if they come from DNS, as no endpoint can
    /// be reached. Returns whether that adds an endpoint; `None` when the client was dropped.
    async fn fall_back(&mut self) -> Option<bool> {
        #[cfg(feature = "srv")]
        if let Some(srv) = &self.source {
            let (is_secure, version) = {
                let rule = self.discovery.rule();
                (rule.is_secure(), rule.version())
            };
            // Endpoints that the user has chosen replace the ones of DNS.
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
        let back = rule.fall_back(&core.pool.endpoints());
        let helps = !back.add.is_empty();
        // The endpoints count as the user's, also those of DNS, as the user has named the domain.
        apply(&core, back, Origin::User);
        Some(helps)
    }
}

fn all_down(health: &[Health]) -> bool {
    health.iter().all(|one| *one == Health::Down)
}

/// Waits until the states of the endpoints are as wanted. Returns `None` when the client was
/// dropped.
async fn wait(
    core: &Weak<Core>,
    changes: &mut watch::Receiver<u64>,
    wanted: impl Fn(&[Health]) -> bool,
) -> Option<Arc<Core>> {
    loop {
        changes.borrow_and_update();
        let present = core.upgrade()?;
        let seen = present.pool.endpoint_info();
        let health: Vec<Health> = seen.iter().map(|one| one.health).collect();
        if wanted(&health) {
            return Some(present);
        }
        drop(present);
        changes.changed().await.ok()?;
    }
}

/// Returns the endpoint if it can be reached and belongs to the cluster. A connection is published
/// only after it has proven that. No call is made, and no token is sent.
async fn connects(core: Arc<Core>, endpoint: Endpoint, origin: Origin) -> Option<Endpoint> {
    let pick = PickInfo {
        lane: Lane::Unary,
        member: Some(EndpointTarget::at(
            core.pool.attach(&endpoint, origin).ok()?,
        )),
        avoided: None,
        during_shutdown: false,
    };
    // A connection is made in two steps, each of which may take `connect_timeout`.
    let limit = core.options.connect_timeout.saturating_mul(2);
    let place = tokio::time::timeout(limit, core.pool.acquire(pick)).await;
    if let (Err(_), Some((_, cause))) = (&place, core.pool.last_error(pick)) {
        tracing::debug!(target: "etcdex", %endpoint, %cause, "what a member advertises is not used");
    }
    place.ok()?.ok().map(|_| endpoint)
}

fn apply(core: &Core, changes: Changes, origin: Origin) {
    // ORDER: the last endpoint cannot be removed, so the new ones come first.
    for endpoint in changes.add {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint was learned from the cluster");
        if let Err(error) = core.pool.add(&endpoint, origin) {
            tracing::debug!(target: "etcdex", %error, "and cannot be used");
        }
    }
    for endpoint in changes.remove {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint is advertised by no member");
        core.pool.remove(&endpoint);
    }
}
