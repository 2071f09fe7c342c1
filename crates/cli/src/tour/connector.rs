//! A connector whose connections the tour can cut.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use etcdex::connector::ByteStream;
use etcdex::connector::ConnectFuture;
use etcdex::endpoint::Address;
use etcdex::{Connector, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Makes the connections of a client, and can cut all of them. Connections that are made after a
/// cut work.
#[derive(Clone, Default)]
pub(super) struct CuttableConnector {
    connections: Arc<Mutex<Connections>>,
}

#[derive(Default)]
struct Connections {
    /// Connections that are not cut. Closed ones stay in the list: a tour makes few.
    open: Vec<Arc<Mutex<CutState>>>,
    /// When the newest connection was made.
    newest: Option<Instant>,
}

#[derive(Default)]
struct CutState {
    is_cut: bool,
    // One waker suffices: HTTP/2 reads and writes a connection in one task.
    waker: Option<Waker>,
}

impl CuttableConnector {
    /// Cuts every connection, wherever in a message it is.
    pub(super) fn cut(&self) {
        for connection in lock(&self.connections).open.drain(..) {
            let mut state = lock(&connection);
            state.is_cut = true;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    /// Returns when the newest connection was made.
    pub(super) fn connected_at(&self) -> Option<Instant> {
        lock(&self.connections).newest
    }

    fn wrap(&self, stream: Box<dyn ByteStream>) -> Box<dyn ByteStream> {
        let state = Arc::default();
        let mut connections = lock(&self.connections);
        connections.open.push(Arc::clone(&state));
        connections.newest = Some(Instant::now());
        Box::new(CuttableStream { stream, state })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // INVARIANT: no code of this file panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connector for CuttableConnector {
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
        let connector = self.clone();
        let address = endpoint.address().clone();
        Box::pin(async move { Ok(connector.wrap(open(address).await?)) })
    }
}

async fn open(address: Address) -> io::Result<Box<dyn ByteStream>> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the tour cannot connect to {other:?}"),
        )),
    }
}

/// One connection.
struct CuttableStream {
    stream: Box<dyn ByteStream>,
    state: Arc<Mutex<CutState>>,
}

impl CuttableStream {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.is_cut {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the tour cut the connection",
            ));
        }
        state.waker = Some(cx.waker().clone());
        Ok(())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_cut_ends_a_pending_read_and_spares_later_connections() {
        let connector = CuttableConnector::default();
        let (near, _far) = tokio::io::duplex(64);
        let mut stream = connector.wrap(Box::new(near));
        stream.write_all(b"whole").await.unwrap();
        let reading = tokio::spawn(async move { stream.read_u8().await });
        // The reader waits for a byte that never comes.
        tokio::task::yield_now().await;
        connector.cut();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = connector.wrap(Box::new(near));
        stream.write_all(b"whole").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'w');
    }
}
