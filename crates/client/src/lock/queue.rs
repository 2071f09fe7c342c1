//! The queue of a lock, read beside a request that waits in it.
//!
//! etcd's lock service can pass over a request for ever. All locks that wait at a member share one
//! stream of watches inside the server, with the token of the request that opened it. After that
//! token has been revoked, the server refuses further watches, and two refusals at the same time
//! can stop the end of that stream half way. From then on, no request that has to wait at the
//! member is answered until the member is started again. A request whose key is already the first
//! of the queue is answered at once, because it needs no watch. So the client reads the queue now
//! and then, and sends a request again that was passed over.
//!
//! The attempt before is given up. The server then deletes its key, without a token, at any time after
//! that. A server that enforces users refuses that, and the request can be sent again. Without users, the
//! call ends with an unknown outcome.
//!
//! Source: etcd, `client/v3/watch.go` (`run`, `addSubstream`, `serveSubstream`) and
//! `client/v3/concurrency/mutex.go`.

use std::time::Duration;

use bytes::Bytes;

use crate::call::{Call, GivenUp, Scope, Stall};
use crate::error::{Error, ErrorKind};
use crate::kv::{Get, GetResponse, SortTarget};
use crate::lease_id::LeaseId;
use crate::transport::now;
use crate::txn::{OperationResponse, Txn};

/// Shortest and longest time between two reads of the queue, without the random part. In between,
/// it is a quarter of the time that the request has waited: a request that is passed over is not
/// delayed by more. A thousand locks that wait for long read a hundred times a second.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Time between a read that has found a request passed over and the read that confirms it. A
/// service that works answers within milliseconds after the key has become the first. The time
/// doubles with each attempt of the call that was given up, up to the longer of [`INTERVALS`]: a
/// member that is slow gets to answer.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// If a request has waited for this long and its key was never in the queue, its lease has ended. The
/// time doubles with each attempt of the call that was given up: a proxy with a namespace shows the
/// client another queue than that of the lock service.
const ABSENCE: Duration = Duration::from_secs(10);

/// Number of times that a request has to be found passed over before its call ends, if the server does
/// not enforce users.
const FINDINGS: u32 = 3;

/// Time-out of one read.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The readings of the queue so far.
#[derive(Debug, Default)]
struct Readings {
    /// Whether the key was in the queue at one of the reads.
    was_queued: bool,
    /// Whether the last read has found the request passed over.
    is_due: bool,
    /// Number of attempts of the call that were given up before.
    stalls: u32,
}

/// The position of the request, by one read of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueuePosition {
    /// The key of the request is the first: the lock is its lease's.
    First,
    /// Other keys come before it.
    Queued,
    /// The key is not in the queue: the server has not put it yet, or its lease has ended.
    Absent,
}

impl Readings {
    /// Notes one reading. Returns whether the server has passed the request over: it had to be
    /// answered at two readings in a row. `waited`: how long the request has waited so far.
    fn note(&mut self, reading: QueuePosition, waited: Duration) -> bool {
        let is_due = match reading {
            QueuePosition::First => true,
            QueuePosition::Queued => false,
            QueuePosition::Absent => self.was_queued || waited >= ABSENCE * self.patience(),
        };
        self.was_queued |= reading != QueuePosition::Absent;
        std::mem::replace(&mut self.is_due, is_due) && is_due
    }

    /// Returns the factor of the waits of this attempt.
    fn patience(&self) -> u32 {
        1 << self.stalls.min(8)
    }

    /// Returns the time until the next reading. `waited`: how long the request has waited so far.
    /// `random`: from 0 to 1.
    fn pause(&self, waited: Duration, random: f64) -> Duration {
        let (least, most) = INTERVALS;
        if self.is_due {
            return (CONFIRMATION * self.patience()).min(most);
        }
        (waited / 4).clamp(least, most).mul_f64(0.8 + 0.4 * random)
    }
}

/// Returns a future that resolves when the server has passed the request over, with the fate of the key.
/// `stalls`: number of attempts of the call that were given up before.
pub(super) fn stall(name: &Bytes, lease: LeaseId, scope: &Scope, stalls: u32) -> Stall {
    let prefix = prefix(name);
    let key = key(&prefix, lease);
    let scope = scope.clone();
    Box::pin(async move {
        if crate::runtime::present().is_err() {
            // There is no timer.
            return std::future::pending().await;
        }
        let mut readings = Readings {
            stalls,
            ..Readings::default()
        };
        let mut findings = 0;
        let began = now();
        let waited = || now().saturating_duration_since(began);
        loop {
            tokio::time::sleep(readings.pause(waited(), fastrand::f64())).await;
            // A read that fails says nothing: the request goes on waiting.
            let Ok(reading) = read(&scope, &prefix, &key).await else {
                continue;
            };
            if readings.note(reading, waited()) {
                // ORDER: the last step. Users that are no longer enforced after this read, before
                // the server has undone the attempt, would not be noticed.
                if enforces_users(&scope, &key).await {
                    return GivenUp::Kept;
                }
                findings += 1;
                if findings == FINDINGS {
                    return GivenUp::Undone;
                }
                readings.is_due = false;
            }
        }
    })
}

fn prefix(name: &Bytes) -> Bytes {
    let mut prefix = name.to_vec();
    prefix.push(b'/');
    Bytes::from(prefix)
}

/// Returns whether the cluster has refused a read for the want of a user. It then refuses to delete
/// the key without a user, too. That the client has a token says nothing: a server whose
/// authentication is disabled accepts any.
async fn enforces_users(scope: &Scope, key: &Bytes) -> bool {
    let scope = scope.clone().without_token();
    let read = Call::new(&scope, Get::new(key.clone()).count_only()).timeout(TIMEOUT);
    let refusal = read.await.err();
    refusal.is_some_and(|error| error.kind() == ErrorKind::TokenMissing)
}

/// Returns the key that the server puts into the queue for a lease.
fn key(prefix: &Bytes, lease: LeaseId) -> Bytes {
    // etcd writes an ID with a sign here, and not as two's complement.
    let id = lease.as_i64();
    let sign = if id < 0 { "-" } else { "" };
    let mut key = prefix.to_vec();
    key.extend_from_slice(format!("{sign}{:x}", id.unsigned_abs()).as_bytes());
    Bytes::from(key)
}

/// Reads the queue. The reads are those of a lock itself, so its user is allowed to do them.
async fn read(scope: &Scope, prefix: &Bytes, key: &Bytes) -> Result<QueuePosition, Error> {
    let first = Get::new(prefix.clone())
        .prefix()
        .first(SortTarget::Create)
        .keys_only();
    let own = Get::new(key.clone()).count_only();
    let reading = Call::new(scope, Txn::new().then(first).then(own));
    let reply = reading.timeout(TIMEOUT).await?;
    let replies = reply.responses.into_iter();
    let replies: Vec<GetResponse> = replies.filter_map(OperationResponse::into_get).collect();
    let [first, own] = &replies[..] else {
        let message = "the reply to the reads of a queue has not two answers";
        return Err(Error::new(ErrorKind::Protocol, message));
    };
    Ok(if first.kvs.first().is_some_and(|kv| kv.key == key) {
        QueuePosition::First
    } else if own.count > 0 {
        QueuePosition::Queued
    } else {
        QueuePosition::Absent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed_over(readings: &[QueuePosition]) -> Vec<bool> {
        passed_over_after(0, readings)
    }

    /// Returns the result of each reading, of which there is one a second.
    fn passed_over_after(stalls: u32, readings: &[QueuePosition]) -> Vec<bool> {
        let mut state = Readings {
            stalls,
            ..Readings::default()
        };
        let mut waited = Duration::ZERO;
        let note = |reading: &QueuePosition| {
            waited += Duration::from_secs(1);
            state.note(*reading, waited)
        };
        readings.iter().map(note).collect()
    }

    #[test]
    fn a_key_that_never_was_in_the_queue_counts_later_with_each_attempt() {
        for (stalls, expected) in [(0, 10), (1, 20), (3, 80)] {
            let results = passed_over_after(stalls, &[QueuePosition::Absent; 100]);
            assert_eq!(results.iter().position(|over| *over), Some(expected));
        }
    }

    #[test]
    fn a_request_is_passed_over_when_two_readings_in_a_row_say_so() {
        use QueuePosition::{Absent, First, Queued};
        let cases: [(&[QueuePosition], &[bool]); 7] = [
            (&[First, First], &[false, true]),
            (&[First, Queued, First], &[false, false, false]),
            (&[Queued, Queued, Queued], &[false, false, false]),
            // The server has not begun.
            (&[Absent, Absent, Absent], &[false, false, false]),
            // The lease has ended during the wait.
            (&[Queued, Absent, Absent], &[false, false, true]),
            (&[Absent, First, First], &[false, false, true]),
            (&[First, Absent], &[false, true]),
        ];
        for (readings, expected) in cases {
            assert_eq!(passed_over(readings), expected, "{readings:?}");
        }
    }

    #[test]
    fn the_key_is_the_one_of_the_server() {
        let prefix = Bytes::from_static(b"lock/");
        let of = |id| key(&prefix, LeaseId::new(id).expect("not 0"));
        assert_eq!(of(0x7b), "lock/7b");
        assert_eq!(of(0x694d_77aa_9e38_260f), "lock/694d77aa9e38260f");
        // Go's `%x` writes a negative number like this.
        assert_eq!(of(-0x7b), "lock/-7b");
        assert_eq!(of(i64::MIN), "lock/-8000000000000000");
    }

    #[test]
    fn the_queue_is_read_less_often_the_longer_a_request_waits() {
        let mut readings = Readings::default();
        let pause = |readings: &Readings, waited, random| {
            readings
                .pause(Duration::from_secs(waited), random)
                .as_secs_f64()
        };
        for (waited, expected) in [(0, 1.0), (4, 1.0), (20, 5.0), (40, 10.0), (3_600, 10.0)] {
            let middle = pause(&readings, waited, 0.5);
            assert!((middle - expected).abs() < 1e-6, "{waited}: {middle}");
            assert!(pause(&readings, waited, 0.0) < middle);
        }
        readings.note(QueuePosition::First, Duration::ZERO);
        assert!((pause(&readings, 3_600, 0.5) - 1.0).abs() < 1e-6);
    }
}
