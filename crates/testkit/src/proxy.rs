//! A TCP proxy with the faults of bad networks.

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
use view::Inspection;

/// A direction of bytes through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A TCP proxy on the loopback, between a client and a server, with faults on command.
///
/// A new proxy forwards all bytes. There are two kinds of commands, and both take effect at once:
///
/// * faults that happen once, to the open links: [`cut`](Self::cut), [`reset`](Self::reset),
///   [`half_close`](Self::half_close). New links are not affected. [`trip`](Self::trip) ends one
///   link at a given frame of HTTP/2;
/// * faults that go on, for present and new links: [`stall`](Self::stall) and
///   [`black_hole`](Self::black_hole) until the other one or [`heal`](Self::heal), and
///   [`delay`](Self::delay), [`refuse`](Self::refuse), [`throttle`](Self::throttle),
///   [`slice`](Self::slice) and [`reset_after`](Self::reset_after) until `heal`.
///
/// Each fault is also a value, which can be chosen at random: [`Fault`]. A [`tap`](Self::tap)
/// records the messages that pass.
///
/// The proxy parses the HTTP/2 of links in plain text. With TLS, or without HTTP/2, trips do not
/// happen and taps record nothing.
///
/// Dropping the proxy closes the listener and all links. The proxy needs the tokio runtime on which
/// it was started.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    counters: Arc<Counters>,
    inspection: Inspection,
}

/// The commands to the links. Each command increments a count, so that a link notices all commands
/// since it was made, however late it reads them.
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
    /// Starts a proxy to this server, on a free port.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, follower) = watch::channel(State::default());
        let counters = Arc::new(Counters::default());
        let inspection = Inspection::default();
        let accepting = accept(
            listener,
            target,
            follower,
            Arc::clone(&counters),
            inspection.clone(),
        );
        tokio::spawn(accepting);
        Ok(Self {
            address,
            state,
            counters,
            inspection,
        })
    }

    /// Returns the address at which the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the proxy, as in `http://127.0.0.1:34567`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes the present links gracefully in both directions (FIN).
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Resets the present links in both directions (RST).
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// Ends the present links in this direction only: the receiver gets the end (FIN), and later
    /// bytes of the sender are dropped. The other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        self.state.send_modify(|state| match direction {
            Direction::ToServer => state.closes_to_server += 1,
            Direction::ToClient => state.closes_to_client += 1,
        });
    }

    /// Reads bytes and holds them back; [`heal`](Self::heal) delivers them.
    ///
    /// The proxy holds up to 16 MiB per link and direction, and then reads no more.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.flow = Flow::Stall);
    }

    /// Reads bytes and drops them.
    ///
    /// [`heal`](Self::heal) resets links that have lost bytes: a byte stream with a gap does not
    /// exist in TCP. The other links go on.
    pub fn black_hole(&self) {
        self.state.send_modify(|state| state.flow = Flow::BlackHole);
    }

    /// Delays bytes by this time in each direction: a round trip takes twice as long.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Resets new connections as soon as they are accepted. The present links go on: for an
    /// outage, [`reset`](Self::reset) them as well.
    pub fn refuse(&self) {
        self.state.send_modify(|state| state.refuse = true);
    }

    /// Limits the bytes per second, in each direction of each link.
    pub fn throttle(&self, bytes_per_second: u64) {
        let rate = bytes_per_second.max(1);
        self.state.send_modify(|state| state.throttle = Some(rate));
    }

    /// Limits the bytes that are delivered at once: with 1, each byte is delivered separately.
    ///
    /// The receiver's system may join the slices of a slow reader.
    pub fn slice(&self, bytes: usize) {
        self.state
            .send_modify(|state| state.slice = Some(bytes.max(1)));
    }

    /// Limits the concurrent streams of new links (`SETTINGS_MAX_CONCURRENT_STREAMS`), by a
    /// SETTINGS frame before that of the server. Links keep the limit that they began with. A
    /// server whose own SETTINGS have a limit (etcd 3.4.23 and 3.5.1) replaces it at once.
    ///
    /// This works only for links with HTTP/2 in plain text.
    pub fn limit_streams(&self, streams: u32) {
        self.state
            .send_modify(|state| state.stream_limit = Some(streams));
    }

    /// Resets each link after `bytes` more bytes in this direction: present links from now on, new
    /// links from their start.
    pub fn reset_after(&self, direction: Direction, bytes: u64) {
        self.state.send_modify(|state| {
            state.reset_after = Some((direction, bytes));
            state.limits += 1;
        });
    }

    /// Ends a link once at a given HTTP/2 frame; see [`Trip`].
    pub fn trip(&self, trip: Trip) {
        self.inspection.trips().arm(trip);
    }

    /// Returns the number of trips that have happened: the frame came, and its link was ended
    /// there.
    pub fn tripped(&self) -> u64 {
        self.inspection.trips().happened()
    }

    /// Causes a fault.
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

    /// Ends all faults: all bytes are forwarded again, without delay or limit, and trips that have
    /// not happened are removed.
    pub fn heal(&self) {
        self.inspection.trips().disarm();
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

    /// Records the messages of all calls of this method, as in `/etcdserverpb.Watch/Watch`, on
    /// links that are opened from now on; see [`Tap`].
    ///
    /// The new tap replaces an earlier one.
    pub fn tap(&self, method: impl Into<String>) -> Tap {
        self.inspection.tap(method.into())
    }

    /// Returns the number of connections that were accepted since the start, refused ones included.
    pub fn connections(&self) -> u64 {
        self.counters.accepted()
    }

    /// Returns the number of open links.
    pub fn open(&self) -> u64 {
        self.counters.open()
    }

    /// Returns the number of bytes that were forwarded in this direction.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.counters.forwarded(direction)
    }
}

/// Accepts connections until the proxy is dropped.
async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    counters: Arc<Counters>,
    inspection: Inspection,
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
                let open_link = counters::OpenLink::new(&counters);
                let inspection = inspection.clone();
                tokio::spawn(link::run(client, target, follower, born, open_link, inspection));
            }
        }
    }
}
