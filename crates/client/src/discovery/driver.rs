//! Asks for the members now and then, and does what the rule says. It has no rules.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sync::{Changes, Sync};
use crate::call::{Call, Core, Scope, Stage, Timeout};
use crate::cluster::ListMembers;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::transport::Health;

/// After the given endpoints had to be taken back, the members are asked for so soon.
const SOON: Duration = Duration::from_secs(1);

/// Starts to learn the client's endpoints from the cluster, until the client is gone or closed.
pub(crate) fn start(core: &Arc<Core>, seeds: &[Endpoint], interval: Duration) -> Result<(), Error> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|cause| {
        let message = "auto_sync_interval: the client is made outside of a tokio runtime";
        Error::new(ErrorKind::Config, message).with_source(cause)
    })?;
    let mut closing = core.closing.stages();
    let changes = core.transport.changes();
    let task = run(Arc::downgrade(core), Sync::new(seeds), interval, changes);
    runtime.spawn(async move {
        tokio::select! {
            // An error is the end of the client, too.
            _ = closing.wait_for(|stage| *stage > Stage::Open) => {}
            () = task => {}
        }
    });
    Ok(())
}

async fn run(
    core: Weak<Core>,
    mut rule: Sync,
    interval: Duration,
    mut changes: watch::Receiver<u64>,
) {
    // It makes no connection by itself: the first look comes when there is one.
    if wait(&core, &mut changes, |health| health.contains(&Health::Up))
        .await
        .is_none()
    {
        return;
    }
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            down = wait(&core, &mut changes, all_down) => {
                let Some(present) = down else { return };
                let back = rule.fall_back(&present.transport.endpoints());
                if back.add.is_empty() {
                    // Nothing but time helps.
                    drop(present);
                    let better = wait(&core, &mut changes, |health| !all_down(health));
                    let _ = tokio::time::timeout(pause, better).await;
                    continue;
                }
                apply(&present, back);
                drop(present);
                tokio::time::sleep(SOON).await;
            }
        }
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = sync(core, &mut rule).await {
            tracing::debug!(target: "etcdex", %error, "the members could not be asked for");
        }
        pause = interval.mul_f64(0.9 + fastrand::f64() / 5.0);
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
    let members = Call::new(&scope, ListMembers::new()).await?;
    let cluster = members.header.cluster_id;
    let advertised = rule.advertised(&members.members);
    let mut proven = Vec::new();
    let mut trials = JoinSet::new();
    let seen = core.transport.seen();
    for endpoint in &advertised {
        let up =
            |one: &crate::transport::Seen| one.endpoint == *endpoint && one.health == Health::Up;
        if seen.iter().any(up) {
            proven.push(endpoint.clone());
        } else {
            trials.spawn(answers(scope.clone(), endpoint.clone(), cluster));
        }
    }
    while let Some(trial) = trials.join_next().await {
        // None of them panics, and nobody but us ends them.
        proven.extend(trial.ok().flatten());
    }
    let changes = rule.settle(&advertised, &proven, &core.transport.endpoints());
    apply(&core, changes);
    Ok(())
}

/// The endpoint, if a member of the same cluster answers there: what is advertised as `localhost`
/// may be another cluster's.
async fn answers(mut scope: Scope, endpoint: Endpoint, cluster: u64) -> Option<Endpoint> {
    let options = &scope.core.options;
    scope.timeout = Timeout::Chosen(Some(options.connect_timeout));
    scope.member = Some(scope.core.transport.attach(&endpoint).ok()?);
    let members = Call::new(&scope, ListMembers::new().serializable()).await;
    let same = members.is_ok_and(|members| members.header.cluster_id == cluster);
    same.then_some(endpoint)
}

fn apply(core: &Core, changes: Changes) {
    // ORDER: the last endpoint cannot be removed, so the new ones come first.
    for endpoint in changes.add {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint was learned from the cluster");
        if let Err(error) = core.transport.add(&endpoint) {
            tracing::debug!(target: "etcdex", %error, "and cannot be used");
        }
    }
    for endpoint in changes.remove {
        tracing::debug!(target: "etcdex", %endpoint, "an endpoint is advertised by no member");
        core.transport.remove(&endpoint);
    }
}
