//! The monitor of a connection that is up: it pings, probes and drains it, and decides when the
//! connection ends because it is unused, too old, drained, or its member does not serve.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use h2::{Ping, PingPong, Reason};
use tokio::sync::{oneshot, watch};

use super::balance::OtherEndpoints;
use super::handshake::Task;
use super::keepalive::{KeepAliveAction, KeepAliveState};
use super::link_state::{LinkState, now};
use super::prober::Prober;
use super::serving::Signal;
use super::shared::Shared;
use super::state::Loss;
use crate::error::ErrorKind;
use crate::method::Lane;

/// A connection that no call wants or has used for this long is closed.
const UNUSED: Duration = Duration::from_secs(30);

/// Longest time between two checks whether the connection is still used.
const LOOK: Duration = Duration::from_secs(10);

/// A connection whose streams are to leave the endpoint is ended when no message has come over the
/// connection for this long.
const QUIET: Duration = Duration::from_secs(1);

/// How a connection has ended, for its driver.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) loss: Loss,
    pub(super) cause: String,
    /// Whether the server closed the connection because of too many pings.
    pub(super) too_many_pings: bool,
}

/// The task that watches over a connection that is up, until the connection has ended.
pub(super) struct Monitor {
    pub(super) task: Task,
    pub(super) ping_pong: PingPong,
    pub(super) state: Arc<LinkState>,
    pub(super) keep_alive: KeepAliveState,
    pub(super) shared: Arc<Shared>,
    /// When the connection is old enough to be replaced.
    pub(super) retire_at: Option<Instant>,
    /// Tells the driver, once, that the connection takes no more calls.
    pub(super) ending: Option<oneshot::Sender<Ending>>,
    /// Becomes true when the connection is to end, with the calls on it.
    pub(super) cut: Option<watch::Receiver<bool>>,
    /// The sender is dropped when the client is closed.
    pub(super) closing: Option<watch::Receiver<()>>,
    pub(super) signal: watch::Receiver<Signal>,
    /// Set when the streams are to leave the endpoint: the number of messages that had come when
    /// the count was last looked at, and when that was.
    pub(super) quiet_since: Option<(u64, Instant)>,
    /// Asks whether the endpoint serves; over its unary connection only.
    pub(super) prober: Option<Prober>,
}

impl Monitor {
    /// Runs until the connection has ended, including calls that were under way.
    pub(super) async fn run(mut self) {
        let mut used = now();
        let mut left = self.signal.borrow().left;
        loop {
            let moment = now();
            if self.is_used() {
                used = moment;
            }
            let signal = *self.signal.borrow_and_update();
            if self.shared.lane != Lane::Unary && signal.left != left {
                left = signal.left;
                self.quiet_since = Some((self.state.messages(), moment));
            }
            let leave = self.leave(moment);
            let probe = self.probe(moment);
            let Some(rest) = self.step(moment, used) else {
                continue;
            };
            let rest = probe.into_iter().chain(leave).fold(rest, Instant::min);
            let alone = self.shared.others() != OtherEndpoints::Serving;
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
                () = self.state.changed.notified() => {}
                // INVARIANT: the link and the state shared with the driver hold the sender.
                _ = self.signal.changed() => self.shared.connect_idle(),
                pong = poll_fn(|cx| self.ping_pong.poll_pong(cx)) => match pong {
                    Ok(_) => {
                        self.state.pong();
                        self.keep_alive.pong();
                    }
                    // The connection is ending, and its task returns how.
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

    /// Whether a call or the pool needs the connection; a probe does not count.
    fn is_used(&self) -> bool {
        let probes = self.prober.as_ref().is_some_and(Prober::is_asking);
        self.state.open() > usize::from(probes) || self.shared.is_wanted()
    }

    /// Sends a probe to the endpoint if one is due; returns when to look again.
    fn probe(&mut self, moment: Instant) -> Option<Instant> {
        let prober = self.prober.as_mut()?;
        if self.state.is_draining() || self.ending.is_none() {
            // The prober of the next connection continues.
            self.prober = None;
            return None;
        }
        match self.shared.others() {
            OtherEndpoints::None => {
                prober.stop();
                None
            }
            OtherEndpoints::NotServing | OtherEndpoints::Serving => {
                prober.step(moment, &self.shared)
            }
        }
    }

    /// Ends a connection for streams or waiting calls whose endpoint does not serve, once no message
    /// has come for [`QUIET`]; returns when to look again. So a snapshot continues while its chunks
    /// come.
    fn leave(&mut self, moment: Instant) -> Option<Instant> {
        let (messages, since) = self.quiet_since?;
        let due = since + QUIET;
        if !self.shared.serving.is_left() {
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

    /// Does what is due now; returns when to look again, `None` for at once.
    fn step(&mut self, moment: Instant, used: Instant) -> Option<Instant> {
        self.keep_alive.heard(self.state.heard());
        self.keep_alive.answered(self.state.is_answered());
        if self.state.take_doubt() {
            self.keep_alive.doubt();
        }
        let suspect = self.keep_alive.is_suspect(moment);
        if suspect != self.state.is_suspect() {
            self.state.set_suspect(suspect);
            if self.ending.is_some() {
                self.shared.note_suspect(suspect);
            }
        }
        // A connection that has ended is draining too; then the result of its task says why.
        if self.state.is_draining() && !self.task.0.is_finished() {
            self.tell(
                Loss::Graceful,
                "the server asked for a new connection".into(),
                false,
            );
        }
        if self.retire_at.is_some_and(|then| moment >= then) && self.ending.is_some() {
            // ORDER: the next endpoint is chosen before a call or the driver reconnects.
            self.shared.note_old();
            self.state.drain();
            self.tell(
                Loss::Graceful,
                "the connection has reached its maximum age".into(),
                false,
            );
        }
        if moment >= used + UNUSED {
            if self.ending.is_some() {
                // ORDER: the link takes no new calls before the driver drops it. A call that got the
                // link in between keeps the connection open until the call is answered.
                self.state.drain();
                self.tell(Loss::Unused, "the connection was unused".into(), false);
            } else if moment >= used + UNUSED + LOOK {
                // The connection has had the time to send GOAWAY.
                self.task.0.abort();
            }
        }
        match self.keep_alive.next(moment, self.state.open() > 0) {
            KeepAliveAction::Rest(until) => Some(until),
            KeepAliveAction::Ping => {
                // h2 refuses a ping while another is under way, or when the connection is ending.
                // Neither needs an action here: the pong or the end of the task follows.
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
            // h2 reports the end of the byte stream as a good end, even with calls under way.
            Ok(Ok(())) if self.state.is_broken() => self.tell(
                Loss::Abrupt,
                "the server closed it with calls under way".into(),
                false,
            ),
            Ok(Ok(())) => self.tell(Loss::Graceful, "the server closed it".into(), false),
            Ok(Err(error)) => {
                // A gRPC server names the reason in the debug data of GOAWAY, which h2 has only in
                // the text of the error.
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
        if let Some(ending) = self.ending.take() {
            // The driver has ended if the client was closed.
            let _ = ending.send(Ending {
                loss,
                cause,
                too_many_pings,
            });
        }
    }
}

/// Resolves when a probe was answered.
async fn answered(prober: &mut Option<Prober>, alone: bool) {
    match prober {
        Some(prober) => prober.answered(alone).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the client is closed: from then on no probe keeps a connection open.
async fn closed(signal: &mut Option<watch::Receiver<()>>) {
    if let Some(signal) = signal {
        // An error means that the client is closed.
        let _ = signal.changed().await;
        return;
    }
    std::future::pending::<()>().await;
}

/// Resolves when the connection is to end, with the calls on it.
async fn cut(signal: &mut Option<watch::Receiver<bool>>) {
    if let Some(signal) = signal {
        if signal.wait_for(|cut| *cut).await.is_ok() {
            return;
        }
    }
    // The client was dropped and not closed: calls that are under way continue.
    std::future::pending::<()>().await;
}
