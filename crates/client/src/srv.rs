//! Options for finding endpoints by DNS SRV records.

use std::net::SocketAddr;

/// Finds endpoints by DNS SRV records; an argument of [`ClientBuilder::srv`](crate::ClientBuilder::srv).
///
/// The records are those of `etcdctl --discovery-srv`: `_etcd-client-ssl._tcp.<domain>` for https
/// and `_etcd-client._tcp.<domain>` for http. If there are https records, or if the client uses
/// https for another reason, http records are ignored: otherwise a forged DNS answer could make
/// the client connect without TLS. Priorities and weights are ignored, as in etcdctl.
///
/// Hosts of https records must be below the domain, unless [`any_host`](Self::any_host) is set:
/// otherwise a forged answer could name an attacker's host, for which the attacker has a valid
/// certificate.
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
    /// Returns options for the cluster of `domain`.
    pub fn new(domain: impl Into<String>) -> Self {
        let domain: String = domain.into();
        Self {
            domain: domain.trim_end_matches('.').to_owned(),
            service: None,
            name_servers: Vec::new(),
            any_host: false,
        }
    }

    /// Chooses one of several clusters of the domain (`etcdctl --discovery-srv-name`). The records
    /// are then `_etcd-client-ssl-<name>._tcp.<domain>` and `_etcd-client-<name>._tcp.<domain>`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Adds a DNS server to ask instead of those in `/etc/resolv.conf`. Several servers are asked
    /// in turn. On systems without that file, at least one is required.
    pub fn name_server(mut self, address: SocketAddr) -> Self {
        self.name_servers.push(address);
        self
    }

    /// Accepts hosts of https records that are not below the domain.
    pub fn any_host(mut self) -> Self {
        self.any_host = true;
        self
    }
}
