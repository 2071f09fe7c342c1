//! The task that holds the stream of all watches. It has no rules.

mod line;
mod telling;
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

use self::line::{Place, Stream};
use super::backlog::Backlog;
use super::entry::Spec;
use super::hub::{Hub, Route, Work};
use super::inbox::Inbox;
use super::progress::is_exact;
use super::resume::{Step, Watches};
use crate::call::{Call, Core, Scope};
use crate::error::{Error, ErrorKind};
use crate::kv::{Get, ResponseHeader, broken, decode};
use crate::transport::{Avoided, Failure, TokenHeader, frame, now};

/// How many bytes of requests leave in one piece, about: any window has room for them.
const PIECE: usize = 32 << 10;

/// Longer than this the task does not sleep.
const LOOK: Duration = Duration::from_secs(3_600);

/// A watch that somebody wants.
pub(super) struct Addition {
    pub(super) number: u64,
    pub(super) owner: u64,
    pub(super) inbox: Arc<Inbox>,
    pub(super) spec: Spec,
    pub(super) backlog: Arc<Backlog>,
    /// Told the first revision when the watch is in force, or why it never will be.
    pub(super) start: oneshot::Sender<Result<i64, Error>>,
}

pub(super) enum Command {
    Add(Box<Addition>),
    Cancel(u64),
    Forget(u64),
    GoOn(u64),
    RequestProgress(u64),
    /// With inboxes of those who have nothing watched now.
    Close(Vec<Arc<Inbox>>),
}

type Future<T> = Pin<Box<dyn std::future::Future<Output = T> + Send>>;

/// Runs until nobody watches any more.
pub(super) async fn run(
    hub: Arc<Hub>,
    core: Weak<Core>,
    route: Route,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    // ORDER: the task listens for other credentials before it opens a stream with those of now.
    let mut replaced = core.upgrade().map(|core| core.replaced.subscribe());
    let mut driver = Driver::new(&hub, core, route);
    loop {
        while let Ok(command) = commands.try_recv() {
            driver.command(command);
        }
        let rest = driver.act();
        if driver.watches.is_idle() && hub.ends(route, &commands) {
            // Their owners go on, and with the next watch there is another task.
            driver.inboxes.clear();
            return;
        }
        let longest = now() + LOOK;
        let rest = rest.map_or(longest, |rest| rest.min(longest));
        tokio::select! {
            Some(command) = commands.recv() => driver.command(command),
            event = driver.event() => driver.take(event),
            () = changed(&mut replaced) => driver.credentials_replaced(),
            () = tokio::time::sleep_until(rest.into()) => driver.look(),
        }
    }
}

/// Ready when the client was given other credentials.
async fn changed(replaced: &mut Option<watch::Receiver<u64>>) {
    if let Some(replaced) = replaced {
        if replaced.changed().await.is_ok() {
            return;
        }
    }
    // The client is gone, and gets none any more.
    pending::<()>().await;
}

struct Driver {
    hub: Arc<Hub>,
    core: Weak<Core>,
    route: Route,
    watches: Watches,
    inboxes: HashMap<u64, Arc<Inbox>>,
    starts: HashMap<u64, oneshot::Sender<Result<i64, Error>>>,
    stream: Stream,
    /// Requests that wait for the server's window.
    piece: BytesMut,
    /// The revision of the store is being asked for, by a key.
    pin: Option<(Bytes, Future<Result<ResponseHeader, Error>>)>,
    /// The server of the stream is being asked for its version.
    version: Option<Future<Option<String>>>,
    /// The link of the last stream, when that was lost.
    avoided: Option<Avoided>,
    /// The token that the stream was opened with.
    token: Option<Arc<TokenHeader>>,
    /// It is noted that streams fail.
    troubled: bool,
}

enum Event {
    Pinned(Result<ResponseHeader, Error>),
    Version(Option<String>),
    Occupied(Result<Place, Error>),
    Message(Result<Option<Bytes>, Failure>),
    Sent(Result<(), Failure>),
}

impl Driver {
    fn new(hub: &Arc<Hub>, core: Weak<Core>, route: Route) -> Self {
        let has_credentials = core
            .upgrade()
            .is_some_and(|core| core.authentication.get().is_some());
        Self {
            hub: Arc::clone(hub),
            core,
            route,
            watches: Watches::new(Arc::clone(hub.meter()), has_credentials, fastrand::u64(..)),
            inboxes: HashMap::new(),
            starts: HashMap::new(),
            stream: Stream::None,
            piece: BytesMut::new(),
            pin: None,
            version: None,
            avoided: None,
            token: None,
            troubled: false,
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add(addition) => {
                let Addition {
                    number,
                    owner,
                    inbox,
                    spec,
                    backlog,
                    start,
                } = *addition;
                if inbox.is_over() {
                    // Its owner was gone before, and nobody else would ever cancel it. Who waits
                    // for it hears so by the end of `start`.
                    return;
                }
                self.inboxes.entry(owner).or_insert(inbox);
                self.starts.insert(number, start);
                self.watches.add(number, owner, spec, backlog);
            }
            Command::Cancel(number) => {
                self.starts.remove(&number);
                self.watches.cancel(number);
            }
            Command::Forget(owner) => {
                self.inboxes.remove(&owner);
                for number in self.watches.forget(owner) {
                    self.starts.remove(&number);
                }
            }
            Command::GoOn(number) => self.watches.go_on(number),
            Command::RequestProgress(owner) => self.watches.request_progress(owner),
            Command::Close(idle) => self.close(idle),
        }
    }

    /// Does what is due; says until when to rest.
    fn act(&mut self) -> Option<Instant> {
        loop {
            let ready = self.piece.len() < PIECE;
            let ready = ready && matches!(&self.stream, Stream::Open(open) if !open.ended);
            match self.watches.next(now(), ready) {
                Step::Tell(tell) => self.tell(tell),
                Step::Pin(key) => self.pin(key),
                Step::Open { fresh } => self.open(fresh),
                Step::Close { silent } => self.drop_stream(silent),
                Step::Send(request) => self.send(&request),
                Step::Rest(until) => return until,
            }
        }
    }

    /// Asks for the revision of the store; linearizable, so it is of now or later.
    fn pin(&mut self, key: Bytes) {
        let scope = self.scope();
        let asked = key.clone();
        let pin = async move {
            let Some(scope) = scope else {
                return Err(Error::new(ErrorKind::Closed, "the client is gone"));
            };
            let timeout = scope.timeout.of_a_call();
            let mut count = Call::new(&scope, Get::new(asked)).count_only();
            if let Some(timeout) = timeout {
                // Somewhat less, so that who waits for the watch can be told what went wrong.
                count = count.timeout(timeout / 5 * 4);
            }
            let header = count.await?.header;
            if header.revision < 1 {
                return Err(broken("a reply does not tell the store's revision"));
            }
            Ok(header)
        };
        self.pin = Some((key, Box::pin(pin)));
    }

    /// What calls of this task start from.
    fn scope(&self) -> Option<Scope> {
        let mut scope = Scope::of(self.core.upgrade()?);
        scope.namespace = None;
        scope.member = self.route.member;
        scope.require_leader = Some(self.route.require_leader);
        Some(scope)
    }

    fn send(&mut self, request: &WatchRequest) {
        // INVARIANT: only a key could make it too large, and such a watch was refused.
        if let Ok(frame) = frame(request, usize::MAX) {
            self.piece.extend_from_slice(&frame);
        }
    }

    /// What comes; nothing is lost when it is dropped.
    async fn event(&mut self) -> Event {
        let Self {
            stream,
            piece,
            pin,
            version,
            ..
        } = self;
        let pinned = async {
            match pin {
                Some((_, pin)) => pin.await,
                None => pending().await,
            }
        };
        let version = async {
            match version {
                Some(version) => version.await,
                None => pending().await,
            }
        };
        tokio::select! {
            event = stream.event(piece) => event,
            revision = pinned => Event::Pinned(revision),
            version = version => Event::Version(version),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Pinned(outcome) => {
                // INVARIANT: it comes from this pin.
                let Some((key, _)) = self.pin.take() else {
                    return;
                };
                let outcome = outcome.map_err(Arc::new);
                let trouble = outcome.as_ref().err().map(Arc::clone);
                self.hub.note(self.route, Work::Pin, trouble);
                match outcome {
                    Ok(header) => self.watches.pinned(header),
                    Err(error) => self.watches.unpinned(&key, &error, now()),
                }
            }
            Event::Version(version) => {
                self.version = None;
                let exact = version.is_some_and(|version| is_exact(&version));
                self.watches.judged(exact);
            }
            Event::Occupied(Ok((occupancy, token))) => match self.start(occupancy, token) {
                Ok(()) => self.watches.opened(now()),
                Err(failure) => self.broke(failure),
            },
            Event::Occupied(Err(error)) => self.fail(error),
            Event::Message(Ok(Some(message))) => self.receive(message),
            Event::Message(Ok(None)) => {
                let error = Error::new(ErrorKind::Unavailable, "the server has ended the stream");
                self.fail(error);
            }
            Event::Message(Err(failure)) => self.broke(failure),
            Event::Sent(outcome) => {
                self.piece.clear();
                if let (Err(_), Stream::Open(open)) = (outcome, &mut self.stream) {
                    open.ended = true;
                }
            }
        }
    }

    fn receive(&mut self, message: Bytes) {
        if std::mem::take(&mut self.troubled) {
            self.hub.note(self.route, Work::Stream, None);
        }
        // A message that shares its buffer with others is copied: a watch that keeps it for long
        // must not keep what came around it.
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

    /// A server checks the watches of a stream with the token that the stream was opened with.
    fn credentials_replaced(&mut self) {
        self.watches.has_credentials();
        if !matches!(self.stream, Stream::None) {
            let message = "the credentials were replaced";
            self.fail(Error::new(ErrorKind::Unavailable, message));
            // The connection has done nothing wrong.
            self.avoided = None;
        }
    }

    /// The next stream brings another token, if this one ended for its token.
    fn broke(&mut self, failure: Failure) {
        if let Some(core) = self.core.upgrade() {
            Scope::of(core).note_token_refusal(&failure, self.token.as_deref());
        }
        self.fail(failure.error);
    }

    fn fail(&mut self, error: Error) {
        let error = match &self.stream {
            Stream::Open(open) => error.with_endpoint(&open.incoming.link().endpoint),
            _ => error,
        };
        tracing::debug!(target: "etcdex", %error, "the stream of the watches has ended");
        self.drop_stream(false);
        self.troubled = true;
        let noted = Arc::new(error.again());
        self.hub.note(self.route, Work::Stream, Some(noted));
        self.watches.failed(error, now());
    }

    fn close(&mut self, idle: Vec<Arc<Inbox>>) {
        self.watches.shut();
        // ORDER: each watch has ended for its owner before that is told that all is over.
        self.act();
        let inboxes = std::mem::take(&mut self.inboxes).into_values();
        inboxes.chain(idle).for_each(|inbox| inbox.close());
    }
}

impl Drop for Driver {
    // The runtime ends: nobody will ever tell more.
    fn drop(&mut self) {
        for inbox in self.inboxes.values() {
            inbox.interrupt();
        }
    }
}
