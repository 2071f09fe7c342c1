//! The state of one server: its store, its identity, its time.

use std::collections::HashMap;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdex_proto::etcdserverpb::{Member, ResponseHeader};
use tokio::sync::{Notify, mpsc};

use crate::clock::Time;
use crate::faults::FaultState;
use crate::options::Options;
use crate::store::{Limits, Store, WatchQuery, WatcherId};
#[cfg(feature = "_tls")]
use crate::tls::{Acceptor, TlsConfig};
use crate::tokens::Tokens;

/// The raft term of a member that has led since its first election.
const RAFT_TERM: u64 = 2;

/// One server.
#[derive(Debug)]
pub(crate) struct Node {
    options: Options,
    state: Mutex<State>,
    cluster_id: u64,
    member_id: u64,
    client_url: String,
    peer_urls: Mutex<Vec<String>>,
    time: Time,
    tokens: Tokens,
    faults: FaultState,
    /// For connections with TLS.
    #[cfg(feature = "_tls")]
    tls: Option<Acceptor>,
    /// Told of each compaction whose work is to be done in the background.
    compacted: Notify,
}

/// Tells a stream which of its watchers have something to take.
pub(crate) type ReadySender = mpsc::UnboundedSender<WatcherId>;

#[derive(Debug)]
struct State {
    store: Store,
    /// The streams of the watchers.
    streams: HashMap<WatcherId, ReadySender>,
}

/// The store, while its lock is held.
///
/// When it is dropped, the streams are told which watchers have something to take, so no
/// change can be made without that.
pub(crate) struct StoreGuard<'a>(MutexGuard<'a, State>);

impl Node {
    /// `client_url` is the URL that the server listens on.
    ///
    /// # Errors
    /// The certificates of the options cannot be used.
    pub(crate) fn new(options: Options, client_url: String) -> io::Result<Self> {
        let member_id = fastrand::u64(1..);
        let store = Store::new(Limits {
            member_id,
            txn_operations: options.max_txn_ops,
            min_lease_ttl: options.min_lease_ttl,
            quota_bytes: options.quota_backend_bytes,
        });
        Ok(Self {
            state: Mutex::new(State {
                store,
                streams: HashMap::new(),
            }),
            cluster_id: fastrand::u64(1..),
            member_id,
            client_url: options.advertise.clone().unwrap_or(client_url),
            peer_urls: Mutex::default(),
            time: Time::default(),
            tokens: Tokens::new(options.auth_token_ttl),
            faults: FaultState::default(),
            compacted: Notify::new(),
            #[cfg(feature = "_tls")]
            tls: options.tls.as_ref().map(TlsConfig::acceptor).transpose()?,
            options,
        })
    }

    /// Returns what accepts the handshakes of clients, if the server has a certificate.
    #[cfg(feature = "_tls")]
    pub(crate) fn tls(&self) -> Option<&Acceptor> {
        self.tls.as_ref()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn store(&self) -> StoreGuard<'_> {
        // A panic under the lock is a fault of the store. Other requests go on with what there is.
        StoreGuard(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn compacted(&self) -> &Notify {
        &self.compacted
    }

    pub(crate) fn time(&self) -> &Time {
        &self.time
    }

    pub(crate) fn faults(&self) -> &FaultState {
        &self.faults
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns the time of the store.
    pub(crate) fn now(&self) -> Duration {
        self.time.now()
    }

    pub(crate) fn member_id(&self) -> u64 {
        self.member_id
    }

    /// Returns the only member of the cluster.
    pub(crate) fn member(&self) -> Member {
        let peer_urls = self
            .peer_urls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Member {
            id: self.member_id,
            name: self.options.name.clone(),
            peer_ur_ls: peer_urls.clone(),
            client_ur_ls: vec![self.client_url.clone()],
            is_learner: false,
        }
    }

    /// Replaces the URLs for other members, of which there are none.
    pub(crate) fn set_peer_urls(&self, urls: Vec<String>) {
        *self
            .peer_urls
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = urls;
    }

    /// Returns the header of a reply about members, which has no revision.
    pub(crate) fn member_header(&self) -> Option<ResponseHeader> {
        self.header(0)
    }

    /// Returns the header of a reply at a revision.
    pub(crate) fn header(&self, revision: i64) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: RAFT_TERM,
        })
    }
}

impl StoreGuard<'_> {
    /// Adds a watcher. `ready` is told when it has something to take.
    pub(crate) fn add_watcher(&mut self, query: WatchQuery, ready: ReadySender) -> WatcherId {
        let id = self.0.store.watch(query);
        self.0.streams.insert(id, ready);
        id
    }

    /// Removes a watcher, also one that the store has removed.
    pub(crate) fn remove_watcher(&mut self, id: WatcherId) {
        self.0.store.cancel_watch(id);
        self.0.streams.remove(&id);
    }
}

impl Deref for StoreGuard<'_> {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0.store
    }
}

impl DerefMut for StoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.0.store
    }
}

impl Drop for StoreGuard<'_> {
    fn drop(&mut self) {
        let State { store, streams } = &mut *self.0;
        while let Some(id) = store.next_ready_watch() {
            if let Some(ready) = streams.get(&id) {
                // The stream has ended, and is about to remove its watchers.
                let _ = ready.send(id);
            }
        }
    }
}
