//! The messages that a server sends as the answer to one request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Scope;
use super::closing::UnderWay;
use super::retry::{Situation, Verdict, verdict};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Outcome, Retry};
use crate::method::Method;
use crate::transport::stream::{Incoming, open};
use crate::transport::{Failure, Head, Pass, Want, closed};

/// A call whose answer is many messages. It is sent when the first one is asked for, and sent
/// again, where that may help, as long as none has come.
///
/// It may take as long as it takes; what the handle calls a time-out is the longest silence.
pub(crate) struct Messages {
    scope: Scope,
    method: Method,
    stage: Stage,
    endpoint: Option<Endpoint>,
    pass: Option<Arc<Pass>>,
    attempts: u32,
    retries: u32,
    begun: bool,
    /// Counted among the calls of the client until it ends.
    under_way: Option<UnderWay>,
}

enum Stage {
    New,
    Open(Box<Incoming>),
    Over,
}

impl Messages {
    pub(crate) fn new(scope: Scope, method: Method) -> Self {
        Self {
            scope,
            method,
            stage: Stage::New,
            endpoint: None,
            pass: None,
            attempts: 0,
            retries: 0,
            begun: false,
            under_way: None,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next message; `None` behind the last. `encode` makes the framed request.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(
        &mut self,
        encode: impl Fn(&Scope) -> Result<Bytes, Failure>,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            let outcome = match self.scope.timeout.of_a_call() {
                Some(idle) => match tokio::time::timeout(idle, self.step(&encode)).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        if let Stage::Open(incoming) = &self.stage {
                            incoming.report_no_answer();
                        }
                        Err(silence(idle))
                    }
                },
                None => self.step(&encode).await,
            };
            let failure = match outcome {
                Ok(Some(message)) => {
                    self.begun = true;
                    return Ok(Some(message));
                }
                Ok(None) => {
                    self.over();
                    return Ok(None);
                }
                Err(failure) => failure,
            };
            let lost_pass = self.scope.has_lost_pass(&failure, self.pass.as_deref());
            if lost_pass && !self.begun && self.retries == 0 {
                self.retries += 1;
                self.stage = Stage::New;
                continue;
            }
            match self.verdict(&failure) {
                Verdict::Again { pause, counted, .. }
                    if !self.begun && (!counted || self.scope.core.budget.take()) =>
                {
                    self.retries += 1;
                    self.stage = Stage::New;
                    tokio::time::sleep(pause).await;
                }
                Verdict::Again { .. } | Verdict::GiveUp => return Err(self.end(failure.error)),
            }
        }
    }

    /// Gives the call up because of an error, to which it adds what is known of the call.
    pub(crate) fn end(&mut self, error: Error) -> Error {
        self.over();
        self.scope
            .describe(error, self.method, self.endpoint.as_ref(), self.attempts)
    }

    fn over(&mut self) {
        self.stage = Stage::Over;
        self.under_way = None;
    }

    /// Opens the stream if need be, and waits for a message.
    async fn step(
        &mut self,
        encode: &impl Fn(&Scope) -> Result<Bytes, Failure>,
    ) -> Result<Option<Bytes>, Failure> {
        loop {
            match &mut self.stage {
                Stage::Over => return Ok(None),
                Stage::Open(incoming) => return incoming.message().await,
                Stage::New => {
                    let request = encode(&self.scope)?;
                    if self.under_way.is_none() {
                        let entered = self.scope.core.closing.enter();
                        self.under_way = Some(entered.ok_or_else(|| final_error(closed()))?);
                    }
                    let incoming = self.open(request).await?;
                    self.stage = Stage::Open(Box::new(incoming));
                }
            }
        }
    }

    async fn open(&mut self, request: Bytes) -> Result<Incoming, Failure> {
        let want = Want {
            lane: self.method.lane(),
            member: self.scope.member,
            avoided: None,
            parting: self.scope.parting,
        };
        self.pass = self.scope.pass().await.map_err(final_error)?;
        let occupancy = self.scope.core.transport.occupy(want).await;
        let occupancy = occupancy.map_err(final_error)?;
        self.attempts += 1;
        self.endpoint = Some(occupancy.link().endpoint.clone());
        let head = Head {
            timeout: None,
            require_leader: self.scope.require_leader == Some(true),
            pass: self.pass.as_deref(),
        };
        let limit = self.scope.core.options.max_receive_size;
        let (mut outgoing, incoming) = open(occupancy, self.method, head, limit)?;
        outgoing.finish_with(request)?;
        Ok(incoming)
    }

    fn verdict(&self, failure: &Failure) -> Verdict {
        let limit = self.scope.core.options.retries;
        verdict(Situation {
            repeatable: true,
            outcome: failure.error.outcome(),
            retry: failure.retry,
            retries_left: limit.saturating_sub(self.retries),
            retries: self.retries,
            pauses: self.retries,
            others: 0,
            left: self.scope.timeout.of_a_call(),
            random: fastrand::f64(),
        })
    }
}

fn final_error(error: Error) -> Failure {
    Failure {
        error,
        retry: Retry::Never,
    }
}

fn silence(idle: Duration) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        Outcome::Unknown,
        format!("no chunk came within {idle:?}"),
        Retry::Never,
    )
}
