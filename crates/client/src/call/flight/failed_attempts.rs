//! The attempts of a call that have failed so far.

use crate::call::budget::RetryBudget;
use crate::error::Error;

/// Number of refused tokens after which a call gives up: one may have expired, and one may have
/// become stale by a change of users before it was used.
const MAX_REFUSED_TOKENS: u32 = 2;

/// The attempts of a call that have failed so far.
#[derive(Default)]
pub(super) struct FailedAttempts {
    /// Number of retries that count against the client's limit.
    retries: u32,
    /// Number of pauses before retries.
    pauses: u32,
    /// Number of refused tokens since the last one that was valid.
    refused_tokens: u32,
    /// Number of attempts that were given up because the server had stopped to carry them out.
    stalls: u32,
    /// Whether the budget was charged for the next move to another server.
    is_paid: bool,
    /// Whether one of the attempts may have been applied.
    is_uncertain: bool,
    last: Option<Error>,
}

impl FailedAttempts {
    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    pub(super) fn pauses(&self) -> u32 {
        self.pauses
    }

    pub(super) fn stalls(&self) -> u32 {
        self.stalls
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }

    /// Takes the error of the last attempt, as the cause of the call's error.
    pub(super) fn take_last(&mut self) -> Option<Error> {
        self.last.take()
    }

    /// Records that an attempt may have been applied.
    pub(super) fn note_uncertain(&mut self) {
        self.is_uncertain = true;
    }

    /// Records that the server has stopped to carry out an attempt.
    pub(super) fn note_stall(&mut self) {
        self.stalls += 1;
    }

    /// Records that a token was refused. `was_valid`: the token was valid when the attempt began.
    /// Returns whether the call may try another token.
    pub(super) fn note_refused_token(&mut self, was_valid: bool) -> bool {
        if was_valid {
            self.refused_tokens = 0;
        }
        self.refused_tokens += 1;
        self.refused_tokens <= MAX_REFUSED_TOKENS
    }

    /// Charges the budget for the next move to another server, before the attempt has failed. The first
    /// move is free. Returns whether the call may move.
    pub(super) fn pay(&mut self, budget: &RetryBudget) -> bool {
        self.is_paid = self.is_paid || self.retries == 0 || budget.take();
        self.is_paid
    }

    /// Returns whether the budget was charged for the move that follows.
    pub(super) fn take_payment(&mut self) -> bool {
        std::mem::take(&mut self.is_paid)
    }

    /// Records the error of an attempt that another one follows. `is_counted`: the retry counts against
    /// the client's limit. `has_pause`: the retry comes after a pause.
    pub(super) fn push(&mut self, error: Error, is_counted: bool, has_pause: bool) {
        self.retries += u32::from(is_counted);
        self.pauses += u32::from(has_pause);
        self.last = Some(error);
    }
}
