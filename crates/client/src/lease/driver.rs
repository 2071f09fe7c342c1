//! The task that renews all leases of a client. It has no rules.

mod stream;

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use etcdex_proto::etcdserverpb::LeaseKeepAliveResponse;
use tokio::sync::{mpsc, watch};

use self::stream::RenewalStream;
use super::cause::LeaseCause;
use super::registry::{LeaseCommand, LeaseRegistry, read_clocks};
use super::renewal::LeaseStatus;
use super::state::{RenewalStep, Renewals};
use super::unanswered::StreamNumber;
use crate::call::{BidiCall, BidiEvent, BidiOpener, Core, ShutdownStage};
use crate::error::{Error, ErrorKind};
use crate::kv::{LeaseId, decode};
use crate::method::Method;
use crate::transport::now;

/// Number of renewals in one write: some 16 KiB, which fits into any window.
const BATCH_SIZE: usize = 1_000;

/// The longest pause while a lease is kept; the clocks are compared after it.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// The call of each stream. Leases are renewed until the calls in progress are answered.
pub(super) const CALL: BidiCall = BidiCall {
    method: Method::LeaseKeepAlive,
    member: None,
    // A member without a leader would keep the stream open and never answer.
    require_leader: true,
    // Old releases do not check it (3.4.23 and 3.5.1; 3.7.1 by `LeaseRenew` in
    // `server/etcdserver/v3_server.go`). 3.5.35, 3.6.16 and 3.7.3 refuse a renewal without a token,
    // which costs a round trip.
    needs_token: false,
    during_shutdown: true,
};

/// The state that outlives the runtime of the task: the next task goes on with it.
pub(super) struct SuspendedDriver {
    core: Weak<Core>,
    renewals: Renewals,
    keepers: HashMap<LeaseId, Vec<(u64, watch::Sender<LeaseStatus>)>>,
    commands: mpsc::UnboundedReceiver<LeaseCommand>,
    closing: watch::Receiver<ShutdownStage>,
}

impl SuspendedDriver {
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

/// The state of the running task. It is suspended when the task is dropped, because the task's runtime
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
        registry.suspend(SuspendedDriver {
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
    suspended: SuspendedDriver,
) -> impl Future<Output = ()> + Send {
    let driver = LeaseDriver {
        registry,
        opener: BidiOpener::new(Weak::clone(&suspended.core), CALL),
        core: suspended.core,
        renewals: suspended.renewals,
        keepers: suspended.keepers,
        streams: Vec::new(),
        troubled: false,
    };
    // INVARIANT: the state is complete before the first poll, so that a runtime that never polls
    // the task parks it, too.
    run(RunningDriver(Some((
        driver,
        suspended.commands,
        suspended.closing,
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
    opener: BidiOpener,
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
            self.fail(number, error.again());
        }
        self.trouble(LeaseCause::of(&error));
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
            tracing::info!(target: "etcdex", "the machine slept, or its clock was set: the state of kept leases is unknown");
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
                let ready = |stream: &RenewalStream| {
                    stream.bidi.takes_messages() && stream.batch.len() < BATCH_SIZE
                };
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
        if self.core.strong_count() == 0 {
            self.renewals.close();
            return;
        }
        self.streams.push(RenewalStream {
            number,
            bidi: self.opener.open(),
            batch: Vec::new(),
        });
        self.note_opening();
    }

    /// Records whether keepers should take the cause from the connections, as no stream is open.
    fn note_opening(&self) {
        let takes = |stream: &RenewalStream| stream.bidi.takes_messages();
        let opening = !self.streams.iter().any(takes);
        self.registry
            .change_health(|health| health.opening = opening);
    }

    fn trouble(&mut self, cause: LeaseCause) {
        self.troubled = true;
        self.registry
            .change_health(|health| health.cause = Some(cause));
    }

    fn silent(&mut self, number: StreamNumber) {
        let Some(incoming) = self
            .stream(number)
            .and_then(|stream| stream.bidi.incoming())
        else {
            return;
        };
        incoming.report_no_answer();
        let endpoint = incoming.link().endpoint.clone();
        tracing::debug!(target: "etcdex", %endpoint, "a renewal is overdue");
        let message = "the server has not answered a renewal yet";
        self.trouble(LeaseCause::new(ErrorKind::Timeout, message, Some(endpoint)));
    }

    /// Waits for an event of a stream. Dropping the future loses nothing.
    async fn event(&mut self) -> (StreamNumber, BidiEvent) {
        let mut streams = self.streams.iter_mut();
        let (first, second) = (streams.next(), streams.next());
        tokio::select! {
            event = event(first) => event,
            event = event(second) => event,
        }
    }

    fn take(&mut self, number: StreamNumber, event: BidiEvent) {
        // ORDER: the clocks are compared before the answer is used, as it may have waited while the
        // machine slept.
        self.look_at_clocks();
        match event {
            BidiEvent::Opened => {
                let incoming = self
                    .stream(number)
                    .and_then(|stream| stream.bidi.incoming());
                if let Some(round_trip) = incoming.map(|side| side.link().state.round_trip()) {
                    self.renewals.opened(number, round_trip, now());
                    self.note_opening();
                }
            }
            BidiEvent::Message(message) => self.answer(number, message),
            BidiEvent::Sent => {}
            BidiEvent::Ended(error) => self.fail(number, error),
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
            Err(error) => self.fail(number, error),
        }
    }

    fn fail(&mut self, number: StreamNumber, error: Error) {
        let error = match self.stream(number) {
            Some(stream) => stream.bidi.locate(error),
            None => error,
        };
        tracing::debug!(target: "etcdex", %error, "a stream that renews leases has ended");
        self.streams.retain(|stream| stream.number != number);
        self.renewals.failed(number, now());
        self.trouble(LeaseCause::of(&error));
        self.note_opening();
    }
}

async fn event(stream: Option<&mut RenewalStream>) -> (StreamNumber, BidiEvent) {
    match stream {
        Some(stream) => (stream.number, stream.event().await),
        None => pending().await,
    }
}
