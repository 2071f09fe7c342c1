//! The parser of endpoint URLs.

use std::path::Path;
use std::str::FromStr;

use super::{DEFAULT_PORT, Endpoint, Host};
use crate::error::{Error, ErrorKind};

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(refused(trimmed, "it is empty"));
        }
        let (scheme, rest) = trimmed.split_once("://").unwrap_or(("http", trimmed));
        let scheme = scheme.to_ascii_lowercase();
        let is_unix = matches!(&*scheme, "unix" | "unixs");
        // Checked first, because the text before the @ may be a password and errors quote the URL.
        if !is_unix && trimmed.contains('@') {
            return Err(refused(
                "***",
                "a user or password in the URL is not accepted; set the credentials of the client",
            ));
        }
        let secure = match &*scheme {
            "http" | "unix" => false,
            "https" | "unixs" => true,
            _ => {
                let why = "the scheme is not http, https, unix or unixs";
                return Err(refused(trimmed, why));
            }
        };
        if is_unix {
            return match rest {
                "" => Err(refused(trimmed, "the path is missing")),
                path => Ok(Self::unix(Path::new(path), secure)),
            };
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(refused(trimmed, "a path or query has no meaning to etcd"));
        }
        let (host, port) = split_port(authority).map_err(|why| refused(trimmed, why))?;
        Ok(Self::tcp(host, port, secure))
    }
}

/// Splits the text in brackets: an IPv6 address, and an optional zone after `%25` (RFC 6874) or,
/// as many programs print it, after a bare `%`.
fn split_zone(bracketed: &str) -> Result<Host<'_>, &'static str> {
    let (name, zone) = match bracketed.split_once('%') {
        Some((name, zone)) => {
            let encoded = zone.strip_prefix("25").filter(|zone| !zone.is_empty());
            (name, Some(encoded.unwrap_or(zone)))
        }
        None => (bracketed, None),
    };
    if name.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("the text in brackets is not an IPv6 address");
    }
    let is_zone = |zone: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !zone.is_empty() && zone.chars().all(allowed)
    };
    if zone.is_some_and(|zone| !is_zone(zone)) {
        return Err("the text after the % is not the name of a network interface");
    }
    Ok(Host { name, zone })
}

/// Splits `host:port` and `[v6]:port`. The port is optional.
fn split_port(authority: &str) -> Result<(Host<'_>, u16), &'static str> {
    let plain = |name| Host { name, zone: None };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the ] is missing")?;
            let host = split_zone(host)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("only :port can follow the ]"),
            }
        }
        None => match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets");
            }
            Some((host, port)) => (plain(host), Some(port)),
            None => (plain(authority), None),
        },
    };
    if host.name.is_empty() {
        return Err("the host is missing");
    }
    if host
        .name
        .contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err("the host contains a blank");
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
