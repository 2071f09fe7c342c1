//! The check of peer URLs.

use crate::endpoint::Endpoint;
use crate::kv::refuse;
use crate::transport::Failure;

/// Checks peer URLs as etcd's own client does: a URL has a scheme, a host and a port, and nothing
/// after the port. The server accepts other URLs without a check, and the member could then never
/// join.
///
/// Source: `client/pkg/types/urls.go` of etcd (`NewURLs`).
pub(super) fn check_peer_urls(urls: &[String]) -> Result<(), Failure> {
    if urls.is_empty() {
        return Err(refuse("a member needs at least one peer URL"));
    }
    urls.iter().try_for_each(|url| check(url))
}

fn check(url: &str) -> Result<(), Failure> {
    let socket = url
        .strip_prefix("unix://")
        .or_else(|| url.strip_prefix("unixs://"));
    if let Some(path) = socket {
        return if path.is_empty() {
            Err(refuse("the path of a peer URL's socket is missing"))
        } else {
            Ok(())
        };
    }
    // The message of an error about an endpoint leaves out a password.
    let endpoint: Endpoint = url
        .parse()
        .map_err(|error: crate::Error| refuse(format!("a peer URL: {}", error.message())))?;
    if endpoint.url() != url {
        return Err(refuse(format!(
            "the peer URL '{url}' is not complete: it needs a scheme and a port, and nothing \
             after the port (wanted: http://host:port)"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_urls_are_accepted() {
        for url in [
            "http://10.0.0.4:2380",
            "https://etcd-4.example:2380",
            "http://[::1]:2380",
            "unix:///run/peer.sock",
            "unixs://localhost:23800",
        ] {
            assert!(check(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "10.0.0.4:2380",
            "http://10.0.0.4",
            "http://10.0.0.4:2380/",
            "http://10.0.0.4:2380/path",
            "http://10.0.0.4:x",
            "http://:2380",
            " http://10.0.0.4:2380",
            "ftp://10.0.0.4:2380",
            "unix://",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
        assert!(check_peer_urls(&[]).is_err());
    }

    #[test]
    fn a_password_is_not_repeated() {
        let failure = check("http://root:hunter2@a:1").unwrap_err();
        assert!(!format!("{failure:?} {}", failure.error).contains("hunter2"));
    }
}
