//! PURE: when to ping, when to doubt a connection, and when to give it up.

use std::time::{Duration, Instant};

use crate::config::MIN_KEEP_ALIVE_INTERVAL;

/// A ping that stays unanswered this long makes a connection suspect.
const SUSPICION: Duration = Duration::from_secs(2);

/// Shortest time between two pings with nothing but a pong between them: the minimum of etcd, and a
/// second for networks whose delay varies.
///
/// etcd counts each ping that *arrives* early and closes the connection at the third. The count
/// starts over only when etcd has something else to send. A call may wait for a lock for hours, and
/// three early pings in all that time are too many.
///
/// Source: `handlePing` in grpc-go's `internal/transport/http2_server.go`.
const DISTANCE: Duration = Duration::from_secs(1).saturating_add(MIN_KEEP_ALIVE_INTERVAL);

/// The same time if the server has answered a call since the last pong, and so has started its count over:
/// a member that falls silent is detected soon, whenever it was pinged last.
const DISTANCE_AFTER_ANSWER: Duration = Duration::from_secs(1);

/// Time between the two checks that find a connection dead.
const GRACE: Duration = Duration::from_millis(100);

/// Longer times are cut to this one, which can be added to any point in time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Instruction to the monitor of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAliveAction {
    /// Do nothing before that moment.
    Rest(Instant),
    /// Send a ping.
    Ping,
    /// Close the connection, which is dead.
    Dead,
}

/// The keep-alive state of one connection.
#[derive(Debug)]
pub(crate) struct KeepAliveState {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    /// When bytes last came in.
    heard: Instant,
    pinged: Option<Instant>,
    /// When the ping without a pong was sent.
    outstanding: Option<Instant>,
    /// A call has waited too long for its answer.
    doubted: bool,
    /// A call was answered since the last pong.
    answered: bool,
    /// When the time-out was first found to be over.
    condemned: Option<Instant>,
}

impl KeepAliveState {
    /// Without `interval` there are no pings; without `timeout` the connection is never found dead.
    pub(crate) fn new(interval: Option<Duration>, timeout: Option<Duration>, now: Instant) -> Self {
        Self {
            interval: interval.map(|interval| interval.min(LONGEST)),
            timeout: timeout.map(|timeout| timeout.min(LONGEST)),
            heard: now,
            pinged: None,
            outstanding: None,
            doubted: false,
            answered: false,
            condemned: None,
        }
    }

    /// Bytes came in at `then`.
    pub(crate) fn heard(&mut self, then: Instant) {
        if then > self.heard {
            self.heard = then;
            self.condemned = None;
        }
    }

    /// A call has been unanswered for a second.
    pub(crate) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether a call was answered since the last pong.
    pub(crate) fn answered(&mut self, answered: bool) {
        self.answered = answered;
    }

    /// A ping was sent.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.pinged = Some(now);
        self.outstanding = Some(now);
        self.doubted = false;
    }

    /// The ping was answered.
    pub(crate) fn pong(&mut self) {
        self.outstanding = None;
        self.condemned = None;
    }

    /// Whether new calls should go to another endpoint.
    pub(crate) fn is_suspect(&self, now: Instant) -> bool {
        self.silence(now)
            .is_some_and(|silence| silence >= SUSPICION)
    }

    /// Returns what to do now. `open` says whether calls or streams are under way.
    ///
    /// INVARIANT: `Dead` is returned only by the second check, [`GRACE`] after the first. A process
    /// that was stopped or starved finds its time-outs over, and the answers unread in its sockets:
    /// the task that reads them needs a turn first.
    pub(crate) fn next(&mut self, now: Instant, open: bool) -> KeepAliveAction {
        let Some(interval) = self.interval else {
            // Without pings, silence is not noticed.
            return KeepAliveAction::Rest(now + LONGEST);
        };
        if let Some(silence) = self.silence(now) {
            return match self.timeout {
                Some(timeout) if silence >= timeout => self.condemn(now),
                Some(timeout) => KeepAliveAction::Rest(now + self.to_next_mark(silence, timeout)),
                None => KeepAliveAction::Rest(now + interval),
            };
        }
        if self.outstanding.is_some() {
            return KeepAliveAction::Rest(now + SUSPICION.min(interval));
        }
        let due = match (self.doubted, self.pinged) {
            (true, None) => now,
            (true, Some(then)) => then + self.doubt_distance(interval),
            (false, None) => self.heard + interval,
            (false, Some(then)) => (self.heard + interval).max(then + DISTANCE),
        };
        match (due <= now, open) {
            (true, true) => KeepAliveAction::Ping,
            // etcd counts pings without open streams as abuse.
            (true, false) => KeepAliveAction::Rest(now + interval),
            (false, _) => KeepAliveAction::Rest(due),
        }
    }

    /// Returns the time between a ping and the next one for a doubt. A server that has once complained
    /// of too many pings gets fewer of these too, without exception.
    fn doubt_distance(&self, interval: Duration) -> Duration {
        if interval / 2 > DISTANCE {
            interval / 2
        } else if self.answered {
            DISTANCE_AFTER_ANSWER
        } else {
            DISTANCE
        }
    }

    fn condemn(&mut self, now: Instant) -> KeepAliveAction {
        let first = *self.condemned.get_or_insert(now);
        if now >= first + GRACE {
            KeepAliveAction::Dead
        } else {
            KeepAliveAction::Rest(first + GRACE)
        }
    }

    /// Returns for how long nothing has come in since the unanswered ping was sent.
    fn silence(&self, now: Instant) -> Option<Duration> {
        let asked = self.outstanding?;
        // Data counts as a sign of life: up to 100 MB of it may come before the pong.
        Some(now.saturating_duration_since(asked.max(self.heard)))
    }

    fn to_next_mark(&self, silence: Duration, timeout: Duration) -> Duration {
        if silence < SUSPICION {
            SUSPICION.min(timeout) - silence.min(timeout)
        } else {
            timeout - silence
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeepAliveAction::{Dead, Ping, Rest};

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn started() -> (KeepAliveState, Instant) {
        let now = Instant::now();
        (
            KeepAliveState::new(Some(seconds(10)), Some(seconds(3)), now),
            now,
        )
    }

    #[test]
    fn a_silent_connection_is_pinged_after_the_interval() {
        let (mut keep_alive, t) = started();
        assert_eq!(keep_alive.next(t, true), Rest(t + seconds(10)));
        assert_eq!(keep_alive.next(t + seconds(10), true), Ping);
    }

    #[test]
    fn incoming_data_puts_the_ping_off() {
        let (mut keep_alive, t) = started();
        keep_alive.heard(t + seconds(8));
        assert_eq!(
            keep_alive.next(t + seconds(10), true),
            Rest(t + seconds(18))
        );
    }

    #[test]
    fn without_open_streams_there_are_no_pings() {
        let (mut keep_alive, t) = started();
        assert_eq!(
            keep_alive.next(t + seconds(60), false),
            Rest(t + seconds(70))
        );
    }

    #[test]
    fn an_unanswered_ping_makes_suspect_after_2_s_and_dead_after_the_timeout() {
        let (mut keep_alive, t) = started();
        keep_alive.pinged(t);
        assert_eq!(keep_alive.next(t, true), Rest(t + seconds(2)));
        assert!(!keep_alive.is_suspect(t + Duration::from_millis(1999)));
        assert!(keep_alive.is_suspect(t + seconds(2)));
        assert_eq!(keep_alive.next(t + seconds(2), true), Rest(t + seconds(3)));
        let again = t + seconds(3) + GRACE;
        assert_eq!(keep_alive.next(t + seconds(3), true), Rest(again));
        assert_eq!(keep_alive.next(again, true), Dead);
    }

    #[test]
    fn a_process_that_was_stopped_reads_its_answers_first() {
        let (mut keep_alive, t) = started();
        keep_alive.pinged(t);
        assert!(matches!(keep_alive.next(t + seconds(60), true), Rest(_)));
        keep_alive.heard(t + seconds(60));
        keep_alive.pong();
        assert_ne!(keep_alive.next(t + seconds(61), true), Dead);
    }

    #[test]
    fn a_pong_or_data_clears_the_suspicion() {
        let (mut keep_alive, t) = started();
        keep_alive.pinged(t);
        keep_alive.heard(t + seconds(2));
        assert!(!keep_alive.is_suspect(t + seconds(3)));
        assert_ne!(keep_alive.next(t + seconds(4), true), Dead);
        assert_ne!(keep_alive.next(t + seconds(5), true), Dead);
        assert_eq!(keep_alive.next(t + seconds(6), true), Dead);
        keep_alive.pong();
        assert!(!keep_alive.is_suspect(t + seconds(9)));
        assert_ne!(keep_alive.next(t + seconds(9), true), Dead);
    }

    #[test]
    fn a_doubt_pings_at_once_but_not_twice_in_6_s() {
        let (mut keep_alive, t) = started();
        keep_alive.doubt();
        assert_eq!(keep_alive.next(t + seconds(1), true), Ping);
        keep_alive.pinged(t + seconds(1));
        keep_alive.pong();
        keep_alive.doubt();
        assert_eq!(keep_alive.next(t + seconds(2), true), Rest(t + seconds(7)));
        assert_eq!(keep_alive.next(t + seconds(7), true), Ping);
    }

    #[test]
    fn after_an_answer_a_doubt_need_not_wait() {
        let (mut keep_alive, t) = started();
        keep_alive.pinged(t);
        keep_alive.pong();
        keep_alive.answered(true);
        assert_eq!(keep_alive.next(t + seconds(2), true), Rest(t + seconds(10)));
        keep_alive.doubt();
        assert_eq!(keep_alive.next(t, true), Rest(t + seconds(1)));
        assert_eq!(keep_alive.next(t + seconds(2), true), Ping);
        // The pong alone is no answer.
        keep_alive.pinged(t + seconds(2));
        keep_alive.pong();
        keep_alive.answered(false);
        keep_alive.doubt();
        assert_eq!(keep_alive.next(t + seconds(4), true), Rest(t + seconds(8)));
    }

    #[test]
    fn the_shortest_interval_leaves_room_for_a_network_that_wavers() {
        let t = Instant::now();
        let mut keep_alive = KeepAliveState::new(Some(MIN_KEEP_ALIVE_INTERVAL), None, t);
        assert_eq!(keep_alive.next(t + seconds(5), true), Ping);
        keep_alive.pinged(t + seconds(5));
        keep_alive.heard(t + seconds(5));
        keep_alive.pong();
        assert_eq!(
            keep_alive.next(t + seconds(10), true),
            Rest(t + seconds(11))
        );
    }

    #[test]
    fn times_without_end_are_no_trouble() {
        let t = Instant::now();
        let mut keep_alive = KeepAliveState::new(Some(Duration::MAX), Some(Duration::MAX), t);
        assert!(matches!(keep_alive.next(t, true), Rest(_)));
        keep_alive.pinged(t);
        assert!(matches!(keep_alive.next(t + seconds(3), true), Rest(_)));
    }

    #[test]
    fn after_a_complaint_doubts_ping_less_often_too() {
        let t = Instant::now();
        let mut keep_alive = KeepAliveState::new(Some(seconds(40)), Some(seconds(3)), t);
        keep_alive.pinged(t);
        keep_alive.pong();
        keep_alive.answered(true);
        keep_alive.doubt();
        assert_eq!(keep_alive.next(t + seconds(6), true), Rest(t + seconds(20)));
    }

    #[test]
    fn each_half_can_be_switched_off() {
        let t = Instant::now();
        let mut keep_alive = KeepAliveState::new(None, Some(seconds(3)), t);
        keep_alive.doubt();
        assert!(matches!(keep_alive.next(t + seconds(99), true), Rest(_)));
        let mut keep_alive = KeepAliveState::new(Some(seconds(10)), None, t);
        keep_alive.pinged(t);
        assert!(keep_alive.is_suspect(t + seconds(2)));
        assert!(matches!(keep_alive.next(t + seconds(99), true), Rest(_)));
    }

    /// Driven through virtual time, it never asks to be woken in the past, and a dead peer is
    /// found within interval + time-out.
    #[test]
    fn a_dead_peer_is_found_in_time() {
        let (mut keep_alive, t) = started();
        let mut now = t;
        loop {
            match keep_alive.next(now, true) {
                Rest(then) => {
                    assert!(then > now, "it spins");
                    now = then;
                }
                Ping => keep_alive.pinged(now),
                Dead => break,
            }
        }
        assert_eq!(now - t, seconds(13) + GRACE);
    }
}
