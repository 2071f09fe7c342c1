//! Tests that compare the store with real etcd.

mod differential;
mod history;
mod watches;
