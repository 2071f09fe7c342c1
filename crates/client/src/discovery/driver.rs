//! Asks for the members now and then, and does what the rule says. It has no rules.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sync::{Changes, Sync};
use crate::call::{Call, Core, Scope, Stage};
use crate::cluster::ListMembers;
use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::method::Lane;
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

/// Starts to learn the client's endpoints, until the client is gone or closed; if it is to.
pub(crate) fn start(core: &Arc<Core>, config: &Config) -> Result<(), Error> {
    let interval = config.options.auto_sync_interval;
    #[cfg(feature = "srv")]
    let (source, wanted) = {
        let source = config.options.srv.clone();
        let wanted = source.is_some();
        (source, wanted)
    };
    #[cfg(not(feature = "srv"))]
    let (source, wanted) = ((), false);
    if interval.is_none() && !wanted {
        return Ok(());
    }
    let runtime = tokio::runtime::Handle::try_current().map_err(|cause| {
        let message = "auto_sync_interval: the client is made outside of a tokio runtime";
        Error::new(ErrorKind::Config, message).with_source(cause)
    })?;
    let mut closing = core.closing.stages();
    let learner = Learner {
        core: Arc::downgrade(core),
        changes: core.transport.changes(),
        rule: Sync::new(&config.endpoints),
        interval,
        source,
    };
    runtime.spawn(async move {
        tokio::select! {
            // An error is the end of the client, too.
            _ = closing.wait_for(|stage| *stage > Stage::Open) => {}
            _ = learner.run() => {}
        }
    });
    Ok(())
}

struct Learner {
    core: Weak<Core>,
    changes: watch::Receiver<u64>,
    rule: Sync,
    /// `None`: the members are never asked for.
    interval: Option<Duration>,
    source: Source,
}

impl Learner {
    /// `None` when the client is gone.
    async fn run(mut self) -> Option<()> {
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
            if let Err(error) = sync(self.core.upgrade()?, &mut self.rule).await {
                tracing::debug!(target: "etcdex", %error, "the members could not be asked for");
            }
            pause = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
        }
    }

    /// Nothing can be reached: uses the given endpoints again, as DNS has them now if it is to be
    /// asked. Says whether that is any help.
    async fn fall_back(&mut self) -> Option<bool> {
        #[cfg(feature = "srv")]
        if let Some(srv) = &self.source {
            match super::lookup(srv, self.rule.is_secure()).await {
                Ok(seeds) => self.rule.reseed(seeds),
                Err(error) => tracing::debug!(target: "etcdex", %error, "DNS has no endpoints"),
            }
        }
        #[cfg(not(feature = "srv"))]
        let () = self.source;
        let core = self.core.upgrade()?;
        let back = self.rule.fall_back(&core.transport.endpoints());
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

/// Asks the cluster for its members, tries what they advertise, and settles the endpoints.
async fn sync(core: Arc<Core>, rule: &mut Sync) -> Result<(), Error> {
    let scope = Scope::of(Arc::clone(&core));
    // The client lives as long as this call.
    let members = Call::new(&scope, ListMembers::new())
        .timeout(PATIENCE)
        .await?;
    let origin = Origin::Cluster(members.header.cluster_id);
    let advertised = rule.advertised(&members.members);
    let mut proven = Vec::new();
    let mut trials = JoinSet::new();
    for endpoint in &advertised {
        trials.spawn(connects(Arc::clone(&core), endpoint.clone(), origin));
    }
    while let Some(trial) = trials.join_next().await {
        // None of them panics, and nobody but us ends them.
        proven.extend(trial.ok().flatten());
    }
    let changes = rule.settle(&advertised, &proven, &core.transport.endpoints());
    apply(&core, changes, origin);
    Ok(())
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
