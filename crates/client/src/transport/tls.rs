//! TLS around a byte stream, and the certificates it needs.
//!
//! ```text
//! material.rs   options and files -> a configuration of rustls
//! verifier.rs   is this certificate good, and if not, is it for its key?
//! error.rs      TLS errors -> texts and a kind
//! algorithm.rs  names of keys and signatures                        PURE
//! session.rs    the byte stream, which keeps a late alert
//! ```

mod algorithm;
mod error;
mod material;
mod session;
#[cfg(test)]
mod tests;
mod verifier;

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use self::error::TlsErrors;
use self::material::{Material, Stamps};
use self::session::Session;
use super::connect_error::ConnectError;
use crate::config::Config;
use crate::connector::ByteStream;
use crate::endpoint::{Address, Endpoint, without_zone};
use crate::error::{Error, ErrorKind};
use crate::mutex::Mutex;

const H2: &[u8] = b"h2";

/// The TLS of a client.
pub(crate) struct Tls {
    material: Material,
    /// The name to expect instead of the endpoint's host.
    name: Option<ServerName<'static>>,
    current: Mutex<Current>,
}

/// The configuration of the next connection, and the stamps of the files that it was made from.
struct Current {
    stamps: Stamps,
    rustls: Arc<ClientConfig>,
}

impl Tls {
    /// The TLS of this client, if it has any.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, Error> {
        if !config.endpoints.iter().any(Endpoint::is_secure) {
            return Ok(None);
        }
        let options = config.options.tls.clone().unwrap_or_default();
        let name = options.server_name.clone().map(|name| {
            ServerName::try_from(name.as_str())
                .map(|name| name.to_owned())
                .map_err(|_| refused(format!("server_name '{name}' is no DNS name or address")))
        });
        let name = name.transpose()?;
        let material = Material::new(options).map_err(refused)?;
        // ORDER: the stamps are taken first, so that a file that changes meanwhile is read again next
        // time.
        let stamps = material.stamps();
        let rustls = material.load().map_err(refused)?;
        Ok(Some(Self {
            material,
            name,
            current: Mutex::new(Current { stamps, rustls }),
        }))
    }

    /// Speaks TLS over a stream to `endpoint`.
    pub(crate) async fn wrap(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        stream: Box<dyn ByteStream>,
    ) -> Result<Session, ConnectError> {
        let name = self.name_of(endpoint)?;
        let errors = TlsErrors {
            has_identity: self.material.has_identity(),
        };
        let rustls = self.fresh().await;
        let stream = TlsConnector::from(rustls)
            .connect(name, stream)
            .await
            .map_err(|error| errors.handshake(error))?;
        // Without ALPN the protocol of the server would be a guess, and etcd always has ALPN.
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(errors.no_h2());
        }
        Ok(Session::new(stream, errors))
    }

    fn name_of(&self, endpoint: &Endpoint) -> Result<ServerName<'static>, ConnectError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let host = match endpoint.address() {
            Address::Tcp { host, .. } => without_zone(host),
            // No URL with a path is https.
            Address::Unix(_) => "localhost",
        };
        ServerName::try_from(host)
            .map(|name| name.to_owned())
            .map_err(|_| {
                let text = "the host is no name that a certificate can be for; give a server_name";
                ConnectError::tls(text.into(), None)
            })
    }

    /// Returns the configuration for a new connection, made again if a file has changed.
    async fn fresh(self: &Arc<Self>) -> Arc<ClientConfig> {
        if self.material.has_files() {
            let tls = Arc::clone(self);
            // A file can be on a slow disk. If the blocking task fails, the old configuration stays.
            let _ = tokio::task::spawn_blocking(move || tls.renew()).await;
        }
        Arc::clone(&self.current.lock().rustls)
    }

    fn renew(&self) {
        // ORDER: the stamps are taken before the files are read, as above.
        let stamps = self.material.stamps();
        if self.current.lock().stamps == stamps {
            return;
        }
        match self.material.load() {
            Ok(rustls) => {
                tracing::debug!(target: "etcdex", "the TLS certificates have changed and were read anew");
                *self.current.lock() = Current { stamps, rustls };
            }
            // The old stamps stay, so that the next connection looks again.
            Err(cause) => {
                tracing::debug!(target: "etcdex", %cause, "the TLS certificates have changed, the old ones are kept");
            }
        }
    }
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::Config, format!("TLS: {text}"))
}
