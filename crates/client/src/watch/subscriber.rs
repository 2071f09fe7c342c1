//! Owners of watches: the consumer of an inbox, and handles that add and cancel watches.

use std::ops::Deref;
use std::sync::Arc;

use super::driver::WatchCommand;
use super::entry::OwnerId;
use super::inbox::Inbox;
use super::pending::PendingWatch;
use super::registry::{Route, WatchRegistry};
use super::request::Watch;
use crate::call::Scope;

/// Adds and cancels the watches of a [`Subscriber`]. Clones belong to the same subscriber.
#[derive(Clone)]
pub(super) struct SubscriberHandle {
    pub(super) scope: Scope,
    pub(super) registry: Arc<WatchRegistry>,
    pub(super) route: Route,
    /// The owner of the watches.
    pub(super) owner: OwnerId,
    pub(super) inbox: Arc<Inbox>,
}

/// An owner of watches that consumes their messages. Its watches are cancelled when it is dropped.
pub(super) struct Subscriber(SubscriberHandle);

impl Deref for Subscriber {
    type Target = SubscriberHandle;

    fn deref(&self) -> &SubscriberHandle {
        &self.0
    }
}

impl Subscriber {
    /// Makes the owner of one watch.
    pub(super) fn of_one(scope: &Scope, registry: &Arc<WatchRegistry>) -> Self {
        Self::new(scope, registry, Inbox::quiet())
    }

    /// Makes the owner of any number of watches. It is also told of the client's end while it has no
    /// watches.
    pub(super) fn of_many(scope: &Scope, registry: &Arc<WatchRegistry>) -> Self {
        let subscriber = Self::new(scope, registry, Inbox::default());
        registry.register(subscriber.owner, subscriber.route, &subscriber.inbox);
        subscriber
    }

    fn new(scope: &Scope, registry: &Arc<WatchRegistry>, inbox: Inbox) -> Self {
        Self(SubscriberHandle {
            route: Route::of(scope),
            scope: scope.clone(),
            owner: registry.next_owner(),
            registry: Arc::clone(registry),
            inbox: Arc::new(inbox),
        })
    }

    /// Returns a handle that adds and cancels watches and does not read the inbox.
    pub(super) fn handle(&self) -> SubscriberHandle {
        self.0.clone()
    }
}

impl SubscriberHandle {
    pub(super) fn request_progress(&self) {
        self.send(WatchCommand::RequestProgress(self.owner));
    }

    pub(super) fn send(&self, command: WatchCommand) {
        self.registry.send(self.route, command);
    }

    /// Returns the future that adds a watch. It sends nothing before the first poll.
    pub(super) fn open(&self, watch: Watch) -> PendingWatch {
        PendingWatch::new(self.clone(), watch)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.registry.unregister(self.owner);
        // ORDER: the inbox is abandoned before the task removes the owner. The task adds no watch to an
        // abandoned inbox, so it adds none after the removal.
        self.inbox.abandon();
        self.send(WatchCommand::RemoveOwner(self.owner));
    }
}
