//! Tests that compare the server and its store with real etcd.

mod bounds;
mod clock;
mod conformance;
mod differential;
mod elections;
mod etcdctl;
mod faults;
mod fuzz;
mod history;
mod hostile;
mod raw;
mod real;
mod requests;
mod served;
mod soak;
mod streams;
#[cfg(feature = "_tls")]
mod tls;
mod users;
mod watches;

/// Returns the number in a variable.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
