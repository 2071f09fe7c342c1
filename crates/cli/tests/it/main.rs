//! Runs the `etcdex` command as a user does, and compares it with `etcdctl` on real servers.

mod endpoint;
mod failure;
mod golden;
mod login;
mod process;
mod serve;
mod tls;
mod tour;
