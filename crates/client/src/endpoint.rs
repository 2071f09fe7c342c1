//! Endpoints: addresses at which members serve clients.

mod parse;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The port of an endpoint whose URL has none; etcd's default port for clients.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/configuration/> (`listen-client-urls`).
pub const DEFAULT_PORT: u16 = 2379;

/// An address at which one member of the cluster serves clients.
///
/// `FromStr` parses `http://host:port`, `https://host:port`, `host:port` (as http), `unix://path`,
/// `unix:///absolute/path` and `unixs://path` (TLS over a unix socket). The case of the scheme does
/// not matter. IPv6 addresses are in brackets, with an optional zone: `http://[::1]:2379`,
/// `http://[fe80::1%25eth0]:2379`. The default port is [`DEFAULT_PORT`]. A URL with a user or a
/// password is an error, because it would appear in logs.
///
/// Cloning an endpoint increments a reference count.
///
/// ```
/// use etcdex::Endpoint;
///
/// let endpoint: Endpoint = "http://[::1]".parse()?;
/// assert_eq!(endpoint.url(), "http://[::1]:2379");
/// # Ok::<(), etcdex::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    parts: Arc<Parts>,
}

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    url: Box<str>,
    address: Address,
    secure: bool,
    authority: Box<str>,
}

/// The address to which a [`Connector`](crate::Connector) connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host name or IP address (without brackets) and a TCP port.
    Tcp {
        /// Host name to resolve, or IP address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Returns the normalised URL, with scheme and port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.parts.url
    }

    /// Returns the address to connect to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.parts.address
    }

    /// Returns whether the client speaks TLS with the endpoint (`https`, `unixs`).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.parts.secure
    }

    /// Returns whether requests to the endpoint can be read on a network: no TLS, and not on this
    /// machine.
    pub(crate) fn is_exposed(&self) -> bool {
        match &self.parts.address {
            Address::Unix(_) => false,
            Address::Tcp { .. } if self.parts.secure => false,
            Address::Tcp { host, .. } => match without_zone(host).parse::<std::net::IpAddr>() {
                Ok(address) => !address.is_loopback(),
                Err(_) => host != "localhost",
            },
        }
    }

    /// Returns the `:authority` of a request to the endpoint.
    pub(crate) fn authority(&self) -> &str {
        &self.parts.authority
    }

    fn tcp(host: Host<'_>, port: u16, secure: bool) -> Self {
        let scheme = if secure { "https" } else { "http" };
        let name = host.name;
        let (authority, shown, host) = match host.zone {
            // A zone has a meaning only on this machine, and is not sent (RFC 6874, section 4).
            Some(zone) => (
                format!("[{name}]:{port}"),
                format!("[{name}%25{zone}]:{port}"),
                format!("{name}%{zone}"),
            ),
            None => {
                let authority = match name.contains(':') {
                    true => format!("[{name}]:{port}"),
                    false => format!("{name}:{port}"),
                };
                (authority.clone(), authority, name.to_owned())
            }
        };
        Self {
            parts: Arc::new(Parts {
                url: format!("{scheme}://{shown}").into(),
                address: Address::Tcp { host, port },
                secure,
                authority: authority.into(),
            }),
        }
    }

    fn unix(path: &Path, secure: bool) -> Self {
        let scheme = if secure { "unixs" } else { "unix" };
        Self {
            parts: Arc::new(Parts {
                url: format!("{scheme}://{}", path.display()).into(),
                address: Address::Unix(path.to_owned()),
                secure,
                // A socket has no authority. etcd's own clients send `localhost`.
                authority: "localhost".into(),
            }),
        }
    }
}

/// A host name or IP address, and the zone of a link-local IPv6 address.
struct Host<'a> {
    name: &'a str,
    zone: Option<&'a str>,
}

/// Returns the host of an [`Address::Tcp`] without the zone of a link-local IPv6 address, as
/// certificates have it.
pub(crate) fn without_zone(host: &str) -> &str {
    host.split_once('%').map_or(host, |(address, _)| address)
}

impl AsRef<str> for Endpoint {
    fn as_ref(&self) -> &str {
        self.url()
    }
}

/// Conversion to a list of endpoints, for [`Client::connect`](crate::Client::connect).
///
/// The trait is implemented for text with one URL or several, separated by commas as in
/// `ETCDCTL_ENDPOINTS`, for an [`Endpoint`], and for arrays, slices and vectors of text or
/// endpoints.
pub trait IntoEndpoints {
    /// Returns one URL per endpoint. The client parses the URLs.
    fn into_endpoints(self) -> Vec<String>;
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(|url| url.trim().to_owned()).collect()
}

fn split_lists<U: AsRef<str>>(urls: &[U]) -> Vec<String> {
    urls.iter()
        .flat_map(|url| split_list(url.as_ref()))
        .collect()
}

macro_rules! into_endpoints {
    ($([$($generic:tt)*] $type:ty: $urls:ident => $list:expr;)*) => {
        $(
            impl<$($generic)*> IntoEndpoints for $type {
                fn into_endpoints(self) -> Vec<String> {
                    let $urls = self;
                    $list
                }
            }
        )*
    };
}

// A macro, because a blanket implementation for `AsRef<str>` and one for lists would overlap.
into_endpoints! {
    [] &str: url => split_list(url);
    [] String: url => split_list(&url);
    [] &String: url => split_list(url);
    [] Endpoint: one => vec![one.url().to_owned()];
    [] &Endpoint: one => vec![one.url().to_owned()];
    [U: AsRef<str>] Vec<U>: urls => split_lists(&urls);
    [U: AsRef<str>] &Vec<U>: urls => split_lists(urls);
    [U: AsRef<str>] &[U]: urls => split_lists(urls);
    [U: AsRef<str>, const N: usize] [U; N]: urls => split_lists(&urls);
    [U: AsRef<str>, const N: usize] &[U; N]: urls => split_lists(urls);
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => endpoint.url().to_owned(),
            Err(error) => panic!("{text}: {error}"),
        }
    }

    #[test]
    fn each_form_that_etcdctl_accepts() {
        assert_eq!(url("http://localhost:2379"), "http://localhost:2379");
        assert_eq!(url("localhost:2379"), "http://localhost:2379");
        assert_eq!(url("10.0.0.1"), "http://10.0.0.1:2379");
        assert_eq!(url("https://etcd.example/"), "https://etcd.example:2379");
        assert_eq!(url(" http://[::1]:12 "), "http://[::1]:12");
        assert_eq!(url("unix:///run/etcd.sock"), "unix:///run/etcd.sock");
        assert_eq!(url("unix://localhost:123"), "unix://localhost:123");
        assert_eq!(url("unixs://etcd.sock"), "unixs://etcd.sock");
        assert_eq!(url("HTTP://Host:1"), "http://Host:1");
        assert_eq!(url("Unix:///Run/X"), "unix:///Run/X");
        assert_eq!(url("[fe80::1%eth0]"), "http://[fe80::1%25eth0]:2379");
    }

    #[test]
    fn a_zone_is_connected_to_and_not_sent() {
        for text in ["http://[fe80::1%25eth0]:12", "http://[fe80::1%eth0]:12"] {
            let endpoint: Endpoint = text.parse().unwrap();
            let host = "fe80::1%eth0".to_owned();
            assert_eq!(*endpoint.address(), Address::Tcp { host, port: 12 });
            assert_eq!(endpoint.authority(), "[fe80::1]:12");
            assert!(endpoint.is_exposed());
            assert_eq!(url(endpoint.url()), endpoint.url());
        }
    }

    #[test]
    fn a_unix_socket_with_tls_is_secure() {
        let endpoint: Endpoint = "unixs:///run/etcd.sock".parse().unwrap();
        assert!(endpoint.is_secure());
        assert_eq!(*endpoint.address(), Address::Unix("/run/etcd.sock".into()));
    }

    #[test]
    fn each_form_of_several_endpoints() {
        let both = ["http://a:1", "b:2"];
        let list = vec!["http://a:1".to_owned(), "b:2".to_owned()];
        assert_eq!("http://a:1, b:2".into_endpoints(), both);
        assert_eq!(list.join(",").into_endpoints(), both);
        assert_eq!(both.into_endpoints(), both);
        assert_eq!((&both).into_endpoints(), both);
        assert_eq!(both[..].into_endpoints(), both);
        assert_eq!((&list).into_endpoints(), both);
        assert_eq!(list.into_endpoints(), both);
        let endpoint: Endpoint = "a:1".parse().unwrap();
        assert_eq!((&endpoint).into_endpoints(), ["http://a:1"]);
        assert_eq!([endpoint].into_endpoints(), ["http://a:1"]);
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (text, why) in [
            ("", "empty"),
            ("ftp://a", "scheme"),
            ("http://", "host is missing"),
            ("http://a:0", "port"),
            ("http://a:99999", "port"),
            ("http://a:b", "port"),
            ("http://::1:2379", "brackets"),
            ("http://[::1", "]"),
            ("http://[nonsense]", "IPv6"),
            ("http://[fe80::1%]", "network interface"),
            ("http://[fe80::1%a b]", "network interface"),
            ("http://[fe80::1%25a%25]", "network interface"),
            ("unixs://", "path"),
            ("http://[::1]x", ":port"),
            ("http://a/v3", "path"),
            ("http://a b", "blank"),
            ("unix://", "path"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn endpoints_on_this_machine_are_not_exposed() {
        for (text, exposed) in [
            ("http://localhost", false),
            ("http://127.0.0.2", false),
            ("http://[::1]", false),
            ("unix:///run/etcd", false),
            ("https://etcd.example", false),
            ("http://etcd.example", true),
            ("http://10.0.0.1", true),
        ] {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(endpoint.is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_neither_accepted_nor_repeated() {
        for url in [
            "http://root:hunter2@a:1",
            "htps://root:hunter2@a",
            "root:hunter2@a",
            "hunter2://x@y",
        ] {
            let error = url.parse::<Endpoint>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
