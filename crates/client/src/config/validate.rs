//! The check of a client's options, each by itself and together.

use super::{ClientBuilder, Config, Options};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

/// End of an error about https in a build without TLS.
pub(super) const NO_TLS: &str = "this program was built without TLS (the feature `tls` of etcdex)";

impl ClientBuilder {
    pub(crate) fn into_config(mut self) -> Result<Config, Error> {
        if let Some((kind, message)) = self.error {
            return Err(Error::new(kind, message));
        }
        let bounded = super::bounds::bound(&mut self.options);
        bounded.map_err(|message| Error::new(ErrorKind::Config, message))?;
        if self.endpoints.is_empty() {
            let scheme = if self.has_tls() { "https" } else { "http" };
            self.endpoints
                .push(format!("{scheme}://127.0.0.1:2379").parse()?);
        }
        check_all(&self.options, &self.endpoints)?;
        Ok(Config {
            endpoints: self.endpoints,
            options: self.options,
        })
    }

    pub(super) fn has_tls(&self) -> bool {
        has_tls(&self.options)
    }

    pub(super) fn check_window(&mut self, option: &str, bytes: u32) {
        if !(65_535..1 << 31).contains(&bytes) {
            self.refuse(&format!("{option} must be from 64 KiB to 2 GiB - 1"));
        }
    }

    pub(super) fn refuse(&mut self, message: &str) {
        self.error
            .get_or_insert_with(|| (ErrorKind::Config, message.to_owned()));
    }
}

fn has_tls(options: &Options) -> bool {
    #[cfg(feature = "_tls")]
    return options.tls.is_some();
    #[cfg(not(feature = "_tls"))]
    {
        let _ = options;
        false
    }
}

/// Checks whether a client with these options can use these endpoints.
pub(crate) fn check_all(options: &Options, endpoints: &[Endpoint]) -> Result<(), Error> {
    let secure = endpoints.iter().find(|endpoint| endpoint.is_secure());
    let refusal = match secure {
        _ if endpoints.is_empty() => "there is no endpoint".to_owned(),
        Some(endpoint) => return check(endpoint),
        None if has_tls(options) => "TLS is configured and no endpoint is https".to_owned(),
        None => return Ok(()),
    };
    Err(Error::new(ErrorKind::Config, refusal))
}

/// Checks whether this build can connect to the endpoint at all.
pub(crate) fn check(endpoint: &Endpoint) -> Result<(), Error> {
    if endpoint.is_secure() && !cfg!(feature = "_tls") {
        return Err(Error::new(
            ErrorKind::Config,
            format!("{endpoint}: {NO_TLS}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refusal(builder: ClientBuilder) -> String {
        match builder.into_config() {
            Ok(_) => panic!("it was taken"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config);
                error.to_string()
            }
        }
    }

    #[test]
    fn invalid_options_are_refused_by_name() {
        let new = ClientBuilder::default;
        assert!(refusal(new().endpoint("ftp://x")).contains("ftp://x"));
        #[cfg(not(feature = "_tls"))]
        assert!(refusal(new().endpoint("https://x")).contains("feature `tls`"));
        let seconds = Duration::from_secs;
        assert!(refusal(new().keep_alive_interval(seconds(4))).contains("keep_alive_interval"));
        assert!(refusal(new().keep_alive_timeout(seconds(0))).contains("keep_alive_timeout"));
        assert!(refusal(new().auto_sync_interval(seconds(0))).contains("auto_sync_interval"));
        assert!(refusal(new().stream_window(1)).contains("stream_window"));
        assert!(refusal(new().connection_window(u32::MAX)).contains("connection_window"));
    }

    #[test]
    fn endpoints_are_kept_in_order_and_once() {
        let config = ClientBuilder::default()
            .endpoints(["b:1", "a:1", "http://b:1"])
            .into_config()
            .unwrap_or_else(|error| panic!("{error}"));
        let urls: Vec<_> = config.endpoints.iter().map(Endpoint::url).collect();
        assert_eq!(urls, ["http://b:1", "http://a:1"]);
    }
}
