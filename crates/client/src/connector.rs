//! Connectors: the source of the byte stream below HTTP/2.
//!
//! A program that reaches its servers by other means than TCP, TLS and unix sockets gives
//! [`ClientBuilder::connector`](crate::ClientBuilder::connector) a [`Connector`] of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::endpoint::Endpoint;

/// A byte stream in both directions.
///
/// The trait is implemented for each type with these bounds: a socket, a TLS session, one half of
/// `tokio::io::duplex`.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// The future that [`Connector::connect`] returns.
pub type ConnectFuture =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'static>>;

/// Opens the byte stream to an endpoint.
///
/// The client has a connector for TCP and unix sockets. Write another one to go through a proxy,
/// to run in a simulator, or to inspect the bytes. The client calls the connector for each
/// connection, and drops the future when `connect_timeout` has passed.
///
/// The client decides by the result of `poll_write` whether a request may have left: bytes that
/// the stream has accepted may have left, and also the bytes of a write that fails. A stream that
/// returns `Poll::Pending` must not have accepted any.
///
/// The stream carries plain bytes. For an `https` endpoint, the client speaks TLS over the stream.
/// A connector that speaks TLS itself needs an `http` endpoint.
///
/// ```
/// use etcdex::{Connector, Endpoint};
/// use etcdex::endpoint::Address;
/// use etcdex::connector::ByteStream;
/// use etcdex::connector::ConnectFuture;
///
/// /// Connects to one address, regardless of the endpoint.
/// struct Tunnel;
///
/// impl Connector for Tunnel {
///     fn connect(&self, _endpoint: &Endpoint) -> ConnectFuture {
///         Box::pin(async {
///             let socket = tokio::net::TcpStream::connect("127.0.0.1:2379").await?;
///             Ok(Box::new(socket) as Box<dyn ByteStream>)
///         })
///     }
/// }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Connects to `endpoint`.
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture;
}
