//! The task that holds the stream of the watches of a route. It has no rules.

mod delivery;
mod side_calls;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::{WatchRequest, WatchResponse};
use tokio::sync::{mpsc, oneshot, watch};

use self::side_calls::{SideCalls, SideEvent};
use super::backlog::Backlog;
use super::entry::{OwnerId, Spec, WatchRef};
use super::inbox::Inbox;
use super::progress::is_exact;
use super::registry::{Route, WatchRegistry, Work};
use super::resume::{Step, Watches};
use crate::call::{BidiCall, BidiEvent, BidiOpener, BidiStream, Core, Scope};
use crate::error::{Error, ErrorKind};
use crate::kv::decode;
use crate::method::Method;
use crate::transport::{frame, now};

/// Approximate number of bytes of requests that are sent at once. Any flow-control window has room for
/// them.
const SEND_CHUNK: usize = 32 << 10;

/// The longest time that the task sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);

/// A watch that is to be added.
pub(super) struct Addition {
    pub(super) watch: WatchRef,
    pub(super) owner: OwnerId,
    pub(super) inbox: Arc<Inbox>,
    pub(super) spec: Spec,
    pub(super) backlog: Arc<Backlog>,
    /// Receives the first revision when the server has created the watch, or the error for which it
    /// never will.
    pub(super) start: oneshot::Sender<Result<i64, Error>>,
}

/// A command to the task; the numbers are those of watches.
pub(super) enum WatchCommand {
    Add(Box<Addition>),
    Cancel(WatchRef),
    /// The owner was dropped.
    RemoveOwner(OwnerId),
    /// The consumer of this paused watch has taken enough.
    Unpause(WatchRef),
    RequestProgress(OwnerId),
    /// The client is closed. Carries the inboxes of watchers, also of watchers without watches.
    Close(Vec<Arc<Inbox>>),
}

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Runs until there are no watches any more.
pub(super) async fn run(
    registry: Arc<WatchRegistry>,
    core: Weak<Core>,
    route: Route,
    mut commands: mpsc::UnboundedReceiver<WatchCommand>,
) {
    // ORDER: the task subscribes to changes of the credentials before it opens a stream with the
    // present ones.
    let mut replaced = core.upgrade().map(|core| core.replaced.subscribe());
    let mut driver = Driver::new(&registry, core, route);
    loop {
        while let Ok(command) = commands.try_recv() {
            driver.command(command);
        }
        let rest = driver.act();
        if driver.watches.is_idle() && registry.remove_task(route, &commands) {
            // ORDER: the inboxes stay open, because dropping the driver interrupts only those that are
            // left in it. The next watch starts another task for them.
            driver.inboxes.clear();
            return;
        }
        let longest = now() + LONGEST_SLEEP;
        let rest = rest.map_or(longest, |rest| rest.min(longest));
        tokio::select! {
            Some(command) = commands.recv() => driver.command(command),
            event = driver.event() => driver.take(event),
            () = changed(&mut replaced) => driver.credentials_replaced(),
            () = tokio::time::sleep_until(rest.into()) => driver.note_incomplete(),
        }
    }
}

/// Ready when the credentials of the client were replaced.
async fn changed(replaced: &mut Option<watch::Receiver<u64>>) {
    if let Some(replaced) = replaced {
        if replaced.changed().await.is_ok() {
            return;
        }
    }
    // The client was dropped: its credentials do not change any more.
    pending::<()>().await;
}

struct Driver {
    registry: Arc<WatchRegistry>,
    core: Weak<Core>,
    route: Route,
    watches: Watches,
    inboxes: HashMap<OwnerId, Arc<Inbox>>,
    starts: HashMap<WatchRef, oneshot::Sender<Result<i64, Error>>>,
    opener: BidiOpener,
    stream: Option<BidiStream>,
    /// Frames of requests that wait for the flow-control window of the server.
    unsent: BytesMut,
    side_calls: SideCalls,
    /// Whether the registry has an error of the stream.
    has_error: bool,
}

/// An event that the task waits for.
enum DriverEvent {
    Stream(BidiEvent),
    Side(SideEvent),
}

impl Driver {
    fn new(registry: &Arc<WatchRegistry>, core: Weak<Core>, route: Route) -> Self {
        let has_credentials = core
            .upgrade()
            .is_some_and(|core| core.authentication.get().is_some());
        let call = BidiCall {
            method: Method::Watch,
            member: route.member,
            require_leader: route.require_leader,
            needs_token: true,
            during_shutdown: false,
        };
        Self {
            registry: Arc::clone(registry),
            opener: BidiOpener::new(Weak::clone(&core), call),
            core,
            route,
            watches: Watches::new(
                Arc::clone(registry.budget()),
                has_credentials,
                fastrand::u64(..),
            ),
            inboxes: HashMap::new(),
            starts: HashMap::new(),
            stream: None,
            unsent: BytesMut::new(),
            side_calls: SideCalls::default(),
            has_error: false,
        }
    }

    fn command(&mut self, command: WatchCommand) {
        match command {
            WatchCommand::Add(addition) => {
                let Addition {
                    watch,
                    owner,
                    inbox,
                    spec,
                    backlog,
                    start,
                } = *addition;
                if inbox.is_over() {
                    // The owner was dropped before, so it would never cancel this watch. Dropping
                    // `start` tells the future that waits for the watch.
                    return;
                }
                self.inboxes.entry(owner).or_insert(inbox);
                self.starts.insert(watch, start);
                self.watches.add(watch, owner, spec, backlog);
            }
            WatchCommand::Cancel(watch) => {
                self.starts.remove(&watch);
                self.watches.cancel(watch);
            }
            WatchCommand::RemoveOwner(owner) => {
                self.inboxes.remove(&owner);
                for watch in self.watches.forget(owner) {
                    self.starts.remove(&watch);
                }
            }
            WatchCommand::Unpause(watch) => self.watches.unpause(watch),
            WatchCommand::RequestProgress(owner) => self.watches.request_progress(owner),
            WatchCommand::Close(idle) => self.close(idle),
        }
    }

    /// Executes the steps of the machine. Returns how long to rest.
    fn act(&mut self) -> Option<Instant> {
        loop {
            let ready = self.unsent.len() < SEND_CHUNK;
            let ready = ready && self.stream.as_ref().is_some_and(BidiStream::takes_messages);
            match self.watches.next(now(), ready) {
                Step::Tell(tell) => self.tell(tell),
                Step::Pin(key) => {
                    let scope = self.scope();
                    self.side_calls.pin(scope, key);
                }
                Step::Open { fresh } => self.open(fresh),
                Step::Close { silent } => self.drop_stream(silent),
                Step::Send(request) => self.send(&request),
                Step::Rest(until) => return until,
            }
        }
    }

    /// Returns the scope of the calls of this task.
    fn scope(&self) -> Option<Scope> {
        let mut scope = Scope::of(self.core.upgrade()?);
        scope.namespace = None;
        scope.member = self.route.member;
        scope.require_leader = Some(self.route.require_leader);
        Some(scope)
    }

    fn send(&mut self, request: &WatchRequest) {
        // INVARIANT: encoding does not fail. Only a key could make the request too large, and
        // `PendingWatch` has refused such a watch.
        if let Ok(frame) = frame(request, usize::MAX) {
            self.unsent.extend_from_slice(&frame);
        }
    }

    /// Waits for the next event. Dropping the future loses nothing.
    async fn event(&mut self) -> DriverEvent {
        let Self {
            stream,
            unsent,
            side_calls,
            ..
        } = self;
        let stream_event = async {
            match stream {
                Some(stream) => {
                    let frames = || (!unsent.is_empty()).then(|| Bytes::copy_from_slice(unsent));
                    stream.event(frames).await
                }
                None => pending().await,
            }
        };
        tokio::select! {
            event = stream_event => DriverEvent::Stream(event),
            event = side_calls.event() => DriverEvent::Side(event),
        }
    }

    fn take(&mut self, event: DriverEvent) {
        match event {
            DriverEvent::Side(SideEvent::Pinned(key, outcome)) => {
                let outcome = outcome.map_err(Arc::new);
                let error = outcome.as_ref().err().map(Arc::clone);
                self.registry.record(self.route, Work::Pin, error);
                match outcome {
                    Ok(header) => self.watches.pinned(header),
                    Err(error) => self.watches.unpinned(&key, &error, now()),
                }
            }
            DriverEvent::Side(SideEvent::Version(version)) => {
                let exact = version.is_some_and(|version| is_exact(&version));
                self.watches.progress_is_exact(exact);
            }
            DriverEvent::Stream(BidiEvent::Opened) => {
                self.ask_version();
                self.watches.opened(now());
            }
            DriverEvent::Stream(BidiEvent::Message(message)) => self.receive(message),
            DriverEvent::Stream(BidiEvent::Sent) => self.unsent.clear(),
            DriverEvent::Stream(BidiEvent::Ended(error)) => self.fail(error),
        }
    }

    fn receive(&mut self, message: Bytes) {
        if std::mem::take(&mut self.has_error) {
            self.registry.record(self.route, Work::Stream, None);
        }
        // A message that shares its buffer with others is copied, so that a consumer that keeps its
        // events for long does not keep the other messages.
        let message = if message.is_unique() {
            message
        } else {
            Bytes::copy_from_slice(&message)
        };
        match decode::<WatchResponse>(message) {
            Ok(message) => self.watches.received(message, now()),
            Err(error) => self.fail(error),
        }
    }

    /// Gives the stream up, because the server checks its watches with the token that it was opened
    /// with.
    fn credentials_replaced(&mut self) {
        self.watches.has_credentials();
        if self.stream.is_some() {
            let message = "the credentials were replaced";
            self.fail(Error::new(ErrorKind::Unavailable, message));
            // The connection is good: the next stream may use it again.
            self.opener.avoid_nothing();
        }
    }

    /// Tells the machine if more bytes of a long message have come.
    // ORDER: this comes before the machine may give the stream up for its silence.
    fn note_incomplete(&mut self) {
        if self.stream.as_mut().is_some_and(BidiStream::grows) {
            self.watches.delayed(now());
        }
    }

    fn open(&mut self, fresh: bool) {
        self.stream = Some(if fresh {
            self.opener.open_with_fresh_token()
        } else {
            self.opener.open()
        });
    }

    /// Drops the stream. `silent` says that no answer came within the wait.
    fn drop_stream(&mut self, silent: bool) {
        // ORDER: the old stream is dropped before a new one is opened, so that each later message is
        // one of the new stream.
        let stream = self.stream.take();
        if let Some(incoming) = stream
            .as_ref()
            .filter(|_| silent)
            .and_then(BidiStream::incoming)
        {
            incoming.report_no_answer();
        }
        self.unsent.clear();
        self.side_calls.forget_version();
    }

    /// Asks for the version of the stream's server.
    fn ask_version(&mut self) {
        let incoming = self.stream.as_ref().and_then(BidiStream::incoming);
        if let (Some(incoming), Some(core)) = (incoming, self.core.upgrade()) {
            self.side_calls.ask_version(Scope::of(core), incoming);
        }
    }

    fn fail(&mut self, error: Error) {
        let error = match &self.stream {
            Some(stream) => stream.locate(error),
            None => error,
        };
        tracing::debug!(target: "etcdex", %error, "the stream of the watches has ended");
        self.drop_stream(false);
        self.has_error = true;
        let recorded = Arc::new(error.again());
        self.registry
            .record(self.route, Work::Stream, Some(recorded));
        self.watches.failed(error, now());
    }

    fn close(&mut self, idle: Vec<Arc<Inbox>>) {
        self.watches.close();
        // ORDER: an owner is told the end of each watch before its inbox is closed.
        self.act();
        let inboxes = std::mem::take(&mut self.inboxes).into_values();
        inboxes.chain(idle).for_each(|inbox| inbox.close());
    }
}

impl Drop for Driver {
    // The runtime ends, and no task fills the inboxes any more.
    fn drop(&mut self) {
        for inbox in self.inboxes.values() {
            inbox.interrupt();
        }
    }
}
