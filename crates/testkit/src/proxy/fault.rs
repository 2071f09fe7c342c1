//! The faults of a [`Proxy`](super::Proxy) as values.

use std::time::Duration;

use super::{Direction, FrameKind, Trip};

/// A fault of a proxy, which [`Proxy::inflict`](super::Proxy::inflict) causes.
///
/// Each fault is also a method of the proxy, whose documentation describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// [`Proxy::cut`](super::Proxy::cut)
    Cut,
    /// [`Proxy::reset`](super::Proxy::reset)
    Reset,
    /// [`Proxy::half_close`](super::Proxy::half_close)
    HalfClose(Direction),
    /// [`Proxy::stall`](super::Proxy::stall)
    Stall,
    /// [`Proxy::black_hole`](super::Proxy::black_hole)
    BlackHole,
    /// [`Proxy::delay`](super::Proxy::delay)
    Delay(Duration),
    /// [`Proxy::refuse`](super::Proxy::refuse) and [`Proxy::reset`](super::Proxy::reset): an
    /// outage.
    Outage,
    /// [`Proxy::refuse`](super::Proxy::refuse): present links stay.
    Refuse,
    /// [`Proxy::reset_after`](super::Proxy::reset_after)
    ResetAfter(Direction, u64),
    /// [`Proxy::throttle`](super::Proxy::throttle)
    Throttle(u64),
    /// [`Proxy::slice`](super::Proxy::slice)
    Slice(usize),
    /// [`Proxy::limit_streams`](super::Proxy::limit_streams) and
    /// [`Proxy::reset`](super::Proxy::reset): the client connects again, with the limit.
    StreamLimit(u32),
    /// [`Proxy::trip`](super::Proxy::trip)
    Trip(Trip),
}

impl Fault {
    /// Returns the kind in a word or two, for reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::HalfClose(_) => "half close",
            Self::Stall => "stall",
            Self::BlackHole => "black hole",
            Self::Delay(_) => "delay",
            Self::Outage => "outage",
            Self::Refuse => "refused connections",
            Self::ResetAfter(..) => "reset after bytes",
            Self::Throttle(_) => "throttle",
            Self::Slice(_) => "slice",
            Self::StreamLimit(_) => "stream limit",
            Self::Trip(_) => "reset at a frame",
        }
    }

    /// Returns whether the fault goes on until [`Proxy::heal`](super::Proxy::heal).
    pub fn goes_on(&self) -> bool {
        !matches!(self, Self::Cut | Self::Reset | Self::HalfClose(_))
    }

    /// Returns a random fault that ends links, at once or later. The same state of `random` gives
    /// the same fault.
    ///
    /// `method` is the path whose frames the faults at a frame wait for.
    pub fn random_break(random: &mut fastrand::Rng, method: &str) -> Self {
        match random.u8(..8) {
            0 => Self::Cut,
            1 | 2 => Self::Reset,
            3 => Self::HalfClose(random_direction(random)),
            4 => Self::Outage,
            // Within the first messages, evenly in orders of magnitude.
            5 => Self::ResetAfter(random_direction(random), 1 << random.u32(..18)),
            _ => Self::Trip(random_trip(random, method)),
        }
    }

    /// Returns a random fault that changes the flow of bytes, as
    /// [`random_break`](Self::random_break) does.
    pub fn random_flow(random: &mut fastrand::Rng) -> Self {
        match random.u8(..6) {
            0 => Self::Stall,
            1 => Self::BlackHole,
            2 => Self::Delay(Duration::from_millis(random.u64(1..200))),
            3 => Self::Throttle(random.u64(4_000..200_000)),
            4 => Self::Slice(1),
            _ => Self::Slice(random.usize(2..64)),
        }
    }
}

fn random_direction(random: &mut fastrand::Rng) -> Direction {
    if random.bool() {
        Direction::ToServer
    } else {
        Direction::ToClient
    }
}

fn random_trip(random: &mut fastrand::Rng, method: &str) -> Trip {
    let trip = match random.u8(..4) {
        0 => Trip::at(Direction::ToServer, FrameKind::Headers),
        1 => Trip::at(Direction::ToServer, FrameKind::Data).nth(random.u64(1..20)),
        2 => Trip::at(Direction::ToClient, FrameKind::Headers),
        _ => Trip::at(Direction::ToClient, FrameKind::Data).nth(random.u64(1..200)),
    };
    let trip = match random.u8(..3) {
        0 => trip.before(),
        1 => trip.within(),
        _ => trip.after(),
    };
    trip.method(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let faults = |seed: u64| -> Vec<Fault> {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..100)
                .flat_map(|_| {
                    let end = Fault::random_break(&mut random, "/service/Method");
                    [end, Fault::random_flow(&mut random)]
                })
                .collect()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        let mut names: Vec<_> = faults(7).iter().map(Fault::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 11, "all kinds: {names:?}");
    }
}
