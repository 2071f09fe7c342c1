//! The `etcdex` command as a user runs it, beside `etcdctl` on real servers.

mod endpoint;
mod golden;
mod login;
mod process;
mod refusal;
mod tls;
mod tour;
