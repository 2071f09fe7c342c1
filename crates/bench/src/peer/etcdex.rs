//! The etcdex client as users run it, with retries, fail-over, keep-alive and time-outs.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use etcdex::Client;

use super::Peer;

/// A client with one endpoint and the defaults.
#[derive(Clone, Debug)]
pub struct Etcdex {
    client: Client,
}

impl Etcdex {
    /// Connects to the null server.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let client = Client::connect(format!("http://{address}")).await?;
        Ok(Self { client })
    }
}

impl Peer for Etcdex {
    async fn put(&self, key: Bytes, value: Bytes) -> anyhow::Result<()> {
        self.client.put(key, value).await?;
        Ok(())
    }

    async fn get(&self, key: Bytes) -> anyhow::Result<usize> {
        let reply = self.client.get(key).await?;
        let found = reply.kvs.first().context("the reply has no key")?;
        Ok(found.value.len())
    }
}
