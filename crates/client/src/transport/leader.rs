//! Whether the member behind a connection still sees a leader.
//!
//! etcd checks `hasleader` when a unary call comes in, and not again while the call waits. A call that
//! waits for a lock on a member that is then cut off waits until the network is whole. etcd ends open
//! *streams* that require a leader when the leader has been away for three election time-outs. So one
//! idle stream on each connection tells all calls that wait there.
//!
//! Source: etcd, `server/etcdserver/api/v3rpc/interceptor.go` (`newUnaryInterceptor`,
//! `monitorLeader`).

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::failure::Failure;
use super::link::{Head, Link, StreamPermit, TokenHeader};
use super::link_state::now;
use super::stream::open;
use crate::error::ErrorKind;
use crate::method::Method;
use crate::mutex::Mutex;
use crate::runtime;

/// How long a call waits before the stream is opened. A lock that is granted at once opens no stream,
/// and a call that is refused because there is no leader gets that answer first.
const PATIENCE: Duration = Duration::from_secs(1);

/// Number of refusals, with pauses of [`PATIENCE`], after which the leader counts as lost. During an
/// election of the usual length a stream is refused at once, too.
const REFUSALS: u32 = 3;

/// Pause before a stream that ended for another reason is opened again.
const PAUSE: Duration = Duration::from_secs(10);

/// Largest message that is accepted on the stream, on which none should come, in bytes.
const LIMIT: usize = 64 << 10;

/// Resolves when the member behind a link has lost its leader.
pub(crate) type LeaderLoss = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream of a link that notices the loss of the leader. It is open while any call waits.
#[derive(Default)]
pub(crate) struct LeaderMonitor {
    lost: Mutex<Weak<watch::Sender<bool>>>,
}

/// How often a call opens the stream again after the task of the stream has ended with its runtime.
const LOST_TASKS: u32 = 3;

/// Returns a future that resolves when the member behind the link has lost its leader.
pub(crate) fn leader_loss(link: &Arc<Link>, token: Option<&Arc<TokenHeader>>) -> LeaderLoss {
    // A call that waits for the end of the link does not keep it.
    let (link, token) = (Arc::downgrade(link), token.cloned());
    Box::pin(async move {
        if runtime::present().is_err() {
            // There is no timer: the call waits without being told of the leader.
            return std::future::pending().await;
        }
        tokio::time::sleep(PATIENCE).await;
        for _ in 0..LOST_TASKS {
            let lost = link.upgrade().filter(|link| !link.state.is_draining());
            let Some(mut lost) = lost.and_then(|link| subscribe(&link, token.clone())) else {
                break;
            };
            if lost.wait_for(|lost| *lost).await.is_ok() {
                return;
            }
            // The runtime of the task has ended: the next task belongs to that of the call.
        }
        // The connection is gone, which the call notices by itself.
        std::future::pending::<()>().await;
    })
}

/// Subscribes to the stream of the link, and starts the stream if there is none. Returns `None`
/// outside of a tokio runtime.
fn subscribe(link: &Arc<Link>, token: Option<Arc<TokenHeader>>) -> Option<watch::Receiver<bool>> {
    let runtime = runtime::present().ok()?;
    let (sender, receiver) = {
        let mut slot = link.leader_monitor.lost.lock();
        if let Some(sender) = slot.upgrade() {
            return Some(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(false);
        let sender = Arc::new(sender);
        *slot = Arc::downgrade(&sender);
        (sender, receiver)
    };
    // ORDER: the lock is released before the spawn: a runtime that is ending drops the task at once.
    runtime.spawn(keep_open(Arc::clone(link), sender, token));
    Some(receiver)
}

/// Keeps the stream open until the leader is lost or no call waits any more.
async fn keep_open(
    link: Arc<Link>,
    lost: Arc<watch::Sender<bool>>,
    token: Option<Arc<TokenHeader>>,
) {
    let mut refusals = 0;
    loop {
        let opened = now();
        let kind = tokio::select! {
            biased;
            () = lost.closed() => {
                // ORDER: `subscribe` holds the same lock, so no subscriber is left without a stream.
                let mut slot = link.leader_monitor.lost.lock();
                if lost.is_closed() {
                    *slot = Weak::new();
                    return;
                }
                continue;
            }
            kind = run_stream(&link, token.as_deref()) => kind,
        };
        let at_once = now().saturating_duration_since(opened) < PATIENCE;
        refusals = match kind {
            ErrorKind::NoLeader if at_once => refusals + 1,
            ErrorKind::NoLeader => REFUSALS,
            _ => 0,
        };
        if refusals == REFUSALS {
            // ORDER: a call that subscribes after this line gets a new stream.
            *link.leader_monitor.lost.lock() = Weak::new();
            lost.send_replace(true);
            return;
        }
        if link.state.is_draining() {
            return;
        }
        let pause = if refusals > 0 { PATIENCE } else { PAUSE };
        tokio::select! {
            () = lost.closed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Opens a stream that requires a leader; returns the kind of error that the stream ends with.
async fn run_stream(link: &Arc<Link>, token: Option<&TokenHeader>) -> ErrorKind {
    let head = Head {
        timeout: None,
        require_leader: true,
        token,
    };
    let permit = StreamPermit::new(Arc::clone(link));
    // Nothing is ever sent on the stream. Every etcd keeps a stream of this method open without asking
    // for the user.
    let opened = open(permit, Method::LeaseKeepAlive, head, LIMIT);
    let kind = |failure: Failure| failure.error.kind();
    let (_outgoing, mut incoming) = match opened {
        Ok(stream) => stream,
        Err(failure) => return kind(failure),
    };
    loop {
        match incoming.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return ErrorKind::Unavailable,
            Err(failure) => return kind(failure),
        }
    }
}
