//! Where a member listens: the parsed form of an endpoint's URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// The port that etcd listens on for clients when a URL names none.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/configuration/> (`listen-client-urls`).
pub const DEFAULT_PORT: u16 = 2379;

/// An address at which one member of the cluster serves clients.
///
/// It is parsed once, from `http://host:port`, `https://host:port`, `host:port` (as http),
/// `unix://path` or `unix:///absolute/path`. IPv6 addresses stand in brackets:
/// `http://[::1]:2379`. Without a port, [`DEFAULT_PORT`] is taken. A user and password in the
/// URL are refused: they would end up in logs.
///
/// Cloning it is one reference count.
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

/// What a [`Connector`](crate::Connector) has to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host name or IP address (without brackets) and a TCP port.
    Tcp {
        /// A name to resolve, or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The whole URL, normalised: scheme and port are always there.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.parts.url
    }

    /// What to connect to.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.parts.address
    }

    /// Whether the byte stream has to be TLS (`https`).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.parts.secure
    }

    /// The `:authority` of a request to it.
    pub(crate) fn authority(&self) -> &str {
        &self.parts.authority
    }

    fn tcp(host: &str, port: u16, secure: bool) -> Self {
        let bracketed = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let scheme = if secure { "https" } else { "http" };
        Self {
            parts: Arc::new(Parts {
                url: format!("{scheme}://{bracketed}").into(),
                address: Address::Tcp {
                    host: host.to_owned(),
                    port,
                },
                secure,
                authority: bracketed.into(),
            }),
        }
    }

    fn unix(path: &Path) -> Self {
        Self {
            parts: Arc::new(Parts {
                url: format!("unix://{}", path.display()).into(),
                address: Address::Unix(path.to_owned()),
                secure: false,
                // A socket has no authority; this is what etcd's own clients call it.
                authority: "localhost".into(),
            }),
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(refused(trimmed, "it is empty"));
        }
        let (scheme, rest) = trimmed.split_once("://").unwrap_or(("http", trimmed));
        // What stands before the @ may be a password: first of all, and without a word of it.
        if scheme != "unix" && trimmed.contains('@') {
            return Err(refused(
                "***",
                "a user or password in the URL is not taken; give credentials by themselves",
            ));
        }
        let secure = match scheme {
            "http" => false,
            "https" => true,
            "unix" if rest.is_empty() => return Err(refused(trimmed, "the path is missing")),
            "unix" => return Ok(Self::unix(Path::new(rest))),
            _ => return Err(refused(trimmed, "the scheme is not http, https or unix")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(refused(trimmed, "a path or query has no meaning to etcd"));
        }
        let (host, port) = split_port(authority).map_err(|why| refused(trimmed, why))?;
        Ok(Self::tcp(host, port, secure))
    }
}

/// Splits `host:port`, `[v6]:port` and the same without a port.
fn split_port(authority: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the ] is missing")?;
            host.parse::<std::net::Ipv6Addr>()
                .map_err(|_| "what stands in brackets is not an IPv6 address")?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("after ] comes :port"),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the host has a blank in it");
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok((host, port))
}

fn refused(url: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("'{url}' is not an endpoint: {why} (wanted: http://host:port)"),
    )
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
    fn every_form_that_etcdctl_takes() {
        assert_eq!(url("http://localhost:2379"), "http://localhost:2379");
        assert_eq!(url("localhost:2379"), "http://localhost:2379");
        assert_eq!(url("10.0.0.1"), "http://10.0.0.1:2379");
        assert_eq!(url("https://etcd.example/"), "https://etcd.example:2379");
        assert_eq!(url(" http://[::1]:12 "), "http://[::1]:12");
        assert_eq!(url("unix:///run/etcd.sock"), "unix:///run/etcd.sock");
        assert_eq!(url("unix://localhost:123"), "unix://localhost:123");
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
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
    fn a_password_in_a_url_is_neither_taken_nor_repeated() {
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
