//! The task that renews all leases of a client. It has no rules.

mod stream;

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::LeaseKeepAliveResponse;
use tokio::sync::{mpsc, watch};

use self::stream::{PermitFuture, RenewalStream, StreamEvent};
use super::cause::LeaseCause;
use super::registry::{LeaseCommand, LeaseRegistry, read_clocks};
use super::renewal::LeaseStatus;
use super::state::{RenewalStep, Renewals};
use super::unanswered::StreamNumber;
use crate::call::{Core, Scope, ShutdownStage};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::kv::{LeaseId, decode};
use crate::method::Method;
use crate::transport::{Avoided, Failure, PickInfo, now};

/// Number of renewals in one write: some 16 KiB, which fits into any window.
const BATCH_SIZE: usize = 1_000;

/// The longest pause while a lease is kept; the clocks are compared after it.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// The state that outlives the runtime of the task: the next task goes on with it.
pub(super) struct Parked {
    core: Weak<Core>,
    renewals: Renewals,
    keepers: HashMap<LeaseId, Vec<(u64, watch::Sender<LeaseStatus>)>>,
    commands: mpsc::UnboundedReceiver<LeaseCommand>,
    closing: watch::Receiver<ShutdownStage>,
}

impl Parked {
    pub(super) fn new(core: &Arc<Core>, commands: mpsc::UnboundedReceiver<LeaseCommand>) -> Self {
        Self {
            core: Arc::downgrade(core),
            renewals: Renewals::new(fastrand::u64(..)),
            keepers: HashMap::new(),
            commands,
            closing: core.shutdown.stages(),
        }
    }
}

/// The state of the running task. It is parked when the task is dropped, because the task's runtime
/// has ended.
struct RunningDriver(Option<Parts>);

type Parts = (
    LeaseDriver,
    mpsc::UnboundedReceiver<LeaseCommand>,
    watch::Receiver<ShutdownStage>,
);

impl Drop for RunningDriver {
    fn drop(&mut self) {
        // After a panic, the parts may be inconsistent.
        let parts = self.0.take().filter(|_| !std::thread::panicking());
        let Some((mut driver, commands, closing)) = parts else {
            return;
        };
        driver.interrupted();
        let LeaseDriver {
            registry,
            core,
            renewals,
            keepers,
            ..
        } = driver;
        registry.park(Parked {
            core,
            renewals,
            keepers,
            commands,
            closing,
        });
    }
}

/// Returns the task, which runs until no lease is kept. The task holds no connection except those
/// of its streams: keepers hold the client.
pub(super) fn task(
    registry: Arc<LeaseRegistry>,
    parked: Parked,
) -> impl Future<Output = ()> + Send {
    let driver = LeaseDriver {
        registry,
        core: parked.core,
        renewals: parked.renewals,
        keepers: parked.keepers,
        streams: Vec::new(),
        avoided: None,
        troubled: false,
    };
    // INVARIANT: the state is complete before the first poll, so that a runtime that never polls
    // the task parks it, too.
    run(RunningDriver(Some((
        driver,
        parked.commands,
        parked.closing,
    ))))
}

async fn run(mut running: RunningDriver) {
    let mut closed = false;
    loop {
        let Some((driver, commands, closing)) = &mut running.0 else {
            return;
        };
        if !closed && *closing.borrow_and_update() == ShutdownStage::Over {
            closed = true;
            driver.renewals.close();
        }
        while let Ok(command) = commands.try_recv() {
            driver.command(command);
        }
        driver.look_at_clocks();
        let rest = driver.act();
        if driver.renewals.is_idle() && driver.registry.ends(commands) {
            running.0 = None;
            return;
        }
        let longest = now() + CLOCK_INTERVAL;
        let rest = rest.map_or(longest, |rest| rest.min(longest));
        tokio::select! {
            // ORDER: commands come before answers. The client says that it revokes a lease
            // before the server can answer that the lease is gone.
            biased;
            Some(command) = commands.recv() => driver.command(command),
            () = over(closing), if !closed => {}
            (number, event) = driver.event() => driver.take(number, event),
            () = tokio::time::sleep_until(rest.into()) => {}
        }
    }
}

/// Completes when the client is closed for good.
async fn over(closing: &mut watch::Receiver<ShutdownStage>) {
    let over = closing.wait_for(|stage| *stage == ShutdownStage::Over);
    if over.await.is_err() {
        // The client was dropped without a call of `close`.
        pending::<()>().await;
    }
}

struct LeaseDriver {
    registry: Arc<LeaseRegistry>,
    core: Weak<Core>,
    renewals: Renewals,
    keepers: HashMap<LeaseId, Vec<(u64, watch::Sender<LeaseStatus>)>>,
    /// INVARIANT: at most two; `Renewals` asks for no more.
    streams: Vec<RenewalStream>,
    /// The link of the latest stream.
    avoided: Option<Avoided>,
    /// Whether `health` has a cause, which the next answer removes.
    troubled: bool,
}

impl LeaseDriver {
    /// Ends the streams, as the runtime of the task has ended.
    fn interrupted(&mut self) {
        let message = "the tokio runtime of the renewals has ended";
        let error = Error::new(ErrorKind::Unavailable, message);
        let numbers: Vec<StreamNumber> = self.streams.iter().map(|one| one.number).collect();
        for number in numbers {
            self.fail(number, &error);
        }
        self.trouble(LeaseCause::of(&error, None));
    }

    fn command(&mut self, command: LeaseCommand) {
        // ORDER: a loss is reported to the keepers of the lost lease before the command adds a
        // keeper of another lease with the same ID.
        while let Some((id, status)) = self.renewals.untold() {
            self.tell(id, status);
        }
        match command {
            LeaseCommand::Keep(id, ttl, number, state) => {
                let keepers = self.keepers.entry(id).or_default();
                if let Some((_, other)) = keepers.first() {
                    state.send_replace(*other.borrow());
                }
                keepers.push((number, state));
                self.renewals.keep(id, ttl, now());
            }
            LeaseCommand::Release(id, number) => self.release(id, number),
            LeaseCommand::Revoking(id) => self.renewals.revoking(id),
            LeaseCommand::Revoked(id) => self.renewals.revoked(id),
            LeaseCommand::Kept(answer) => {
                // The caller may have dropped its end.
                let _ = answer.send(self.keepers.keys().copied().collect());
            }
        }
    }

    fn release(&mut self, id: LeaseId, number: u64) {
        // The lease may have been lost before, and another lease may be kept under its ID.
        let Some(keepers) = self.keepers.get_mut(&id) else {
            return;
        };
        let before = keepers.len();
        keepers.retain(|(other, _)| *other != number);
        if keepers.len() < before {
            self.renewals.release(id);
        }
        if keepers.is_empty() {
            self.keepers.remove(&id);
            for stream in &mut self.streams {
                stream.batch.retain(|other| *other != id);
            }
        }
    }

    fn look_at_clocks(&mut self) {
        let reading = read_clocks();
        let mut jumped = false;
        self.registry.change_health(|health| {
            let before = health.clocks.replace(reading);
            jumped = before.is_some_and(|before| before.jumped(reading));
        });
        if jumped {
            tracing::info!(target: "etcdex", "the machine slept, or its clock was set: kept leases are in doubt");
            self.renewals.clocks_jumped(now());
            self.trouble(LeaseCause::clocks_jumped());
        }
    }

    /// Performs the steps that are due. Returns the time of the next one.
    fn act(&mut self) -> Option<Instant> {
        // A batch that waits for the server's window must be sent before another is filled.
        let free: Vec<StreamNumber> = self
            .streams
            .iter()
            .filter(|stream| stream.batch.is_empty())
            .map(|stream| stream.number)
            .collect();
        loop {
            let streams = &self.streams;
            let ready = |number| {
                let stream = streams.iter().find(|stream| stream.number == number);
                let ready =
                    |stream: &RenewalStream| stream.takes() && stream.batch.len() < BATCH_SIZE;
                free.contains(&number) && stream.is_some_and(ready)
            };
            match self.renewals.next(now(), ready) {
                RenewalStep::Tell(id, status) => self.tell(id, status),
                RenewalStep::Open(number) => self.open(number),
                RenewalStep::Silent(number) => self.silent(number),
                RenewalStep::Close(number) => self.streams.retain(|stream| stream.number != number),
                RenewalStep::Send(number, id) => {
                    if let Some(stream) = self.stream(number) {
                        stream.batch.push(id);
                    }
                }
                RenewalStep::Rest(until) => return until,
            }
        }
    }

    fn stream(&mut self, number: StreamNumber) -> Option<&mut RenewalStream> {
        self.streams.iter_mut().find(|one| one.number == number)
    }

    fn tell(&mut self, id: LeaseId, status: LeaseStatus) {
        let tell = |state: &watch::Sender<LeaseStatus>| {
            state.send_if_modified(|state| {
                let before = std::mem::replace(state, status);
                std::mem::discriminant(&before) != std::mem::discriminant(&status)
            });
        };
        if matches!(status, LeaseStatus::Lost(_)) {
            tracing::debug!(target: "etcdex", lease = %id, ?status, "a kept lease is gone");
            let keepers = self.keepers.remove(&id).unwrap_or_default();
            keepers.iter().for_each(|(_, state)| tell(state));
        } else if let Some(keepers) = self.keepers.get(&id) {
            keepers.iter().for_each(|(_, state)| tell(state));
        }
    }

    fn open(&mut self, number: StreamNumber) {
        let Some(core) = self.core.upgrade() else {
            self.renewals.close();
            return;
        };
        let mut scope = Scope::of(core);
        scope.parting = true;
        let pick = PickInfo {
            avoided: self.avoided,
            ..pick_info()
        };
        let place: PermitFuture = Box::pin(async move {
            let token = scope.token().await?;
            Ok((scope.core.transport.acquire(pick).await?, token))
        });
        self.streams.push(RenewalStream::opening(number, place));
        self.note_opening();
    }

    /// Records whether keepers should take the cause from the connections, as no stream is open.
    fn note_opening(&self) {
        let opening = !self.streams.iter().any(RenewalStream::takes);
        self.registry
            .change_health(|health| health.opening = opening);
    }

    fn trouble(&mut self, cause: LeaseCause) {
        self.troubled = true;
        self.registry
            .change_health(|health| health.cause = Some(cause));
    }

    fn silent(&mut self, number: StreamNumber) {
        let Some(incoming) = self.stream(number).and_then(|stream| stream.incoming()) else {
            return;
        };
        incoming.report_no_answer();
        let endpoint = incoming.link().endpoint.clone();
        tracing::debug!(target: "etcdex", %endpoint, "a renewal is overdue");
        let message = "the server has not answered a renewal yet";
        self.trouble(LeaseCause::new(ErrorKind::Timeout, message, Some(endpoint)));
    }

    /// Waits for an event of a stream. Dropping the future loses nothing.
    async fn event(&mut self) -> (StreamNumber, StreamEvent) {
        let mut streams = self.streams.iter_mut();
        let (first, second) = (streams.next(), streams.next());
        tokio::select! {
            event = event(first) => event,
            event = event(second) => event,
        }
    }

    fn take(&mut self, number: StreamNumber, event: StreamEvent) {
        // ORDER: the clocks are compared before the answer is used, as it may have waited while the
        // machine slept.
        self.look_at_clocks();
        match event {
            StreamEvent::Occupied(Ok((permit, token))) => {
                let link = Arc::clone(permit.link());
                self.avoided = Some(Avoided::new(&link));
                let core = self.core.upgrade();
                let limit = core.map_or(0, |core| core.options.max_receive_size);
                let started = self
                    .stream(number)
                    .map(|stream| stream.start(permit, token, limit));
                match started {
                    Some(Ok(())) => {
                        self.renewals.opened(number, link.state.round_trip(), now());
                        self.note_opening();
                    }
                    Some(Err(failure)) => self.broke(number, &failure),
                    None => {}
                }
            }
            StreamEvent::Occupied(Err(error)) => self.fail(number, &error),
            StreamEvent::Answer(Ok(Some(message))) => self.answer(number, message),
            StreamEvent::Answer(Ok(None)) => {
                let error = Error::new(ErrorKind::Unavailable, "the server has ended the stream");
                self.fail(number, &error);
            }
            StreamEvent::Answer(Err(failure)) => self.broke(number, &failure),
            StreamEvent::Sent(outcome) => {
                if let Some(stream) = self.stream(number) {
                    stream.sent(&outcome);
                }
            }
        }
    }

    fn answer(&mut self, number: StreamNumber, message: Bytes) {
        match decode::<LeaseKeepAliveResponse>(message) {
            Ok(answer) => {
                if let Some(id) = LeaseId::new(answer.id) {
                    self.renewals.answered(number, id, answer.ttl, now());
                }
                if std::mem::take(&mut self.troubled) {
                    self.registry.change_health(|health| health.cause = None);
                }
            }
            Err(error) => self.fail(number, &error),
        }
    }

    /// Ends a stream after a failure. If the failure is about the token, the next stream has
    /// another one.
    fn broke(&mut self, number: StreamNumber, failure: &Failure) {
        let mut is_token_refused = false;
        if let (Some(core), Some(stream)) = (self.core.upgrade(), self.stream(number)) {
            is_token_refused = Scope::of(core).note_token_refusal(failure, stream.token());
        }
        self.fail(number, &failure.error);
        if is_token_refused {
            // The endpoint serves: only the token has to be another one.
            self.avoided = None;
        }
    }

    fn fail(&mut self, number: StreamNumber, error: &Error) {
        tracing::debug!(target: "etcdex", %error, "a stream that renews leases has ended");
        let endpoint: Option<Endpoint> = self
            .stream(number)
            .and_then(|stream| stream.incoming())
            .map(|incoming| incoming.link().endpoint.clone());
        self.streams.retain(|stream| stream.number != number);
        self.renewals.failed(number, now());
        self.trouble(LeaseCause::of(error, endpoint));
        self.note_opening();
    }
}

async fn event(stream: Option<&mut RenewalStream>) -> (StreamNumber, StreamEvent) {
    match stream {
        Some(stream) => (stream.number, stream.event().await),
        None => pending().await,
    }
}

/// Where streams are opened. Leases are renewed until the calls in progress are answered.
pub(super) fn pick_info() -> PickInfo {
    PickInfo {
        lane: Method::LeaseKeepAlive.lane(),
        member: None,
        avoided: None,
        parting: true,
    }
}
