//! The client, and what it reports about itself.
//!
//! [`Client::status`] returns the state of each endpoint and of the login;
//! [`Client::close`] returns what was still in progress.

mod close;
mod credentials;
mod endpoints;
mod member;
mod status;

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::call::{Call, Core, Scope, Timeout, calls};
use crate::cluster::{AddMember, ListMembers, PromoteMember, RemoveMember, UpdateMember};
use crate::config::{ClientBuilder, Config};
use crate::debug::debug_fields;
use crate::discovery::Discovery;
use crate::endpoint::{Endpoint, IntoEndpoints};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Namespace, Value};
use crate::kv::{Compact, Delete, Get, List, Put};
use crate::lease::LeaseRegistry;
use crate::maintenance::Maintenance;
use crate::transport::EndpointTarget;
use crate::txn::{PutIfAbsent, Swap, Txn};
use crate::watch;

pub use self::close::CloseReport;
use self::member::MemberCache;
pub use self::status::{ClientStatus, EndpointState, EndpointStatus, TokenState};

/// A client of an etcd cluster.
///
/// A `Client` is a handle: clone it, share it between tasks and threads, and call its methods on
/// `&self`. All clones use the same connections, which close when the last clone is dropped.
/// [`with_timeout`](Client::with_timeout), [`namespace`](Client::namespace),
/// [`with_endpoint`](Client::with_endpoint) and [`require_leader`](Client::require_leader) return
/// handles that differ in that one property.
///
/// # Runtimes
/// A client works in the tokio runtime of its callers, with I/O and time enabled. A client may be
/// made outside of a runtime, for example as a `static`, and outlives runtimes:
/// - Each connection, login and renewal runs as a task in the runtime of the caller that needed it
///   first. When that runtime ends, the next caller starts the task again in its own runtime. A
///   call that waits in another runtime meanwhile is sent again as after a lost connection: see
///   [`Call`].
/// - A kept lease is renewed again as soon as its [`LeaseKeeper`](crate::LeaseKeeper) is used in
///   another runtime. Until then, the client does not renew the lease, and the lease may expire.
/// - A watch ends with [`WatchEnd::RuntimeEnded`](crate::WatchEnd::RuntimeEnded);
///   [`watch_list`](Self::watch_list) reads its list again and continues.
/// - A single-threaded runtime that runs only during calls of `block_on` answers no pings and
///   renews no leases in between. The client then loses connections and leases, and makes the
///   connections anew.
/// - A call is bound to the runtime of its first poll. Outside of a runtime, the first poll ends
///   with [`ErrorKind::Config`]. Polling a call after its runtime has ended may panic in tokio, as
///   the call's timer has ended too.
///
/// ```no_run
/// # async fn example() -> Result<(), etcdex::Error> {
/// let client = etcdex::Client::connect("http://127.0.0.1:2379").await?;
/// client.put("greeting", "hello").await?;
/// assert_eq!(client.get("greeting").string().await?.as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    scope: Scope,
    leases: Arc<LeaseRegistry>,
    members: Arc<MemberCache>,
    watches: Arc<watch::WatchRegistry>,
    discovery: Arc<Discovery>,
}

impl Client {
    /// Returns a builder with the defaults.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects to a cluster by one or several endpoints, with the defaults.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), etcdex::Error> {
    /// use etcdex::Client;
    ///
    /// let laptop = Client::connect("http://127.0.0.1:2379").await?;
    /// let cluster = Client::connect(["http://10.0.0.1:2379", "http://10.0.0.2:2379"]).await?;
    /// let listed = Client::connect("http://10.0.0.1:2379,http://10.0.0.2:2379").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`ClientBuilder::connect`].
    pub async fn connect(endpoints: impl IntoEndpoints) -> Result<Self, Error> {
        let endpoints = endpoints.into_endpoints();
        Self::builder().endpoints(endpoints).connect().await
    }

    fn new(config: &Config) -> Result<Self, Error> {
        let leases = Arc::<LeaseRegistry>::default();
        let core = Arc::new(Core::new(config, Arc::clone(&leases) as _)?);
        if config.options.credentials.is_some() {
            warn_of_plain_text(&config.endpoints);
        }
        Ok(Self {
            scope: Scope::of(core),
            leases,
            members: Arc::default(),
            watches: Arc::new(watch::WatchRegistry::new(config.options.watch_limits)),
            discovery: Discovery::new(&config.endpoints),
        })
    }

    /// Returns a handle whose calls may take up to `timeout`. The time-out also holds for calls
    /// that have none by default, such as a [`lock`](Self::lock).
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with(|scope| scope.timeout = Timeout::Chosen(Some(timeout)))
    }

    /// Returns a handle whose calls have no time-out.
    #[must_use]
    pub fn no_timeout(&self) -> Self {
        self.with(|scope| scope.timeout = Timeout::Chosen(None))
    }

    /// Returns a handle for which `prefix` is the whole key space.
    ///
    /// The client puts `prefix` in front of every key of a request, whatever the range, and removes
    /// it from every key of a reply. Namespaces of a handle that has one already nest.
    ///
    /// A namespace keeps well-behaved programs apart; it does not protect keys against other
    /// programs. Requests without a key, such as a compaction, are not limited by it.
    #[must_use]
    pub fn namespace(&self, prefix: impl Into<Key>) -> Self {
        let prefix = prefix.into();
        self.with(|scope| {
            scope.namespace = Namespace::within(scope.namespace.as_ref(), prefix.as_ref());
        })
    }

    /// Returns a handle whose calls go to this one of the client's endpoints and to no other. For a
    /// handle of a member by its ID, see [`member`](Self::member).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when the client does not have the endpoint.
    pub fn with_endpoint(&self, url: impl AsRef<str>) -> Result<Self, Error> {
        let endpoint: Endpoint = url.as_ref().parse()?;
        let pool = &self.scope.core.pool;
        let Some(index) = pool.index_of(&endpoint) else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the client does not use {endpoint}; add it with add_endpoint"),
            ));
        };
        Ok(self.with(|scope| scope.member = Some(EndpointTarget::at(index))))
    }

    /// Returns a handle whose calls go only to members that see a leader (`true`), or to any member
    /// (`false`).
    ///
    /// With `true`, a member without a leader refuses the call at once, instead of waiting for a
    /// leader. The client then tries the call, also a write, once at each other endpoint, and the
    /// call ends with [`ErrorKind::NoLeader`].
    ///
    /// By default, a [`lock`](Self::lock) and the watches ([`watch`](Self::watch),
    /// [`watcher`](Self::watcher), [`watch_list`](Self::watch_list)) require a leader, and other
    /// calls do not. The renewals of kept leases always require a leader.
    ///
    /// A watch retries until its time-out, and then ends with `NoLeader`. With `false`, a watch
    /// stays at a member without a leader, and gets no events until that member sees a leader
    /// again.
    #[must_use]
    pub fn require_leader(&self, require: bool) -> Self {
        self.with(|scope| scope.require_leader = Some(require))
    }

    /// Gets a key, or with options a range: see [`Get`].
    ///
    /// # Retries
    /// The get is sent again, at another endpoint if there is one, when a server is unavailable.
    /// With several endpoints, the client leaves a server that has not begun to answer when half of
    /// the time-out is over, and tries the next one: use a long time-out for a read that takes
    /// long.
    pub fn get(&self, key: impl Into<Key>) -> Call<Get> {
        self.run(Get::new(key))
    }

    /// Puts a value at a key: see [`Put`].
    ///
    /// # Retries
    /// The put is sent again only when it provably was not applied.
    pub fn put(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<Put> {
        self.run(Put::new(key, value))
    }

    /// Deletes a key, or with options a range: see [`Delete`].
    ///
    /// # Retries
    /// The delete is sent again only when it provably was not applied.
    pub fn delete(&self, key: impl Into<Key>) -> Call<Delete> {
        self.run(Delete::new(key))
    }

    /// Starts a transaction: add conditions and operations to it, and await it. See [`Txn`].
    ///
    /// # Retries
    /// A transaction that only reads is sent again like a [`get`](Self::get), any other like a
    /// [`put`](Self::put).
    pub fn txn(&self) -> Call<Txn> {
        self.run(Txn::new())
    }

    /// Drops the history before a revision: see [`Compact`].
    pub fn compact(&self, revision: i64) -> Call<Compact> {
        self.run(Compact::new(revision))
    }

    /// Puts a value at a key that does not exist yet: see [`PutIfAbsent`].
    pub fn put_if_absent(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<PutIfAbsent> {
        self.run(PutIfAbsent::new(key, value))
    }

    /// Replaces the value of a key that is as expected: see [`Swap`].
    pub fn swap(&self, key: impl Into<Key>, value: impl Into<Value>) -> Call<Swap> {
        self.run(Swap::new(key, value))
    }

    /// Reads all pairs with a prefix at one revision, page by page. An empty prefix stands for all
    /// keys.
    pub fn list(&self, prefix: impl Into<Key>) -> List {
        List::new(&self.scope, prefix.into())
    }

    calls! {
        /// Lists the members of the cluster: see [`ListMembers`].
        ///
        /// # Retries
        /// The request is sent again, at another endpoint if there is one, when a server is
        /// unavailable.
        fn list_members() -> ListMembers::new;

        /// Adds a member to the cluster, at these peer URLs (`http://host:port`): see [`AddMember`].
        ///
        /// # Retries
        /// The request is sent again only when it provably was not applied.
        fn add_member(peer_urls: impl IntoIterator<Item = impl Into<String>>) -> AddMember::new;

        /// Removes the member with this ID from the cluster: see [`RemoveMember`].
        ///
        /// # Retries
        /// The request is sent again only when it provably was not applied.
        fn remove_member(id: u64) -> RemoveMember::new;

        /// Gives the member with this ID other peer URLs (`http://host:port`): see [`UpdateMember`].
        ///
        /// # Retries
        /// The request is sent again only when it provably was not applied.
        fn update_member(id: u64, peer_urls: impl IntoIterator<Item = impl Into<String>>)
            -> UpdateMember::new;

        /// Gives the learner with this ID a vote: see [`PromoteMember`].
        ///
        /// # Retries
        /// The request is sent again only when it provably was not applied.
        fn promote_member(id: u64) -> PromoteMember::new;
    }

    /// Returns the calls for users, roles and permissions: see [`Auth`].
    #[must_use]
    pub fn auth(&self) -> Auth {
        Auth::new(self.scope.clone())
    }

    /// Returns the calls for alarms, status, snapshots and the like: see [`Maintenance`].
    #[must_use]
    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(self.scope.clone())
    }

    /// Sends any request value: `client.run(Put::new(key, value).lease(id))`.
    pub fn run<R: crate::call::Request>(&self, request: R) -> Call<R> {
        Call::new(&self.scope, request)
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the registry of the leases that all handles keep.
    pub(crate) fn lease_registry(&self) -> &Arc<LeaseRegistry> {
        &self.leases
    }

    /// Returns the registry of the watches of all handles.
    pub(crate) fn watches(&self) -> &Arc<watch::WatchRegistry> {
        &self.watches
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Core {
        &self.scope.core
    }

    fn with(&self, change: impl FnOnce(&mut Scope)) -> Self {
        let mut scope = self.scope.clone();
        change(&mut scope);
        Self {
            scope,
            leases: Arc::clone(&self.leases),
            members: Arc::clone(&self.members),
            watches: Arc::clone(&self.watches),
            discovery: Arc::clone(&self.discovery),
        }
    }
}

/// Warns about the first endpoint to which credentials would go over a network without TLS, where
/// anyone on the path can read them.
fn warn_of_plain_text(endpoints: &[Endpoint]) {
    if let Some(endpoint) = endpoints.iter().find(|one| one.is_exposed()) {
        tracing::warn!(target: "etcdex", %endpoint, "credentials go over the network in plain text: use https");
    }
}

impl ClientBuilder {
    /// Connects, and waits until a connection is up or every endpoint has been tried once.
    ///
    /// # Errors
    /// - [`ErrorKind::Config`] for an invalid option, or a file of certificates that cannot be
    ///   used.
    /// - [`ErrorKind::Unavailable`] with the cause when no endpoint could be reached.
    /// - [`ErrorKind::Tls`] when the first endpoint could be reached, and a TLS session with it
    ///   failed.
    /// - [`ErrorKind::AuthenticationFailed`] when a server refused the credentials.
    pub async fn connect(self) -> Result<Client, Error> {
        #[cfg(feature = "srv")]
        let client = match self.wanted_records() {
            Some((srv, only_https)) => {
                let found = crate::discovery::lookup(&srv, only_https).await?;
                self.with_found(found).make()?
            }
            None => self.make()?,
        };
        #[cfg(not(feature = "srv"))]
        let client = self.make()?;
        crate::runtime::present()?;
        client.scope.core.pool.ready().await?;
        client.scope.first_token().await?;
        Ok(client)
    }

    /// Makes a client that connects when the first call needs a connection, and tries until it
    /// succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an invalid option, or a file of certificates that cannot be used.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        #[cfg(feature = "srv")]
        if self.wanted_records().is_some() {
            let message = "SRV records are looked up by connect, and not by connect_lazy";
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.make()
    }

    fn make(self) -> Result<Client, Error> {
        let config = self.into_config()?;
        let client = Client::new(&config)?;
        client.discovery.start(&client.scope.core);
        Ok(client)
    }
}

debug_fields! { Client |client| {
    name: client.scope.core.options.name, endpoints: client.endpoints(),
    timeout: client.scope.timeout, namespace: client.scope.namespace, ..
} }
