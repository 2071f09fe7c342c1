//! PURE: the life of one connection, from idle over connecting to live and back.
//!
//! The driver does what [`ConnectionPhase`] says and reports the result. All rules are here.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Pause after the first attempt to connect that has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The phase of a connection, which says what its driver does now.
///
/// ```text
///           wanted               connected
///   Idle ------------> Connecting ------------> Live
///     |                  ^    |                  |
///     |       pause over |    | failed           | lost
///     | wanted too soon  |    v                  |
///     +----------------> Pausing <---------------+
/// ```
///
/// - A connection that failed or was lost becomes idle instead if no call wants it, or if it was
///   closed because it was unused.
/// - A connection that was lost gracefully after a good reply is connected again without a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// Wait until a call wants the connection.
    Idle,
    /// Connect.
    Connecting,
    /// Wait until the connection is lost.
    Live,
    /// Wait until then, and then connect.
    Pausing(Instant),
}

/// How a live connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server asked the client to use a new connection.
    Graceful,
    /// The connection broke, or no answer came to a ping.
    Abrupt,
    /// The client closed the connection, which was unused for a while.
    Unused,
}

/// The life of one connection.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    phase: ConnectionPhase,
    backoff: Backoff,
    /// Earliest time of the next attempt. It stays in force while the connection is idle.
    not_before: Option<Instant>,
}

impl Lifecycle {
    pub(crate) fn new(longest_pause: Duration) -> Self {
        Self {
            phase: ConnectionPhase::Idle,
            backoff: Backoff::new(FIRST_PAUSE, longest_pause),
            not_before: None,
        }
    }

    pub(crate) fn phase(&self) -> ConnectionPhase {
        self.phase
    }

    /// A call wants the connection.
    pub(crate) fn wanted(&mut self, now: Instant) {
        if self.phase == ConnectionPhase::Idle {
            self.start(now);
        }
    }

    /// The pause is over.
    pub(crate) fn pause_over(&mut self) {
        if matches!(self.phase, ConnectionPhase::Pausing(_)) {
            self.phase = ConnectionPhase::Connecting;
        }
    }

    /// The attempt to connect succeeded.
    pub(crate) fn connected(&mut self) {
        self.phase = ConnectionPhase::Live;
    }

    /// The attempt to connect failed. `wanted` says whether the connection is still wanted.
    pub(crate) fn failed(&mut self, now: Instant, random: f64, wanted: bool) {
        self.not_before = Some(now + self.backoff.next(random));
        self.rest_or_start(now, wanted);
    }

    /// The live connection is gone. `proven` says that a good reply came over it.
    ///
    /// INVARIANT: only a good reply resets the back-off. So pauses grow if a load balancer accepts
    /// connections for a dead server and resets them.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        loss: Loss,
        proven: bool,
        random: f64,
        wanted: bool,
    ) {
        if proven {
            self.backoff.reset();
            self.not_before = None;
        }
        match loss {
            // The clients of a server that died must not all come back at the same time: even the
            // first pause is jittered.
            Loss::Abrupt => self.not_before = Some(now + self.backoff.next(random)),
            Loss::Graceful if !proven => {
                self.not_before = Some(now + self.backoff.next(random));
            }
            Loss::Graceful | Loss::Unused => {}
        }
        self.rest_or_start(now, wanted && loss != Loss::Unused);
    }

    fn rest_or_start(&mut self, now: Instant, wanted: bool) {
        if wanted {
            self.start(now);
        } else {
            self.phase = ConnectionPhase::Idle;
        }
    }

    fn start(&mut self, now: Instant) {
        self.phase = match self.not_before {
            Some(then) if then > now => ConnectionPhase::Pausing(then),
            _ => ConnectionPhase::Connecting,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAP: Duration = Duration::from_secs(1);

    fn live() -> (Lifecycle, Instant) {
        let now = Instant::now();
        let mut life = Lifecycle::new(CAP);
        life.wanted(now);
        assert_eq!(life.phase(), ConnectionPhase::Connecting);
        life.connected();
        (life, now)
    }

    #[test]
    fn an_idle_connection_connects_when_it_is_wanted() {
        let (life, _) = live();
        assert_eq!(life.phase(), ConnectionPhase::Live);
    }

    #[test]
    fn a_proven_connection_that_is_told_to_go_is_replaced_at_once() {
        let (mut life, now) = live();
        life.lost(now, Loss::Graceful, true, 1.0, true);
        assert_eq!(life.phase(), ConnectionPhase::Connecting);
    }

    #[test]
    fn a_server_that_accepts_and_resets_is_not_hammered() {
        let (mut life, mut now) = live();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            life.lost(now, Loss::Abrupt, false, 1.0, true);
            let ConnectionPhase::Pausing(until) = life.phase() else {
                panic!("it hammers: {:?}", life.phase());
            };
            pauses.push((until - now).as_millis());
            now = until;
            life.pause_over();
            life.connected();
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        life.lost(now, Loss::Abrupt, true, 1.0, true);
        assert_eq!(
            life.phase(),
            ConnectionPhase::Pausing(now + Duration::from_millis(10))
        );
    }

    #[test]
    fn an_unwanted_connection_becomes_idle_and_keeps_its_pause() {
        let (mut life, now) = live();
        life.lost(now, Loss::Abrupt, false, 1.0, false);
        assert_eq!(life.phase(), ConnectionPhase::Idle);
        life.wanted(now);
        assert_eq!(
            life.phase(),
            ConnectionPhase::Pausing(now + Duration::from_millis(10))
        );
        let (mut life, now) = live();
        life.lost(now, Loss::Unused, true, 1.0, true);
        assert_eq!(life.phase(), ConnectionPhase::Idle);
    }

    proptest! {
        /// Whatever happens without a good reply, attempt n comes at least half of its full
        /// pause after attempt n - 1, and never more than the cap.
        #[test]
        fn attempts_keep_their_distance(steps in prop::collection::vec((0..4u8, 0.0..1.0f64, any::<bool>()), 1..60)) {
            let mut now = Instant::now();
            let mut life = Lifecycle::new(CAP);
            let mut last_failure: Option<(Instant, u32)> = None;
            for (what, random, wanted) in steps {
                match life.phase() {
                    ConnectionPhase::Idle => life.wanted(now),
                    ConnectionPhase::Pausing(until) => {
                        prop_assert!(until - now <= CAP);
                        now = until;
                        life.pause_over();
                    }
                    ConnectionPhase::Connecting => {
                        if let Some((then, failures)) = last_failure {
                            let full = Duration::from_millis(10) * (1 << (failures - 1).min(7));
                            prop_assert!(now - then >= full.min(CAP) / 2);
                        }
                        if what == 0 {
                            life.connected();
                        } else {
                            life.failed(now, random, wanted);
                            last_failure = Some((now, last_failure.map_or(1, |(_, n)| n + 1)));
                        }
                    }
                    ConnectionPhase::Live => {
                        let loss = if what < 2 { Loss::Abrupt } else { Loss::Graceful };
                        life.lost(now, loss, false, random, wanted);
                        last_failure = Some((now, last_failure.map_or(1, |(_, n)| n + 1)));
                    }
                }
            }
        }
    }
}
