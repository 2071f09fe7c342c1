//! The environment variables that `etcdctl` reads.

use std::time::Duration;

use super::{ClientBuilder, MIN_KEEP_ALIVE_INTERVAL};
#[cfg(feature = "_tls")]
use crate::endpoint::Endpoint;

/// If one of these variables is set, `etcdctl` uses TLS for endpoints whose URL has no scheme.
const TLS_VARIABLES: [&str; 3] = ["ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_KEY"];

impl ClientBuilder {
    /// Takes endpoints and time-outs from the variables that `etcdctl` reads: `ETCDCTL_ENDPOINTS`
    /// (comma-separated), `ETCDCTL_DIAL_TIMEOUT`, `ETCDCTL_COMMAND_TIMEOUT`,
    /// `ETCDCTL_KEEPALIVE_TIME` and `ETCDCTL_KEEPALIVE_TIMEOUT` (Go's durations: `5s`, `500ms`,
    /// `1m30s`).
    ///
    /// The variables for TLS need the feature `tls`: `ETCDCTL_CACERT`, `ETCDCTL_CERT` and
    /// `ETCDCTL_KEY` name files, and `ETCDCTL_INSECURE_SKIP_TLS_VERIFY=true` accepts every
    /// certificate. If one of the files is named, endpoints of `ETCDCTL_ENDPOINTS` that have no
    /// scheme are https.
    ///
    /// A variable that is not set changes nothing. A variable that cannot be parsed makes
    /// [`connect`](Self::connect) fail.
    pub fn environment(self) -> Self {
        self.variables(&|name| std::env::var(name).ok())
    }

    fn variables(mut self, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|text| !text.is_empty());
        let secure = TLS_VARIABLES.iter().any(|name| variable(name).is_some());
        if let Some(list) = variable("ETCDCTL_ENDPOINTS") {
            self = self.endpoints(list.split(',').map(|url| match url.contains("://") {
                false if secure => format!("https://{}", url.trim()),
                _ => url.to_owned(),
            }));
        }
        self = self.tls_variables(&variable);
        type Apply = fn(ClientBuilder, Duration) -> ClientBuilder;
        let durations: [(&str, Apply); 4] = [
            ("ETCDCTL_DIAL_TIMEOUT", Self::connect_timeout),
            ("ETCDCTL_COMMAND_TIMEOUT", Self::timeout),
            // The default of etcdctl is shorter than etcd allows.
            ("ETCDCTL_KEEPALIVE_TIME", |builder, interval| {
                builder.keep_alive_interval(interval.max(MIN_KEEP_ALIVE_INTERVAL))
            }),
            ("ETCDCTL_KEEPALIVE_TIMEOUT", Self::keep_alive_timeout),
        ];
        for (name, apply) in durations {
            let Some(text) = variable(name) else { continue };
            match parse_duration(&text) {
                Some(duration) => self = apply(self, duration),
                None => self.refuse(&format!(
                    "{name} is '{text}', which is not a duration (such as 5s or 500ms)"
                )),
            }
        }
        self
    }

    #[cfg(feature = "_tls")]
    fn tls_variables(mut self, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let [authority, certificate, key] = TLS_VARIABLES.map(variable);
        let mut given = authority.is_some();
        let mut tls = self.options.tls.take().unwrap_or_default();
        if let Some(file) = authority {
            tls = tls.ca_file(file);
        }
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                tls = tls.client_certificate_files(certificate, key);
                given = true;
            }
            (None, None) => {}
            (Some(_), None) => self.refuse("ETCDCTL_CERT is set and ETCDCTL_KEY is not"),
            (None, Some(_)) => self.refuse("ETCDCTL_KEY is set and ETCDCTL_CERT is not"),
        }
        match variable("ETCDCTL_INSECURE_SKIP_TLS_VERIFY").as_deref() {
            // The spellings of Go's strconv.ParseBool.
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => {
                // The variable alone does not turn TLS on: etcdctl ignores it where the endpoint is
                // http.
                given |= self.endpoints.iter().any(Endpoint::is_secure);
                tls = tls.danger_accept_invalid_certificates();
            }
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {}
            Some(_) => self.refuse("ETCDCTL_INSECURE_SKIP_TLS_VERIFY is neither true nor false"),
        }
        if given {
            self = self.tls(tls);
        }
        self
    }

    #[cfg(not(feature = "_tls"))]
    fn tls_variables(mut self, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        if let Some(name) = TLS_VARIABLES.iter().find(|name| variable(name).is_some()) {
            self.refuse(&format!("{name} is set, and {}", super::validate::NO_TLS));
        }
        self
    }
}

/// Parses a duration of Go's `time.ParseDuration` without a sign: `1m30s`, `500ms`, `1.5s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::Error;

    fn configured(set: &[(&str, &str)]) -> Result<Config, Error> {
        let variable = |name: &str| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        ClientBuilder::default().variables(&variable).into_config()
    }

    fn refused(set: &[(&str, &str)]) -> String {
        match configured(set) {
            Ok(_) => panic!("it was taken: {set:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[cfg(feature = "_tls")]
    #[test]
    fn tls_as_etcdctl_reads_it() {
        let config = configured(&[
            ("ETCDCTL_ENDPOINTS", "one:1, https://two:2"),
            ("ETCDCTL_CACERT", "/ca.pem"),
            ("ETCDCTL_CERT", "/cert.pem"),
            ("ETCDCTL_KEY", "/key.pem"),
            ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "false"),
        ]);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let urls: Vec<_> = config.endpoints.iter().map(Endpoint::url).collect();
        assert_eq!(urls, ["https://one:1", "https://two:2"]);
        let tls = format!("{:?}", config.options.tls);
        assert!(
            tls.contains("/ca.pem") && tls.contains("/cert.pem"),
            "{tls}"
        );
        assert!(tls.contains("accepts_invalid: false"), "{tls}");

        let skip = ("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true");
        let config = configured(&[("ETCDCTL_ENDPOINTS", "https://one:1"), skip]);
        let tls = config.unwrap_or_else(|error| panic!("{error}")).options.tls;
        assert!(tls.is_some_and(|tls| tls.accepts_invalid));
        // There is no https endpoint, so the variable has no effect.
        assert!(configured(&[("ETCDCTL_ENDPOINTS", "one:1"), skip]).is_ok());
        // The default endpoint is https, as with etcdctl.
        let config = configured(&[("ETCDCTL_CACERT", "/ca.pem")]);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.endpoints[0].url(), "https://127.0.0.1:2379");

        assert!(refused(&[("ETCDCTL_CERT", "/c")]).contains("ETCDCTL_KEY"));
        assert!(refused(&[("ETCDCTL_KEY", "/c")]).contains("ETCDCTL_CERT"));
        let nonsense = [("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "maybe")];
        assert!(refused(&nonsense).contains("neither true nor false"));
        let plain = [("ETCDCTL_CACERT", "/ca"), ("ETCDCTL_ENDPOINTS", "http://a")];
        assert!(refused(&plain).contains("no endpoint is https"));
    }

    #[cfg(not(feature = "_tls"))]
    #[test]
    fn without_the_feature_tls_is_refused_and_not_ignored() {
        let text = refused(&[("ETCDCTL_CACERT", "/ca.pem")]);
        assert!(
            text.contains("ETCDCTL_CACERT") && text.contains("`tls`"),
            "{text}"
        );
    }

    #[test]
    fn durations_are_applied_or_refused_by_name() {
        let config = configured(&[("ETCDCTL_COMMAND_TIMEOUT", "7s")]);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.options.timeout, Some(Duration::from_secs(7)));
        let text = refused(&[("ETCDCTL_DIAL_TIMEOUT", "soon")]);
        assert!(text.contains("ETCDCTL_DIAL_TIMEOUT"), "{text}");
    }

    #[test]
    fn durations_as_go_writes_them() {
        let milliseconds = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(milliseconds("5s"), Some(5_000));
        assert_eq!(milliseconds("1m30s"), Some(90_000));
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(milliseconds("1.5s"), Some(1_500));
        assert_eq!(milliseconds("2h"), Some(7_200_000));
        for wrong in ["", "5", "s", "5x", "-5s", "1s5", "9999999999999999999999h"] {
            assert_eq!(milliseconds(wrong), None, "{wrong}");
        }
    }
}
