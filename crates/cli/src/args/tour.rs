//! `tour`.

use clap::Args;

/// Shows in ten seconds what etcdex does
///
/// The tour puts and gets, runs transactions, reads older revisions, shows an error, measures a
/// burst, then cuts its own connection under load and shows the result of every call.
///
/// With --endpoints it runs on that cluster, and touches only keys below a random prefix, which it
/// deletes at the end. Without, it starts the embedded server on a free port of 127.0.0.1, or the
/// etcd that ETCDEX_ETCD names, on free ports with a temporary folder.
#[derive(Args, Debug)]
pub(crate) struct Tour {}
