//! Where DNS says that a cluster is: the public options, which are plain data.

use std::net::SocketAddr;

/// Finds endpoints by DNS SRV records; given to [`Builder::srv`](crate::Builder::srv).
///
/// The records are those of `etcdctl --discovery-srv`: `_etcd-client-ssl._tcp.<domain>` for
/// https and `_etcd-client._tcp.<domain>` for http. If there are any of the first kind, or the
/// client speaks https for another reason, those of the second are left out, as anybody who can
/// forge an answer could otherwise talk it out of TLS. Priorities and weights do not count, as with
/// etcdctl.
///
/// Hosts of https have to be below the domain ([`any_host`](Self::any_host) allows others): a forged
/// answer could otherwise lead to a stranger who has a certificate in good order for a name of
/// his own.
///
/// ```no_run
/// # async fn example() -> Result<(), etcdex::Error> {
/// use etcdex::{Client, Srv};
///
/// let client = Client::builder()
///     .srv(Srv::new("etcd.example").service("orders"))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Source: etcd, `client/pkg/srv/srv.go` (`GetClient`, `GetSRVService`).
#[derive(Clone, Debug)]
#[must_use]
pub struct Srv {
    pub(crate) domain: String,
    pub(crate) service: Option<String>,
    pub(crate) name_servers: Vec<SocketAddr>,
    pub(crate) any_host: bool,
}

impl Srv {
    /// Finds the cluster of this domain.
    pub fn new(domain: impl Into<String>) -> Self {
        let domain: String = domain.into();
        Self {
            domain: domain.trim_end_matches('.').to_owned(),
            service: None,
            name_servers: Vec::new(),
            any_host: false,
        }
    }

    /// One of several clusters of the domain (`etcdctl --discovery-srv-name`): the records are
    /// then `_etcd-client-ssl-<name>._tcp.<domain>` and `_etcd-client-<name>._tcp.<domain>`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Asks this server instead of those of `/etc/resolv.conf`; several are asked in turn. On
    /// systems without that file there has to be one.
    pub fn name_server(mut self, address: SocketAddr) -> Self {
        self.name_servers.push(address);
        self
    }

    /// Takes hosts of https that are not below the domain, too.
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }
}
