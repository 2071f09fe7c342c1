//! The etcd that a workload runs.

use anyhow::Context;
use etcdex_testkit::{Binaries, Binary};

/// Returns the etcd of this version, or the newest one on this machine.
pub(crate) fn find(version: Option<&str>) -> anyhow::Result<Binary> {
    let binaries = Binaries::find()?;
    let binary = match version {
        Some(version) => binaries.of(version.parse()?),
        None => binaries.newest(),
    };
    let binary = binary.with_context(|| {
        format!(
            "no such etcd on this machine ({}); cargo xtask etcd gets one",
            binaries.summary()
        )
    })?;
    Ok(binary.clone())
}
