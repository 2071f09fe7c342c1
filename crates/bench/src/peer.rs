//! The measured clients.

use std::net::SocketAddr;

use bytes::Bytes;

mod etcdex;
mod raw_h2;

pub use self::etcdex::Etcdex;
pub use self::raw_h2::RawH2;

/// A client that can put and get; clones share its connection.
pub trait Peer: Clone + Send + Sync + 'static {
    /// Puts a key.
    fn put(&self, key: Bytes, value: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Gets one key, and returns the length of its value.
    fn get(&self, key: Bytes) -> impl Future<Output = anyhow::Result<usize>> + Send;
}

/// The name of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// The etcdex client, with its defaults
    Etcdex,
    /// A minimal gRPC call over the h2 crate
    RawH2,
}

impl Name {
    /// Returns the name as on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Etcdex => "etcdex",
            Self::RawH2 => "raw-h2",
        }
    }
}

/// A connected client.
#[derive(Clone, Debug)]
pub enum Connected {
    /// See [`Etcdex`].
    Etcdex(Etcdex),
    /// See [`RawH2`].
    RawH2(Box<RawH2>),
}

impl Connected {
    /// Connects the client of that name.
    pub async fn open(name: Name, address: SocketAddr) -> anyhow::Result<Self> {
        Ok(match name {
            Name::Etcdex => Self::Etcdex(Etcdex::connect(address).await?),
            Name::RawH2 => Self::RawH2(Box::new(RawH2::connect(address).await?)),
        })
    }

    /// Returns the name of the client.
    #[must_use]
    pub fn name(&self) -> Name {
        match self {
            Self::Etcdex(_) => Name::Etcdex,
            Self::RawH2(_) => Name::RawH2,
        }
    }
}
