//! `version`.

use crate::failure::Failure;
use crate::output;

/// The newest version of etcd whose API the client's messages cover.
const API: &str = "3.7";

pub(crate) fn run() -> Result<(), Failure> {
    output::write(|out| {
        writeln!(out, "etcdex version: {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "API version: {API}")
    })
}
