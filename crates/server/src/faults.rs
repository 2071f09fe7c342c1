//! Faults that a test causes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::grpc::{Code, Status};
use crate::node::Node;
use crate::socket::SocketState;

/// How long a request waits for a leader, as in etcd: 5 s, and two election timeouts.
///
/// Source: etcd, `server/config/config.go` (`ReqTimeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);

/// The faults of a server, now and for the calls to come.
#[derive(Debug, Default)]
pub(crate) struct FaultState {
    /// Whether there is a rule, or no leader. Calls look at the rest only then.
    is_active: AtomicBool,
    state: Mutex<State>,
    /// Told of each change.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    connections: Vec<Arc<SocketState>>,
    rules: Vec<Rule>,
    has_no_leader: bool,
}

#[derive(Debug)]
struct Rule {
    scope: Scope,
    fault: CallFault,
}

/// A fault of calls.
#[derive(Clone, Debug)]
enum CallFault {
    /// This number of calls is refused.
    Refuse(usize, Status),
    /// Calls are answered later.
    Delay(Duration),
    /// Calls are not answered.
    Hang,
    /// One call is carried out, and this comes on its connection before the reply.
    Connection(ConnectionFault),
}

/// A fault of a connection.
#[derive(Clone, Copy, Debug)]
enum ConnectionFault {
    Cut,
    GoAway,
    Stall,
    Fragment(usize),
}

impl ConnectionFault {
    fn cause(self, connection: &SocketState) {
        match self {
            Self::Cut => connection.cut(),
            Self::GoAway => connection.go_away(),
            Self::Stall => connection.stall(true),
            Self::Fragment(bytes) => connection.fragment(bytes),
        }
    }
}

/// The connections and calls that a fault is for.
#[derive(Clone, Debug, Default)]
struct Scope {
    connection: Option<SocketAddr>,
    method: Option<String>,
}

/// A call, as scopes name it.
#[derive(Clone, Debug)]
pub(crate) struct CallName {
    pub(crate) peer: SocketAddr,
    pub(crate) path: String,
    /// Whether the client wants an error where there is no leader.
    pub(crate) requires_leader: bool,
}

impl Scope {
    fn has_connection(&self, peer: SocketAddr) -> bool {
        self.connection.is_none_or(|one| one == peer)
    }

    fn has(&self, call: &CallName) -> bool {
        let method = self.method.as_deref();
        self.has_connection(call.peer) && method.is_none_or(|path| path == call.path)
    }
}

impl FaultState {
    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the faults, and has waiting calls look at them again.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.note_activity(&state);
        drop(state);
        self.changed.notify_waiters();
    }

    fn note_activity(&self, state: &State) {
        let is_active = !state.rules.is_empty() || state.has_no_leader;
        self.is_active.store(is_active, Relaxed);
    }

    /// Whether calls have to [`pass`](Self::pass).
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.load(Relaxed)
    }

    pub(crate) fn add_connection(&self, connection: Arc<SocketState>) {
        self.state().connections.push(connection);
    }

    pub(crate) fn remove_connection(&self, connection: &Arc<SocketState>) {
        let mut state = self.state();
        state
            .connections
            .retain(|one| !Arc::ptr_eq(one, connection));
    }

    /// Returns the addresses of the clients that are connected.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        self.state()
            .connections
            .iter()
            .map(|one| one.peer())
            .collect()
    }

    /// Waits, or refuses, as the faults want for a call before it is carried out.
    pub(crate) async fn pass(&self, call: &CallName) -> Result<(), Status> {
        let begun = tokio::time::Instant::now();
        loop {
            let changed = self.changed.notified();
            let next = self.next(call)?;
            match next {
                Next::Pass => return Ok(()),
                Next::After(delay) => {
                    tokio::time::sleep(delay).await;
                    return Ok(());
                }
                Next::Changed => changed.await,
                Next::Leader => {
                    let end = begun + REQUEST_TIMEOUT;
                    if tokio::time::timeout_at(end, changed).await.is_err() {
                        let text = "etcdserver: request timed out";
                        return Err(Status::new(Code::Unavailable, text));
                    }
                }
            }
        }
    }

    fn next(&self, call: &CallName) -> Result<Next, Status> {
        let mut state = self.state();
        if state.has_no_leader && call.requires_leader {
            return Err(no_leader());
        }
        let waits = state.has_no_leader && needs_leader(&call.path);
        let pass = if waits { Next::Leader } else { Next::Pass };
        for (index, rule) in state.rules.iter_mut().enumerate() {
            if !rule.scope.has(call) {
                continue;
            }
            match &mut rule.fault {
                CallFault::Delay(delay) => return Ok(Next::After(*delay)),
                CallFault::Hang => return Ok(Next::Changed),
                CallFault::Refuse(left, status) => {
                    let status = status.clone();
                    *left -= 1;
                    if *left == 0 {
                        state.rules.remove(index);
                        // Calls need not ask any more.
                        self.note_activity(&state);
                    }
                    return Err(status);
                }
                // It comes before the reply.
                CallFault::Connection(_) => {}
            }
        }
        Ok(pass)
    }

    /// Causes a fault of the connection that was to come before the reply to this call.
    pub(crate) fn begin_reply(&self, call: &CallName) {
        let mut state = self.state();
        let mut due = None;
        state.rules.retain(|rule| match rule.fault {
            CallFault::Connection(fault) if due.is_none() && rule.scope.has(call) => {
                due = Some(fault);
                false
            }
            _ => true,
        });
        self.note_activity(&state);
        let connection = state.connections.iter().find(|one| one.peer() == call.peer);
        if let (Some(fault), Some(connection)) = (due, connection) {
            fault.cause(connection);
        }
    }

    /// Waits as long as messages of an open stream are held back.
    pub(crate) async fn release(&self, call: &CallName) {
        loop {
            let changed = self.changed.notified();
            let is_held = self
                .state()
                .rules
                .iter()
                .any(|rule| matches!(rule.fault, CallFault::Hang) && rule.scope.has(call));
            if !is_held {
                return;
            }
            changed.await;
        }
    }

    /// Waits until there is no leader, if the stream wants an error then.
    pub(crate) async fn leader_lost(&self, call: &CallName) -> Status {
        loop {
            let changed = self.changed.notified();
            if call.requires_leader && self.state().has_no_leader {
                return no_leader();
            }
            changed.await;
        }
    }
}

/// The next thing to do for a call.
enum Next {
    Pass,
    After(Duration),
    /// To wait for a change of the faults.
    Changed,
    /// To wait for a leader.
    Leader,
}

fn no_leader() -> Status {
    Status::new(Code::Unavailable, "etcdserver: no leader")
}

/// Whether a method needs a leader. Streams go on without one, and a member tells its own state.
fn needs_leader(path: &str) -> bool {
    use etcdex_proto::method::{health, maintenance, watch};
    ![
        watch::WATCH,
        maintenance::STATUS,
        health::CHECK,
        health::WATCH,
    ]
    .contains(&path)
}

/// The faults of a server: [`Server::faults`](crate::Server::faults).
///
/// A fault is for all connections and all methods, unless [`connection`](Self::connection) and
/// [`method`](Self::method) narrow it. It lasts until [`heal`](Self::heal). Faults are caused in this
/// process only, never over the network.
///
/// [`cut`](Self::cut), [`go_away`](Self::go_away), [`stall`](Self::stall) and
/// [`fragment`](Self::fragment) are faults of connections. Without a method, they come at once, on the
/// connections that there are. With a method, they come once, on the connection of its next call: the
/// server carries out the call, and causes the fault before the reply. So a test can show what its
/// program does when it does not know whether a write was applied:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use etcdex_server::Server;
///
/// let server = Server::builder().start().await?;
/// let client = etcdex::Client::connect(server.client_url()).await?;
/// server.faults().method("/etcdserverpb.KV/Put").cut();
/// let error = client.put("k", "v").await.expect_err("the reply is lost");
/// assert_eq!(error.outcome(), etcdex::Outcome::Unknown);
/// assert_eq!(client.get("k").await?.count, 1);
/// # Ok(())
/// # }
/// ```
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use etcdex_server::{Code, Server};
///
/// let server = Server::builder().start().await?;
/// let client = etcdex::Client::connect(server.client_url()).await?;
/// let puts = server.faults().method("/etcdserverpb.KV/Put");
/// puts.refuse(1, Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
/// assert!(client.put("k", "v").await.is_err());
/// client.put("k", "v").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "no fault is caused until a method is called"]
pub struct Faults {
    node: Arc<Node>,
    scope: Scope,
}

impl Faults {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let scope = Scope::default();
        Self { node, scope }
    }

    /// Returns the faults of one connection, by the address of its client:
    /// [`Server::connections`](crate::Server::connections).
    pub fn connection(mut self, client: SocketAddr) -> Self {
        self.scope.connection = Some(client);
        self
    }

    /// Returns the faults of one method, by its path, as in `/etcdserverpb.KV/Put`.
    pub fn method(mut self, path: impl Into<String>) -> Self {
        self.scope.method = Some(path.into());
        self
    }

    fn add(&self, fault: CallFault) {
        let scope = self.scope.clone();
        let add = |state: &mut State| state.rules.push(Rule { scope, fault });
        self.node.faults().change(add);
    }

    fn on_connections(&self, fault: ConnectionFault) {
        if self.scope.method.is_some() {
            return self.add(CallFault::Connection(fault));
        }
        let state = self.node.faults().state();
        let connections = state.connections.iter();
        connections
            .filter(|one| self.scope.has_connection(one.peer()))
            .for_each(|one| fault.cause(one));
    }

    /// Closes connections.
    pub fn cut(&self) {
        self.on_connections(ConnectionFault::Cut);
    }

    /// Sends GOAWAY: calls in flight are still answered.
    pub fn go_away(&self) {
        self.on_connections(ConnectionFault::GoAway);
    }

    /// Reads and writes nothing on connections, pings included.
    pub fn stall(&self) {
        self.on_connections(ConnectionFault::Stall);
    }

    /// Writes at most this many bytes at once on connections; 0 for no limit.
    pub fn fragment(&self, bytes: usize) {
        self.on_connections(ConnectionFault::Fragment(bytes));
    }

    /// Carries out no call, and sends nothing on open streams, but answers pings.
    pub fn hang(&self) {
        self.add(CallFault::Hang);
    }

    /// Carries out each call later.
    pub fn delay(&self, by: Duration) {
        self.add(CallFault::Delay(by));
    }

    /// Refuses the next calls with a status. They are not carried out.
    pub fn refuse(&self, calls: usize, code: Code, message: impl Into<String>) {
        if calls > 0 {
            let status = Status::new(code, message.into());
            self.add(CallFault::Refuse(calls, status));
        }
    }

    /// Loses the leader. Calls fail after 7 s, or at once if their client requires a leader, and so do the
    /// open streams of such clients. Watches go on, and the state of the member is told.
    pub fn lose_leader(&self) {
        self.node
            .faults()
            .change(|state| state.has_no_leader = true);
    }

    /// Compacts the history at the present revision.
    pub fn compact(&self) {
        let mut store = self.node.store();
        let revision = store.revision();
        // It is compacted already, or an alarm forbids it.
        if store.compact(revision).is_ok() {
            self.node.compacted().notify_one();
        }
    }

    /// Ends the tokens of all users.
    pub fn expire_tokens(&self) {
        self.node.tokens().clear();
    }

    /// Ends all faults of all connections and methods. Whatever was cut, refused, compacted and expired stays
    /// so.
    pub fn heal(&self) {
        self.node.faults().change(|state| {
            state.rules.clear();
            state.has_no_leader = false;
            for connection in &state.connections {
                connection.stall(false);
                connection.fragment(0);
            }
        });
    }
}
