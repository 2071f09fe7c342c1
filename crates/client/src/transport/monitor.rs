//! Watches over one live connection until it has ended: pings, doubts, probes, drains.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::{Ping, PingPong, Reason};
use tokio::sync::{oneshot, watch};

use super::handshake::Task;
use super::keepalive::{KeepAliveAction, KeepAliveState};
use super::link_state::{LinkState, now};
use super::prober::Prober;
use super::serving::{Serving, Signal};
use super::state::Loss;
use crate::error::ErrorKind;
use crate::method::Lane;

/// A connection that nobody wants and nobody has used for this long is closed.
const UNUSED: Duration = Duration::from_secs(30);

/// It is looked at least this often, to see whether it is still used.
const LOOK: Duration = Duration::from_secs(10);

/// A connection whose streams are to leave the endpoint is ended when no message has come over it
/// for this long.
const QUIET: Duration = Duration::from_secs(1);

/// How a connection came to its end, as far as its driver has to know.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) loss: Loss,
    pub(crate) cause: String,
    /// The server took offence at the number of pings.
    pub(crate) too_many_pings: bool,
}

/// What the monitor asks and tells while the connection lives.
pub(crate) trait Overseer: Send + Sync + 'static {
    /// Whether the connection should stay although it is unused.
    fn is_wanted(&self) -> bool;
    /// A ping stays unanswered, or was answered after all.
    fn suspect(&self, suspect: bool);
    /// The connection is to be replaced because of its age.
    fn note_old(&self);
    /// Whether there are other endpoints, and whether one of them serves.
    fn others(&self) -> OtherEndpoints;
    /// Returns how many replies of the other endpoints have shown that they serve.
    fn served_elsewhere(&self) -> u64;
    /// Asks the other endpoints whether they serve.
    fn ask_elsewhere(&self);
    /// Connects to an endpoint that should have a connection and has never tried.
    fn connect_idle(&self);
}

/// The other endpoints of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherEndpoints {
    /// There are none: whether this one serves makes no difference.
    None,
    /// None of them is known to serve.
    NotServing,
    Serving,
}

pub(crate) struct Monitor<O> {
    pub(crate) task: Task,
    pub(crate) ping_pong: PingPong,
    pub(crate) state: Arc<LinkState>,
    pub(crate) keep_alive: KeepAliveState,
    pub(crate) overseer: O,
    /// When it is old enough to be replaced.
    pub(crate) retire_at: Option<Instant>,
    /// Told once, as soon as the connection takes no more calls.
    pub(crate) fate: Option<oneshot::Sender<Ending>>,
    /// Becomes true when the connection is to end, with the calls on it.
    pub(crate) cut: Option<watch::Receiver<bool>>,
    /// The sender is dropped when the client is closed.
    pub(crate) closing: Option<watch::Receiver<()>>,
    pub(crate) lane: Lane,
    /// What is known of the endpoint, and what is told of it.
    pub(crate) serving: Arc<Serving>,
    pub(crate) signal: watch::Receiver<Signal>,
    /// The streams are to leave; how many messages had come by then, and when that was.
    pub(crate) quiet_since: Option<(u64, Instant)>,
    /// Asks whether the endpoint serves; over its unary connection only.
    pub(crate) prober: Option<Prober>,
}

impl<O: Overseer> Monitor<O> {
    /// Runs until the connection has ended, calls that were under way included.
    pub(crate) async fn run(mut self) {
        let mut used = now();
        let mut left = self.signal.borrow().left;
        loop {
            let moment = now();
            if self.is_used() {
                used = moment;
            }
            let signal = *self.signal.borrow_and_update();
            if self.lane != Lane::Unary && signal.left != left {
                left = signal.left;
                self.quiet_since = Some((self.state.messages(), moment));
            }
            let leave = self.leave(moment);
            let probe = self.probe(moment);
            let Some(rest) = self.step(moment, used) else {
                continue;
            };
            let rest = probe.into_iter().chain(leave).fold(rest, Instant::min);
            let alone = self.overseer.others() != OtherEndpoints::Serving;
            tokio::select! {
                biased;
                ended = &mut self.task.0 => {
                    self.ended(ended);
                    return;
                }
                () = cut(&mut self.cut) => {
                    // ORDER: calls read the reason when the end of the task fails them.
                    let _ = self.state.ending.set((ErrorKind::Closed, "the client was closed"));
                    self.cut = None;
                    self.task.0.abort();
                }
                () = closed(&mut self.closing) => {
                    self.closing = None;
                    self.prober = None;
                }
                () = answered(&mut self.prober, alone) => {}
                () = self.state.stir.notified() => {}
                // INVARIANT: the link and the state shared with the driver hold the sender.
                _ = self.signal.changed() => self.overseer.connect_idle(),
                pong = poll_fn(|cx| self.ping_pong.poll_pong(cx)) => match pong {
                    Ok(_) => {
                        self.state.pong();
                        self.keep_alive.pong();
                    }
                    // The connection is ending; its task will say how.
                    Err(_) => {
                        let ended = (&mut self.task.0).await;
                        self.ended(ended);
                        return;
                    }
                },
                () = tokio::time::sleep_until(rest.min(moment + LOOK).into()) => {}
            }
        }
    }

    /// Whether anything but a probe needs the connection.
    fn is_used(&self) -> bool {
        let probes = self.prober.as_ref().is_some_and(Prober::is_asking);
        self.state.open() > usize::from(probes) || self.overseer.is_wanted()
    }

    /// Asks the endpoint whether it serves, if that is due; returns until when to rest.
    fn probe(&mut self, moment: Instant) -> Option<Instant> {
        let prober = self.prober.as_mut()?;
        if self.state.is_draining() || self.fate.is_none() {
            // The next connection goes on with it.
            self.prober = None;
            return None;
        }
        match self.overseer.others() {
            OtherEndpoints::None => {
                prober.stop();
                None
            }
            OtherEndpoints::NotServing | OtherEndpoints::Serving => {
                prober.step(moment, &self.overseer)
            }
        }
    }

    /// Ends a connection for streams or waiting calls once nothing has come over it for a while,
    /// as the endpoint does not serve; returns when to look again. A snapshot goes on while its
    /// chunks come.
    fn leave(&mut self, moment: Instant) -> Option<Instant> {
        let (messages, since) = self.quiet_since?;
        let due = since + QUIET;
        if !self.serving.is_left() {
            self.quiet_since = None;
            return None;
        }
        if due > moment {
            return Some(due);
        }
        if self.state.messages() != messages {
            self.quiet_since = Some((self.state.messages(), moment));
            return Some(moment + QUIET);
        }
        self.quiet_since = None;
        let cause = "the member does not serve: its streams go to another one";
        // ORDER: calls read the reason when the end of the task fails them.
        let _ = self.state.ending.set((ErrorKind::Unavailable, cause));
        self.tell(Loss::Abrupt, cause.into(), false);
        self.task.0.abort();
        None
    }

    /// Does what is due now; says until when to rest, or `None` to look again at once.
    fn step(&mut self, moment: Instant, used: Instant) -> Option<Instant> {
        self.keep_alive.heard(self.state.heard());
        self.keep_alive.answered(self.state.is_answered());
        if self.state.take_doubt() {
            self.keep_alive.doubt();
        }
        let suspect = self.keep_alive.is_suspect(moment);
        if suspect != self.state.is_suspect() {
            self.state.set_suspect(suspect);
            if self.fate.is_some() {
                self.overseer.suspect(suspect);
            }
        }
        // A connection that has ended takes no calls either: then its task knows better.
        if self.state.is_draining() && !self.task.0.is_finished() {
            self.tell(
                Loss::Graceful,
                "the server asked for a new connection".into(),
                false,
            );
        }
        if self.retire_at.is_some_and(|then| moment >= then) && self.fate.is_some() {
            // ORDER: the next endpoint is chosen before anybody reconnects.
            self.overseer.note_old();
            self.state.drain();
            self.tell(Loss::Graceful, "it has grown old".into(), false);
        }
        if moment >= used + UNUSED {
            if self.fate.is_some() {
                // ORDER: first no new calls, then the driver lets go of the link; a call that
                // got hold of it in between keeps the connection open until it is answered.
                self.state.drain();
                self.tell(Loss::Unused, "nobody used it".into(), false);
            } else if moment >= used + UNUSED + LOOK {
                // It had its time to say goodbye.
                self.task.0.abort();
            }
        }
        match self.keep_alive.next(moment, self.state.open() > 0) {
            KeepAliveAction::Rest(until) => Some(until),
            KeepAliveAction::Ping => {
                // Refused while another is under way, or when the connection is ending: both
                // show by themselves.
                let _ = self.ping_pong.send_ping(Ping::opaque());
                self.keep_alive.pinged(moment);
                None
            }
            KeepAliveAction::Dead => {
                let cause = "no answer to a keep-alive ping: the connection is taken for dead";
                // ORDER: calls read the reason when the end of the task fails them.
                let _ = self.state.ending.set((ErrorKind::Unavailable, cause));
                self.tell(Loss::Abrupt, cause.into(), false);
                self.task.0.abort();
                Some(moment + UNUSED)
            }
        }
    }

    fn ended(&mut self, ended: Result<Result<(), h2::Error>, tokio::task::JoinError>) {
        match ended {
            // To h2, the end of the byte stream is a good end even amid calls.
            Ok(Ok(())) if self.state.is_broken() => self.tell(
                Loss::Abrupt,
                "the server closed it with calls under way".into(),
                false,
            ),
            Ok(Ok(())) => self.tell(Loss::Graceful, "the server closed it".into(), false),
            Ok(Err(error)) => {
                // gRPC's servers say so in the GOAWAY's debug data, which h2 only prints.
                let pings = error.is_remote()
                    && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
                    && error.to_string().contains("too_many_pings");
                let graceful = error.is_go_away() && error.is_remote() && !pings;
                let loss = if graceful {
                    Loss::Graceful
                } else {
                    Loss::Abrupt
                };
                self.tell(loss, error.to_string(), pings);
            }
            Err(_) => self.tell(Loss::Abrupt, "its task was ended".into(), false),
        }
    }

    fn tell(&mut self, loss: Loss, cause: String, too_many_pings: bool) {
        if let Some(fate) = self.fate.take() {
            // The driver is gone when the client was closed.
            let _ = fate.send(Ending {
                loss,
                cause,
                too_many_pings,
            });
        }
    }
}

/// Ready when a probe was answered.
async fn answered(prober: &mut Option<Prober>, alone: bool) {
    match prober {
        Some(prober) => prober.answered(alone).await,
        None => std::future::pending().await,
    }
}

/// Ready when the client is closed: no probe keeps a connection open then.
async fn closed(signal: &mut Option<watch::Receiver<()>>) {
    if let Some(signal) = signal {
        // An error is the end of the client.
        let _ = signal.changed().await;
        return;
    }
    std::future::pending::<()>().await;
}

/// Ready when the connection is to end, with the calls on it.
async fn cut(signal: &mut Option<watch::Receiver<bool>>) {
    if let Some(signal) = signal {
        if signal.wait_for(|cut| *cut).await.is_ok() {
            return;
        }
    }
    // The client is gone, and was not closed.
    std::future::pending::<()>().await;
}
