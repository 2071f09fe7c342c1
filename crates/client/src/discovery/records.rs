//! PURE: the conversion of the SRV records of a domain to endpoints.

use crate::endpoint::Endpoint;

/// Host and port of one SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Returns the name of the SRV records of a domain.
pub(crate) fn name(domain: &str, service: Option<&str>, secure: bool) -> String {
    let secure = if secure { "-ssl" } else { "" };
    let service = service.map(|name| format!("-{name}")).unwrap_or_default();
    format!("_etcd-client{secure}{service}._tcp.{domain}")
}

/// Returns the endpoints, and the reasons why others were left out.
///
/// INVARIANT: https and http are never mixed, and with `only_https` there is no http.
pub(crate) fn endpoints(
    domain: &str,
    any_host: bool,
    only_https: bool,
    secure: &[Target],
    plain: &[Target],
) -> (Vec<Endpoint>, Vec<String>) {
    let https = only_https || !secure.is_empty();
    let (mut endpoints, mut left_out) = (Vec::new(), Vec::new());
    for (targets, scheme) in [(secure, "https"), (plain, "http")] {
        for Target { host, port } in targets {
            let host = host.trim_end_matches('.');
            let url = format!("{scheme}://{host}:{port}");
            if scheme == "http" && https {
                left_out.push(format!("{url} is not https"));
            } else if scheme == "https" && !any_host && !is_below(host, domain) {
                left_out.push(format!("{url} is not below {domain}"));
            } else {
                match url.parse() {
                    Ok(endpoint) if endpoints.contains(&endpoint) => {}
                    Ok(endpoint) => endpoints.push(endpoint),
                    // A host of "." says that the domain has no such service (RFC 2782).
                    Err(_) => left_out.push(format!("{url} is not an endpoint")),
                }
            }
        }
    }
    (endpoints, left_out)
}

fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    match host.strip_suffix(&domain) {
        Some(front) => front.is_empty() || front.ends_with('.'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(hosts: &[&str]) -> Vec<Target> {
        let target = |host: &&str| Target {
            host: (*host).to_owned(),
            port: 2379,
        };
        hosts.iter().map(target).collect()
    }

    fn urls(
        any_host: bool,
        only_https: bool,
        secure: &[&str],
        plain: &[&str],
    ) -> (Vec<String>, usize) {
        let (secure, plain) = (targets(secure), targets(plain));
        let (endpoints, left_out) =
            endpoints("etcd.example", any_host, only_https, &secure, &plain);
        let urls = endpoints.iter().map(|one| one.url().to_owned());
        (urls.collect(), left_out.len())
    }

    #[test]
    fn names_are_those_that_etcdctl_asks_for() {
        assert_eq!(name("a.b", None, true), "_etcd-client-ssl._tcp.a.b");
        assert_eq!(name("a.b", None, false), "_etcd-client._tcp.a.b");
        assert_eq!(name("a.b", Some("x"), true), "_etcd-client-ssl-x._tcp.a.b");
        assert_eq!(name("a.b", Some("x"), false), "_etcd-client-x._tcp.a.b");
    }

    #[test]
    fn http_is_not_mixed_into_https() {
        let http = ["http://1.other:2379".to_owned()];
        assert_eq!(urls(false, false, &[], &["1.other."]), (http.to_vec(), 0));
        assert_eq!(urls(false, true, &[], &["1.other."]), (vec![], 1));
        let https = vec!["https://1.etcd.example:2379".to_owned()];
        let both = urls(false, false, &["1.etcd.example."], &["1.etcd.example."]);
        assert_eq!(both, (https.clone(), 1));
        // The same holds when no https record can be used.
        assert_eq!(
            urls(false, false, &["evil.example"], &["1.other"]),
            (vec![], 2)
        );
        let twice = urls(false, false, &["1.etcd.example", "1.etcd.example."], &[]);
        assert_eq!(twice, (https, 0));
    }

    #[test]
    fn hosts_of_https_are_below_the_domain() {
        for (host, below) in [
            ("etcd.example", true),
            ("1.ETCD.Example.", true),
            ("evil-etcd.example", false),
            ("etcd.example.evil", false),
            (".", false),
        ] {
            let taken = urls(false, false, &[host], &[]).0.len();
            assert_eq!(taken == 1, below, "{host}");
        }
        assert_eq!(urls(true, false, &["evil.example"], &[]).0.len(), 1);
        assert_eq!(urls(true, false, &["."], &[]), (vec![], 1));
    }
}
