//! Binaries built with Go. The module's `go.sum` pins every source.

use std::process::Command;

use anyhow::Result;

use super::release::Release;
use super::step;
use super::store::Staging;

/// The tools and their packages.
const PACKAGES: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
];

pub(super) fn build(release: &Release, staging: &Staging) -> Result<()> {
    for (tool, package) in PACKAGES {
        step::say(&release.version, &format!("building {tool} with go"));
        step::run(
            Command::new("go")
                .current_dir(&release.folder)
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "-mod=readonly")
                // The build must use neither a newer toolchain nor a Go workspace above.
                .env("GOTOOLCHAIN", "local")
                .env("GOWORK", "off")
                .args(["build", "-trimpath", "-buildvcs=false", "-o"])
                .arg(staging.bin().join(tool))
                .arg(package),
        )?;
    }
    Ok(())
}
