//! A stream of watches on each server, and what both have told.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use etcdex_proto::method::watch::WATCH;
use h2::client::SendRequest;
use prost::Message;
use tokio::time::{Instant, timeout, timeout_at};

use super::call::Revisions;
use super::fields;
use super::pair::DEADLINE;
use super::reply::Reply as _;
use crate::raw::{Header, Stream};

/// The ID in a response that is about no watch.
const NO_WATCH: i64 = -1;

/// The stream with the watches that begin in the future, or at a compacted revision. Neither server
/// answers a request for progress there, so the test cannot know whether both have told everything.
pub(crate) const UNCERTAIN: usize = 2;

/// How long real etcd may take to answer a request for progress before it is asked again. It does not
/// answer as long as a watch is behind, and brings those up to date every 100 ms.
const ASKED_AGAIN: Duration = Duration::from_millis(50);

/// A stream of watches on each server.
pub(crate) struct Watches {
    is_certain: bool,
    /// How long both may take until they have told the same.
    patience: Duration,
    real: Told,
    embedded: Told,
    /// The first revisions of the watches, by their IDs.
    open: BTreeMap<i64, Start>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    At(i64),
    /// The server has canceled the watch: it was to begin at a compacted revision.
    Compacted,
}

/// A stream, and what it has told since the last comparison.
struct Told {
    stream: Stream,
    /// The events of each watch, which may come in any number of responses.
    events: BTreeMap<i64, Vec<Vec<u8>>>,
    /// The other responses.
    answers: Vec<Vec<u8>>,
    /// The revision of the last response that tells progress.
    progress: i64,
}

fn request(union: RequestUnion) -> pb::WatchRequest {
    let request_union = Some(union);
    pb::WatchRequest { request_union }
}

impl Told {
    async fn open((sender, header): (SendRequest<Bytes>, Option<Header>)) -> Self {
        Self {
            stream: Stream::open_with(&sender, WATCH, header).await,
            events: BTreeMap::new(),
            answers: Vec::new(),
            progress: 0,
        }
    }

    /// Waits for a response, and takes it. Returns it, if it is no event.
    ///
    /// # Cancel safety
    /// No response is lost when the future is dropped.
    async fn next(&mut self) -> Option<pb::WatchResponse> {
        let Some(mut response) = self.stream.next::<pb::WatchResponse>().await else {
            let (code, text) = self.stream.status().await;
            panic!("a stream of watches has ended: status {code}: {text}");
        };
        response.normalise();
        let revision = response.revision();
        let is_control = response.created || response.canceled;
        if response.events.is_empty() && !is_control && response.watch_id == NO_WATCH {
            self.progress = self.progress.max(revision);
            return None;
        }
        for event in std::mem::take(&mut response.events) {
            let changed = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            assert!(changed <= revision, "an event of {changed} at {revision}");
            let events = self.events.entry(response.watch_id).or_default();
            events.push(event.encode_to_vec());
        }
        if !is_control {
            return None;
        }
        self.answers.push(response.encode_to_vec());
        Some(response)
    }

    /// Sends a request, and waits for its answer.
    async fn ask(&mut self, union: RequestUnion) -> Option<pb::WatchResponse> {
        self.stream.send(&request(union));
        self.answer().await
    }

    async fn answer(&mut self) -> Option<pb::WatchResponse> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match timeout_at(deadline, self.next()).await {
                Ok(None) => {}
                Ok(response) => return response,
                Err(_) => return None,
            }
        }
    }

    /// Waits until everything up to a revision was told.
    async fn catch_up(&mut self, revision: i64, asked_again: Duration) {
        let deadline = Instant::now() + DEADLINE;
        self.progress = 0;
        while self.progress < revision && Instant::now() < deadline {
            let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            self.stream.send(&request(progress));
            let answered = async {
                while self.progress < revision {
                    self.next().await;
                }
            };
            // Without an answer in time, it is asked again.
            let _ = timeout(asked_again, answered).await;
        }
    }

    fn show(&self) -> String {
        let mut lines: Vec<String> = self
            .answers
            .iter()
            .map(|answer| fields::show(answer))
            .collect();
        for (id, events) in &self.events {
            let events = events
                .iter()
                .map(|event| format!("watch {id}: {}", fields::show(event)));
            lines.extend(events);
        }
        lines.push(format!("progress: {}", self.progress));
        lines.join("\n    ")
    }

    fn is_as(&self, other: &Self) -> bool {
        self.answers == other.answers && self.events == other.events
    }

    fn forget(&mut self) {
        self.events.clear();
        self.answers.clear();
    }
}

impl Watches {
    pub(crate) async fn open(
        [real, embedded]: [(SendRequest<Bytes>, Option<Header>); 2],
        slot: usize,
        patience: Duration,
    ) -> Self {
        Self {
            is_certain: slot != UNCERTAIN,
            patience,
            real: Told::open(real).await,
            embedded: Told::open(embedded).await,
            open: BTreeMap::new(),
        }
    }

    /// Creates a watch.
    pub(crate) async fn create(
        &mut self,
        create: &pb::WatchCreateRequest,
        revisions: Revisions,
    ) -> Result<(), (String, String)> {
        let mut create = create.clone();
        revisions.resolve(&mut create.start_revision);
        let start = &mut create.start_revision;
        let is_past = (revisions.compacted + 1..=revisions.now).contains(start);
        let is_plain = *start <= 0 || is_past == self.is_certain;
        if !is_plain || (!self.is_certain && *start == revisions.compacted) {
            *start = 0;
        }
        if !self.is_certain {
            // Whether the pair before a change is there depends on when the change is told.
            create.prev_kv = false;
        }
        let start = create.start_revision;
        let union = RequestUnion::CreateRequest(create);
        let real = self.ask(union).await;
        let created = real.filter(|response| !response.canceled);
        if let Some(response) = created {
            let id = response.watch_id;
            self.open.insert(id, Start::At(start));
            if 0 < start && start < revisions.compacted {
                self.open.insert(id, Start::Compacted);
                let _ = tokio::join!(self.real.answer(), self.embedded.answer());
            }
        }
        // A watch that is behind could be overtaken by a compaction.
        self.compare(revisions).await
    }

    async fn ask(&mut self, union: RequestUnion) -> Option<pb::WatchResponse> {
        let (real, _) = tokio::join!(self.real.ask(union.clone()), self.embedded.ask(union));
        real
    }

    /// Cancels a watch.
    pub(crate) async fn cancel(
        &mut self,
        watch_id: i64,
        revisions: Revisions,
    ) -> Result<(), (String, String)> {
        let union = RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
        match self.open.get(&watch_id) {
            // There is no answer.
            None => {
                self.real.stream.send(&request(union.clone()));
                self.embedded.stream.send(&request(union));
                return Ok(());
            }
            // Whether it is told of the last changes is not certain.
            Some(Start::At(start)) if !self.is_certain && *start <= revisions.now => return Ok(()),
            Some(_) => {}
        }
        self.compare(revisions).await?;
        self.open.remove(&watch_id);
        self.ask(union).await;
        self.compare(revisions).await
    }

    /// Compares what both have told. They may have told the last changes not yet if the stream is
    /// uncertain.
    pub(crate) async fn compare(&mut self, revisions: Revisions) -> Result<(), (String, String)> {
        if self.is_certain && !self.open.is_empty() {
            tokio::join!(
                self.real.catch_up(revisions.now, ASKED_AGAIN),
                self.embedded.catch_up(revisions.now, DEADLINE),
            );
            if [self.real.progress, self.embedded.progress] != [revisions.now; 2] {
                return Err((self.real.show(), self.embedded.show()));
            }
        }
        let deadline = Instant::now() + self.patience;
        while !self.real.is_as(&self.embedded) {
            let next = async {
                tokio::select! {
                    _ = self.real.next() => {}
                    _ = self.embedded.next() => {}
                }
            };
            if timeout_at(deadline, next).await.is_err() {
                return Err((self.real.show(), self.embedded.show()));
            }
        }
        self.real.forget();
        self.embedded.forget();
        Ok(())
    }
}
