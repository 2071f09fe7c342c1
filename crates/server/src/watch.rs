//! The service Watch: one stream of a client, and its watches.
//!
//! Facts about the answers: etcd, `server/etcdserver/api/v3rpc/watch.go`.

mod response;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::watch_create_request::FilterType;
use etcdex_proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;

use self::response::Responses;
use crate::context::Context;
use crate::grpc::decode;
use crate::node::{ReadySender, StoreGuard};
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::STEP;
use crate::store::{KeyRange, StoreError, WatchOutput, WatchQuery, WatcherId};

/// The most watchers that are told of changes before other tasks have their turn.
const MOST_AT_ONCE: usize = 16;

/// The ID in a response that is about no watch, or about all of the stream.
const NO_WATCH: i64 = -1;

/// Serves a stream until the client ends it.
pub(crate) async fn serve(
    context: &Context,
    mut requests: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let node = context.node();
    let (sender, mut ready) = mpsc::unbounded_channel();
    let mut stream = Stream {
        watches: Watches::new(context.clone(), sender),
        wants_progress: false,
        next_notification: None,
        reply,
    };
    let mut told = Vec::new();
    loop {
        let notification = stream.next_notification;
        tokio::select! {
            biased;
            message = requests.next() => match message? {
                Some(message) => stream.carry_out(decode(message)?).await?,
                None => return Ok(()),
            },
            _ = ready.recv_many(&mut told, MOST_AT_ONCE) => {
                for watcher in told.drain(..) {
                    stream.tell(watcher).await?;
                }
                stream.reply.flush().await?;
                // Meanwhile there may be more changes, which the next watchers are told of at once.
                tokio::task::yield_now().await;
            }
            () = node.time().sleep_until(notification.unwrap_or_default()), if notification.is_some() => {
                stream.notify_of_progress().await?;
            }
        }
        // A client that asks for progress is told of it after all that waits for it.
        if stream.wants_progress && ready.is_empty() {
            stream.answer_progress().await?;
        }
    }
}

struct Stream<'a> {
    watches: Watches,
    /// Whether the client has asked for progress, and was not answered.
    wants_progress: bool,
    /// When idle watches are told of progress; `None` if none wants it.
    next_notification: Option<Duration>,
    reply: &'a mut Reply,
}

/// The watches of a stream. They are removed from the store with it.
struct Watches {
    context: Context,
    ready: ReadySender,
    by_id: HashMap<i64, Watch>,
    /// The IDs of the watches that are not canceled.
    ids: HashMap<WatcherId, i64>,
    next_id: i64,
}

struct Watch {
    watcher: WatcherId,
    /// Whether a revision may be told in several responses.
    fragment: bool,
    notification: Notification,
}

/// Whether a watch is told of progress while nothing happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notification {
    Unwanted,
    /// At the next notification.
    Due,
    /// Not at the next notification: it was told of changes since the last one.
    Skipped,
}

impl Stream<'_> {
    async fn carry_out(&mut self, request: pb::WatchRequest) -> Result<(), Ended> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => {
                self.wants_progress = true;
                Ok(())
            }
            // As etcd does, the server takes no notice of what it does not know.
            None => Ok(()),
        }
    }

    async fn create(&mut self, request: pb::WatchCreateRequest) -> Result<(), Ended> {
        let wants_notifications = request.progress_notify;
        let (revision, created) = self.watches.create(request);
        if wants_notifications && self.next_notification.is_none() {
            self.next_notification = Some(self.watches.next_notification());
        }
        let (watch_id, cancel_reason) = match created {
            Ok(id) => (id, String::new()),
            Err(reason) => (NO_WATCH, reason),
        };
        let response = pb::WatchResponse {
            header: self.watches.context.node().header(revision),
            watch_id,
            created: true,
            canceled: !cancel_reason.is_empty(),
            cancel_reason,
            ..pb::WatchResponse::default()
        };
        self.reply.send(&response).await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Ended> {
        let Some(revision) = self.watches.cancel(id) else {
            return Ok(());
        };
        let response = pb::WatchResponse {
            header: self.watches.context.node().header(revision),
            watch_id: id,
            canceled: true,
            ..pb::WatchResponse::default()
        };
        self.reply.send(&response).await
    }

    /// Sends what a watcher has to take.
    async fn tell(&mut self, watcher: WatcherId) -> Result<(), Ended> {
        let Some((id, output)) = self.watches.take(watcher) else {
            return Ok(());
        };
        match output {
            WatchOutput::Compacted { revision } => {
                let response = pb::WatchResponse {
                    // As in etcd, the revision of this header is 0.
                    header: self.watches.context.node().header(0),
                    watch_id: id,
                    canceled: true,
                    compact_revision: revision,
                    ..pb::WatchResponse::default()
                };
                self.watches.end(watcher);
                self.reply.send(&response).await
            }
            WatchOutput::Events {
                revision,
                events,
                more,
            } => {
                let fragment = self.watches.told(id, !events.is_empty());
                let template = pb::WatchResponse {
                    header: self.watches.context.node().header(revision),
                    watch_id: id,
                    ..pb::WatchResponse::default()
                };
                for response in Responses::new(template, events, fragment) {
                    self.reply.feed(&response).await?;
                }
                if more {
                    self.watches.ask_again(watcher);
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        }
    }

    async fn answer_progress(&mut self) -> Result<(), Ended> {
        let Some(revision) = self.watches.progress() else {
            return Ok(());
        };
        self.wants_progress = false;
        self.progress(NO_WATCH, revision).await
    }

    /// Tells the watches that are idle how far the store has come.
    async fn notify_of_progress(&mut self) -> Result<(), Ended> {
        self.next_notification = Some(self.watches.next_notification());
        for (id, revision) in self.watches.take_notifications() {
            self.progress(id, revision).await?;
        }
        Ok(())
    }

    async fn progress(&mut self, watch_id: i64, revision: i64) -> Result<(), Ended> {
        let response = pb::WatchResponse {
            header: self.watches.context.node().header(revision),
            watch_id,
            ..pb::WatchResponse::default()
        };
        self.reply.send(&response).await
    }
}

impl Watches {
    fn new(context: Context, ready: ReadySender) -> Self {
        Self {
            context,
            ready,
            by_id: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
        }
    }

    /// Creates a watch. Returns the revision of the store, and the ID of the watch or why there is
    /// none.
    fn create(&mut self, request: pb::WatchCreateRequest) -> (i64, Result<i64, String>) {
        let node = Arc::clone(self.context.node());
        let mut store = node.store();
        let created = self.try_create(request, &mut store);
        (store.revision(), created)
    }

    fn try_create(
        &mut self,
        request: pb::WatchCreateRequest,
        store: &mut StoreGuard<'_>,
    ) -> Result<i64, String> {
        if request.start_revision < 0 {
            return Err(StoreError::Compacted.to_string());
        }
        let key = match request.key.is_empty() {
            true => b"\0"[..].into(),
            false => request.key,
        };
        let range = KeyRange::new(key, request.range_end);
        let caller = self.context.caller(store);
        let permission =
            caller.and_then(|caller| Ok(store.authorize_read(caller.as_ref(), &range)?));
        permission.map_err(|status| status.in_words())?;
        if range.is_empty() {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        if request.watch_id != 0 && self.by_id.contains_key(&request.watch_id) {
            return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        let id = match request.watch_id {
            0 => {
                while self.by_id.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id => id,
        };
        let has = |filter: FilterType| request.filters.contains(&i32::from(filter));
        let query = WatchQuery {
            range,
            start: request.start_revision,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            prev_kv: request.prev_kv,
        };
        let watcher = store.add_watcher(query, self.ready.clone());
        let watch = Watch {
            watcher,
            fragment: request.fragment,
            notification: match request.progress_notify {
                true => Notification::Due,
                false => Notification::Unwanted,
            },
        };
        self.by_id.insert(id, watch);
        self.ids.insert(watcher, id);
        Ok(id)
    }

    /// Cancels a watch. Returns the revision of the store; `None` if there is no such watch.
    fn cancel(&mut self, id: i64) -> Option<i64> {
        self.forget(id)
            .then(|| self.context.node().store().revision())
    }

    /// Removes a watch. Returns whether it was there.
    fn forget(&mut self, id: i64) -> bool {
        let Some(watch) = self.by_id.remove(&id) else {
            return false;
        };
        self.ids.remove(&watch.watcher);
        self.context.node().store().remove_watcher(watch.watcher);
        true
    }

    /// Removes the watcher of a watch that the server cancels. As in etcd, the ID stays in use until the
    /// client cancels the watch, too.
    fn end(&mut self, watcher: WatcherId) {
        self.ids.remove(&watcher);
        self.context.node().store().remove_watcher(watcher);
    }

    /// Takes what a watcher is to be told. Returns it with the ID of the watch; `None` if the watch was
    /// canceled.
    fn take(&mut self, watcher: WatcherId) -> Option<(i64, WatchOutput)> {
        let id = *self.ids.get(&watcher)?;
        let output = self.context.node().store().take_events(watcher, STEP)?;
        Some((id, output))
    }

    /// Notes whether a watch was told of changes. Returns whether its responses may be fragments.
    fn told(&mut self, id: i64, has_changes: bool) -> bool {
        let Some(watch) = self.by_id.get_mut(&id) else {
            return false;
        };
        if has_changes && watch.notification == Notification::Due {
            watch.notification = Notification::Skipped;
        }
        watch.fragment
    }

    /// Has a watcher that is behind go on after the others.
    fn ask_again(&self, watcher: WatcherId) {
        // The stream has the receiver.
        let _ = self.ready.send(watcher);
    }

    /// Returns the revision of the store if all watches were told of everything up to it.
    fn progress(&self) -> Option<i64> {
        self.context.node().store().watch_progress(self.ids.keys())
    }

    /// Returns when idle watches are told of progress next.
    fn next_notification(&self) -> Duration {
        self.context.node().now() + self.context.node().options().watch_progress_notify_interval
    }

    /// Returns the watches that are told of progress now, with the revision.
    fn take_notifications(&mut self) -> Vec<(i64, i64)> {
        let store = self.context.node().store();
        let mut due = Vec::new();
        for (id, watch) in &mut self.by_id {
            match watch.notification {
                Notification::Unwanted => {}
                Notification::Skipped => watch.notification = Notification::Due,
                Notification::Due => {
                    let progress = store.watch_progress([&watch.watcher]);
                    due.extend(progress.map(|revision| (*id, revision)));
                }
            }
        }
        due
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        let mut store = self.context.node().store();
        for watcher in self.ids.keys() {
            store.remove_watcher(*watcher);
        }
    }
}
