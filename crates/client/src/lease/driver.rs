//! The task that renews all leases of a client over one stream. It has no rules.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use tokio::sync::{mpsc, watch};

use super::hub::{Command, Hub};
use super::renewal::Standing;
use super::state::{Leases, Step};
use crate::call::{Core, Scope, Stage};
use crate::error::{Error, ErrorKind};
use crate::kv::{LeaseId, decode};
use crate::method::Method;
use crate::transport::stream::{Incoming, Outgoing, open};
use crate::transport::{Avoided, Failure, Head, Occupancy, Pass, Want, frame, now};

/// How many renewals leave in one piece: some 16 KiB, which any window has room for.
const BATCH: usize = 1_000;

/// Longer than this the task does not sleep.
const LOOK: Duration = Duration::from_secs(3_600);

/// A place for the stream, and the token that it brings.
type Place = (Occupancy, Option<Arc<Pass>>);

/// Runs until nobody keeps a lease any more. It holds no connection by itself but the stream's:
/// keepers hold the client.
pub(super) async fn run(
    hub: Arc<Hub>,
    core: Weak<Core>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut closing: watch::Receiver<Stage>,
) {
    let mut closed = false;
    let mut driver = Driver {
        core,
        leases: Leases::new(fastrand::u64(..)),
        keepers: HashMap::new(),
        stream: Stream::None,
        batch: Vec::new(),
        avoided: None,
        pass: None,
    };
    loop {
        while let Ok(command) = commands.try_recv() {
            driver.command(command);
        }
        let rest = driver.act();
        if driver.leases.is_idle() && hub.ends(&commands) {
            return;
        }
        let longest = now() + LOOK;
        let rest = rest.map_or(longest, |rest| rest.min(longest));
        tokio::select! {
            Some(command) = commands.recv() => driver.command(command),
            event = driver.event() => driver.take(event),
            () = over(&mut closing), if !closed => {
                closed = true;
                driver.fail(&crate::transport::closed());
            }
            () = tokio::time::sleep_until(rest.into()) => {}
        }
    }
}

/// Ready when the client is closed for good.
async fn over(closing: &mut watch::Receiver<Stage>) {
    if closing
        .wait_for(|stage| *stage == Stage::Over)
        .await
        .is_err()
    {
        // Nobody has closed it; it was dropped.
        pending::<()>().await;
    }
}

struct Driver {
    core: Weak<Core>,
    leases: Leases,
    keepers: HashMap<LeaseId, Vec<(u64, watch::Sender<Standing>)>>,
    stream: Stream,
    /// Renewals that wait for the server's window.
    batch: Vec<LeaseId>,
    /// The link of the last stream.
    avoided: Option<Avoided>,
    /// The token that the stream was opened with.
    pass: Option<Arc<Pass>>,
}

enum Stream {
    None,
    Opening(Pin<Box<dyn Future<Output = Result<Place, Error>> + Send>>),
    Open(Box<Open>),
}

struct Open {
    outgoing: Outgoing,
    incoming: Incoming,
    /// It takes no more; the incoming side will say why.
    ended: bool,
}

enum Event {
    Occupied(Result<Place, Error>),
    Answer(Result<Option<Bytes>, Failure>),
    Sent(Result<(), Failure>),
}

impl Driver {
    fn command(&mut self, command: Command) {
        // ORDER: the loss of a lease is told to those who kept it then, and not to whoever keeps
        // another of the same ID from now on.
        while let Some((id, standing)) = self.leases.untold() {
            self.tell(id, standing);
        }
        match command {
            Command::Keep(id, number, state) => {
                let keepers = self.keepers.entry(id).or_default();
                if let Some((_, other)) = keepers.first() {
                    state.send_replace(*other.borrow());
                }
                keepers.push((number, state));
                self.leases.keep(id, now());
            }
            Command::Release(id, number) => {
                // It is not there when the lease was lost, and another may be kept by its ID.
                let Some(keepers) = self.keepers.get_mut(&id) else {
                    return;
                };
                let before = keepers.len();
                keepers.retain(|(other, _)| *other != number);
                if keepers.len() < before {
                    self.leases.release(id);
                }
                if keepers.is_empty() {
                    self.keepers.remove(&id);
                    self.batch.retain(|other| *other != id);
                }
            }
            Command::Revoked(id) => self.leases.revoked(id),
            Command::Kept(answer) => {
                // Who has asked may have gone.
                let _ = answer.send(self.keepers.keys().copied().collect());
            }
        }
    }

    /// Does what is due; says until when to rest.
    fn act(&mut self) -> Option<Instant> {
        // A piece that waits for the server's window must leave before another is made.
        let free = self.batch.is_empty();
        loop {
            let ready = free && self.batch.len() < BATCH;
            let ready = ready && matches!(&self.stream, Stream::Open(open) if !open.ended);
            match self.leases.next(now(), ready) {
                Step::Tell(id, standing) => self.tell(id, standing),
                Step::Open => self.open(),
                Step::Close => self.close(),
                Step::Send(id) => self.batch.push(id),
                Step::Rest(until) => return until,
            }
        }
    }

    fn tell(&mut self, id: LeaseId, standing: Standing) {
        let tell = |state: &watch::Sender<Standing>| {
            state.send_if_modified(|state| {
                let before = std::mem::replace(state, standing);
                std::mem::discriminant(&before) != std::mem::discriminant(&standing)
            });
        };
        if matches!(standing, Standing::Lost(_)) {
            tracing::debug!(target: "etcdex", lease = %id, ?standing, "a kept lease is gone");
            let keepers = self.keepers.remove(&id).unwrap_or_default();
            keepers.iter().for_each(|(_, state)| tell(state));
        } else if let Some(keepers) = self.keepers.get(&id) {
            keepers.iter().for_each(|(_, state)| tell(state));
        }
    }

    fn open(&mut self) {
        let Some(core) = self.core.upgrade() else {
            self.leases.failed(ErrorKind::Closed, now());
            return;
        };
        let want = Want {
            lane: Method::LeaseKeepAlive.lane(),
            member: None,
            avoided: self.avoided,
            // Leases are renewed until the calls under way are answered.
            parting: true,
        };
        let mut scope = Scope::of(core);
        scope.parting = true;
        self.stream = Stream::Opening(Box::pin(async move {
            let pass = scope.pass().await?;
            Ok((scope.core.transport.occupy(want).await?, pass))
        }));
    }

    fn close(&mut self) {
        if let Stream::Open(open) = &self.stream {
            open.incoming.report_no_answer();
        }
        self.drop_stream();
    }

    fn drop_stream(&mut self) {
        self.stream = Stream::None;
        self.batch.clear();
    }

    /// What comes from the stream; nothing is lost when it is dropped.
    async fn event(&mut self) -> Event {
        let Self { stream, batch, .. } = self;
        match stream {
            Stream::None => pending().await,
            Stream::Opening(place) => Event::Occupied(place.as_mut().await),
            Stream::Open(open) => {
                let Open {
                    outgoing, incoming, ..
                } = &mut **open;
                let send = async {
                    match renewals(batch) {
                        Some(frames) => outgoing.send(frames).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    answer = incoming.message() => Event::Answer(answer),
                    sent = send => Event::Sent(sent),
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Occupied(Ok((occupancy, pass))) => match self.start(occupancy, pass) {
                Ok(()) => self.leases.opened(now()),
                Err(failure) => self.broke(&failure),
            },
            Event::Occupied(Err(error)) => self.fail(&error),
            Event::Answer(Ok(Some(message))) => match decode::<LeaseKeepAliveResponse>(message) {
                Ok(answer) => {
                    if let Some(id) = LeaseId::new(answer.id) {
                        self.leases.answered(id, answer.ttl, now());
                    }
                }
                Err(error) => self.fail(&error),
            },
            Event::Answer(Ok(None)) => {
                let error = Error::new(ErrorKind::Unavailable, "the server has ended the stream");
                self.fail(&error);
            }
            Event::Answer(Err(failure)) => self.broke(&failure),
            Event::Sent(outcome) => {
                self.batch.clear();
                if let (Err(_), Stream::Open(open)) = (outcome, &mut self.stream) {
                    open.ended = true;
                }
            }
        }
    }

    fn start(&mut self, occupancy: Occupancy, pass: Option<Arc<Pass>>) -> Result<(), Failure> {
        self.pass = pass;
        let link = occupancy.link();
        self.avoided = Some(Avoided {
            place: link.place,
            link: link.id,
        });
        let limit = self
            .core
            .upgrade()
            .map_or(0, |core| core.options.max_receive_size);
        let head = Head {
            timeout: None,
            // A member without a leader would keep the stream open and answer nothing.
            require_leader: true,
            pass: self.pass.as_deref(),
        };
        let (outgoing, incoming) = open(occupancy, Method::LeaseKeepAlive, head, limit)?;
        self.stream = Stream::Open(Box::new(Open {
            outgoing,
            incoming,
            ended: false,
        }));
        Ok(())
    }

    /// The next stream brings another token, if this one ended for its token.
    fn broke(&mut self, failure: &Failure) {
        if let Some(core) = self.core.upgrade() {
            Scope::of(core).has_lost_pass(failure, self.pass.as_deref());
        }
        self.fail(&failure.error);
    }

    fn fail(&mut self, error: &Error) {
        tracing::debug!(target: "etcdex", %error, "the stream that renews leases has ended");
        self.drop_stream();
        self.leases.failed(error.kind(), now());
    }
}

/// The messages of a batch, one behind the other.
fn renewals(batch: &[LeaseId]) -> Option<Bytes> {
    let mut frames = BytesMut::with_capacity(batch.len() * 16);
    for id in batch {
        let id = id.as_i64();
        // INVARIANT: a renewal is small, and nothing else can fail.
        if let Ok(renewal) = frame(&LeaseKeepAliveRequest { id }, usize::MAX) {
            frames.extend_from_slice(&renewal);
        }
    }
    (!frames.is_empty()).then(|| frames.freeze())
}
