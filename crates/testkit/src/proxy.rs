//! A TCP proxy that does what bad networks do.

mod counters;
mod fault;
mod frames;
mod link;
mod meter;
mod pump;
mod queue;
mod tap;
mod trip;
mod view;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use counters::Counters;
pub use fault::Fault;
pub use frames::FrameKind;
pub use tap::{Delivery, Passage, Tap};
pub use trip::Trip;
use view::Sight;

/// One of the two ways that bytes go through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A TCP proxy on the loopback, between a client and a server, with faults on command.
///
/// A new proxy forwards everything. There are two kinds of commands, and both take effect at
/// once:
///
/// * what happens once, to the links that are open: [`cut`](Self::cut),
///   [`reset`](Self::reset), [`half_close`](Self::half_close). New links are as before. At a
///   given frame of HTTP/2, once, to the link that has it: [`trip`](Self::trip);
/// * what goes on, for present and new links, until another of them or
///   [`heal`](Self::heal): [`stall`](Self::stall), [`black_hole`](Self::black_hole). Beside
///   these [`delay`](Self::delay), [`refuse`](Self::refuse), [`throttle`](Self::throttle),
///   [`slice`](Self::slice) and [`reset_after`](Self::reset_after) go on until `heal`, too.
///
/// All of them are values as well, which can be drawn by lot: [`Fault`]. What goes through
/// can be listened to, message by message: [`tap`](Self::tap).
///
/// It follows the HTTP/2 of links in plain text. Behind TLS, and before anything that is not
/// HTTP/2, trips do not happen and taps hear nothing.
///
/// Dropping it closes the listener and all links. It needs the tokio runtime that it was
/// started on.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    sight: Sight,
}

/// What the links follow. The counts go up by one with each command, so that a link sees
/// what happened since it was made, however late it looks.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    flow: Flow,
    delay: Duration,
    refuse: bool,
    throttle: Option<u64>,
    slice: Option<usize>,
    reset_after: Option<(Direction, u64)>,
    stream_limit: Option<u32>,
    limits: u64,
    heals: u64,
    cuts: u64,
    resets: u64,
    closes_to_server: u64,
    closes_to_client: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Pass,
    Stall,
    BlackHole,
}

impl State {
    fn closes(&self, direction: Direction) -> u64 {
        match direction {
            Direction::ToServer => self.closes_to_server,
            Direction::ToClient => self.closes_to_client,
        }
    }
}

impl Proxy {
    /// Starts a proxy to this server, on a port of its own.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, follower) = watch::channel(State::default());
        let counters = Arc::new(Counters::default());
        let sight = Sight::default();
        let accepting = accept(
            listener,
            target,
            follower,
            Arc::clone(&counters),
            sight.clone(),
        );
        tokio::spawn(accepting);
        Ok(Self {
            address,
            state,
            counters,
            sight,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as in `http://127.0.0.1:34567`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the present links in order, both ways (FIN).
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Tears the present links down, both ways (RST).
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// Ends the present links in this direction only: its receiver sees the end (FIN), and
    /// what its sender still sends is dropped. The other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        self.state.send_modify(|state| match direction {
            Direction::ToServer => state.closes_to_server += 1,
            Direction::ToClient => state.closes_to_client += 1,
        });
    }

    /// Takes in bytes and keeps them; [`heal`](Self::heal) delivers them.
    ///
    /// It keeps up to 16 MiB per link and direction, then it takes in no more.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.flow = Flow::Stall);
    }

    /// Takes in bytes and drops them.
    ///
    /// Links that have lost bytes by it are reset by [`heal`](Self::heal): what would go on
    /// is a stream with a hole, which no network makes. The others go on.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| state.flow = Flow::BlackHole);
    }

    /// Delivers bytes this much later, each way: a round trip takes twice that.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Resets new connections as soon as they are accepted. The present links go on: for an
    /// outage, [`reset`](Self::reset) them as well.
    pub fn refuse(&self) {
        self.state.send_modify(|state| state.refuse = true);
    }

    /// Delivers no more bytes in a second than this, each way and for each link.
    pub fn throttle(&self, bytes_per_second: u64) {
        let rate = bytes_per_second.max(1);
        self.state.send_modify(|state| state.throttle = Some(rate));
    }

    /// Delivers at most so many bytes at once: with 1, each byte by itself.
    ///
    /// The receiver's system may put together again what it is slow to read.
    pub fn slice(&self, bytes: usize) {
        self.state
            .send_modify(|state| state.slice = Some(bytes.max(1)));
    }

    /// Tells clients on new links that the server takes no more than so many streams at a time
    /// (`SETTINGS_MAX_CONCURRENT_STREAMS`), in a frame of SETTINGS before the server's own.
    /// Links keep the limit that they began with. A server whose own SETTINGS have a limit (etcd
    /// 3.4.23 and 3.5.1) replaces it at once.
    ///
    /// For links of HTTP/2 in plain text only.
    pub fn limit_streams(&self, streams: u32) {
        self.state
            .send_modify(|state| state.stream_limit = Some(streams));
    }

    /// Resets each link once it has forwarded so many bytes more in this direction: present
    /// links from now on, new ones from their start.
    pub fn reset_after(&self, direction: Direction, bytes: u64) {
        self.state.send_modify(|state| {
            state.reset_after = Some((direction, bytes));
            state.limits += 1;
        });
    }

    /// Ends a link at a given place of its HTTP/2, once; see [`Trip`].
    pub fn trip(&self, trip: Trip) {
        self.sight.trips().arm(trip);
    }

    /// How many trips have happened: the frame came, and its link is ended there.
    pub fn tripped(&self) -> u64 {
        self.sight.trips().happened()
    }

    /// Does what the fault says.
    pub fn inflict(&self, fault: &Fault) {
        match fault {
            Fault::Cut => self.cut(),
            Fault::Reset => self.reset(),
            Fault::HalfClose(direction) => self.half_close(*direction),
            Fault::Stall => self.stall(),
            Fault::BlackHole => self.black_hole(),
            Fault::Delay(delay) => self.delay(*delay),
            Fault::Outage => {
                self.refuse();
                self.reset();
            }
            Fault::Refuse => self.refuse(),
            Fault::ResetAfter(direction, bytes) => self.reset_after(*direction, *bytes),
            Fault::Throttle(rate) => self.throttle(*rate),
            Fault::Slice(bytes) => self.slice(*bytes),
            Fault::StreamLimit(streams) => {
                self.limit_streams(*streams);
                self.reset();
            }
            Fault::Trip(trip) => self.trip(trip.clone()),
        }
    }

    /// Ends what goes on: everything is forwarded again, without delay or limit, and trips
    /// that have not happened are forgotten.
    pub fn heal(&self) {
        self.sight.trips().disarm();
        self.state.send_modify(|state| {
            state.flow = Flow::Pass;
            state.delay = Duration::ZERO;
            state.refuse = false;
            state.throttle = None;
            state.slice = None;
            state.reset_after = None;
            state.stream_limit = None;
            state.heals += 1;
        });
    }

    /// Listens to the messages of all calls of this method, as in
    /// `/etcdserverpb.Watch/Watch`, on links that come from now on; see [`Tap`].
    ///
    /// It takes the place of the last one.
    pub fn tap(&self, method: impl Into<String>) -> Tap {
        self.sight.tap(method.into())
    }

    /// How many connections were accepted since the start, refused ones too.
    pub fn connections(&self) -> u64 {
        self.counters.accepted()
    }

    /// How many links are open now.
    pub fn open(&self) -> u64 {
        self.counters.open()
    }

    /// How many bytes were forwarded in this direction.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.counters.forwarded(direction)
    }
}

/// Takes connections in until the proxy is dropped.
async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    counters: Arc<Counters>,
    sight: Sight,
) {
    loop {
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Ok((client, _)) = listener.accept() => {
                counters.accept();
                let mut follower = state.clone();
                let born = *follower.borrow_and_update();
                if born.refuse {
                    link::reset(client);
                    continue;
                }
                let place = counters::Place::new(&counters);
                let sight = sight.clone();
                tokio::spawn(link::run(client, target, follower, born, place, sight));
            }
        }
    }
}
