//! `tour`.

use clap::Args;

/// Shows in ten seconds what etcdex does on a real etcd
///
/// It puts and gets, runs transactions, reads the past, looks at an error, measures a burst,
/// and then cuts its own connection under load to see what every caller is told.
///
/// With --endpoints it does so on that cluster. There it touches no key but its own, which have
/// a random prefix and are deleted at the end. Otherwise it starts an etcd for itself on free
/// ports of 127.0.0.1, with a throw-away folder: the one that ETCDEX_ETCD names, else the one
/// on PATH, else the newest that `cargo xtask etcd` has got; in the workspace of etcdex it gets
/// one if there is none.
#[derive(Args, Debug)]
pub(crate) struct Tour {}
