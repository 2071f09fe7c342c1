//! Faults of the connections of a client.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcdex_testkit::{Fault, Proxy};

use super::{FaultState, between};
use crate::args::Profile;
use crate::setup::Way;

/// The faults of one client's connections.
pub(super) struct Connections {
    pub(super) state: FaultState,
    pub(super) ways: Arc<Vec<Way>>,
    pub(super) number: usize,
    pub(super) profile: Profile,
    pub(super) method: &'static str,
    pub(super) random: fastrand::Rng,
}

impl Connections {
    pub(super) async fn disturb(mut self) -> io::Result<()> {
        let ways = Arc::clone(&self.ways);
        let way = &ways[self.number];
        loop {
            let pause = between(&mut self.random, 300, 2_500);
            if !self.state.pause(pause).await {
                return Ok(());
            }
            let flow = match self.profile {
                Profile::Cuts => false,
                Profile::Slow => true,
                Profile::Compaction => self.random.u8(..4) == 0,
                Profile::All => self.random.u8(..3) == 0,
            };
            let fault = self.fault(flow);
            let all = self.random.bool();
            let one = self.random.usize(..way.proxies.len());
            let hold = match fault {
                // Sometimes long enough for the client to give the connection up.
                Fault::Stall | Fault::BlackHole => between(&mut self.random, 100, 6_000),
                _ => between(&mut self.random, 100, 1_500),
            };
            if way.lasting && self.state.calm.load(Relaxed) {
                continue;
            }
            let chosen: Vec<&Proxy> = way
                .proxies
                .iter()
                .enumerate()
                .filter(|(number, _)| all || *number == one)
                .map(|(_, proxy)| proxy)
                .collect();
            self.inflict(way, &chosen, &fault, hold).await;
        }
    }

    fn fault(&mut self, flow: bool) -> Fault {
        let choice = self.random.u8(..12);
        match (flow, choice) {
            // Up to nearly the time-out of a call.
            (true, 0) => Fault::Delay(between(&mut self.random, 300, 2_500)),
            (true, _) => Fault::random_flow(&mut self.random),
            (false, 0) => Fault::Refuse,
            // A watch takes one stream; calls and other streams wait, or go elsewhere.
            (false, 1) => Fault::StreamLimit(self.random.u32(1..4)),
            (false, _) => Fault::random_break(&mut self.random, self.method),
        }
    }

    async fn inflict(&self, way: &Way, proxies: &[&Proxy], fault: &Fault, hold: Duration) {
        let before: Vec<_> = proxies.iter().map(|proxy| traces(proxy)).collect();
        for proxy in proxies {
            proxy.inflict(fault);
        }
        let what = format!("{} of {}: {fault:?}", proxies.len(), way.name);
        let incident = self.state.note(fault.name(), what);
        if fault.goes_on() {
            self.state.hold(hold, way.lasting).await;
            for proxy in proxies {
                proxy.heal();
            }
        }
        // A fault that waited for bytes or frames in vain does not count.
        let waits = matches!(fault, Fault::Trip(_) | Fault::ResetAfter(..));
        let mut now = proxies.iter().map(|proxy| traces(proxy));
        if waits && before.iter().all(|before| now.next() == Some(*before)) {
            self.state.take_back(&incident);
        }
    }
}

/// Returns the counters that change when a link ends.
fn traces(proxy: &Proxy) -> (u64, u64) {
    (proxy.tripped(), proxy.connections() - proxy.open())
}
