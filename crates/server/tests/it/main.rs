//! Tests that compare the store with real etcd.

mod differential;
mod history;
mod real;
mod requests;
mod served;
mod users;
mod watches;

/// Returns the number in a variable.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
