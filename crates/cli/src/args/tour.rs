//! `tour`.

use clap::Args;

/// Shows in ten seconds what etcdex does on a real etcd
///
/// The tour puts and gets, runs transactions, reads older revisions, shows an error, measures a
/// burst, then cuts its own connection under load and shows the result of every call.
///
/// With --endpoints it runs on that cluster, and touches only keys below a random prefix, which it
/// deletes at the end. Without, it starts an etcd on free ports of 127.0.0.1 with a temporary
/// folder: the binary that ETCDEX_ETCD names, else the one on PATH, else the newest that
/// `cargo xtask etcd` has got. In the workspace of etcdex the tour gets a binary if there is none.
#[derive(Args, Debug)]
pub(crate) struct Tour {}
