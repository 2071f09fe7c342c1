//! A connector whose byte streams can be cut.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use etcdex::{Address, ByteStream, ConnectFuture, Connector, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Carries all connections of a client until it is cut; those made afterwards are whole.
#[derive(Clone, Default)]
pub(super) struct Cable {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    strands: Vec<Arc<Mutex<Strand>>>,
    /// When the newest connection was there.
    connected: Option<Instant>,
}

#[derive(Default)]
struct Strand {
    cut: bool,
    // One suffices: HTTP/2 reads and writes a connection in one task.
    waiting: Option<Waker>,
}

impl Cable {
    /// Cuts every connection there is, in the middle of whatever it carries.
    pub(super) fn cut(&self) {
        for strand in lock(&self.shared).strands.drain(..) {
            let mut strand = lock(&strand);
            strand.cut = true;
            if let Some(waiting) = strand.waiting.take() {
                waiting.wake();
            }
        }
    }

    /// When the newest connection was there.
    pub(super) fn connected(&self) -> Option<Instant> {
        lock(&self.shared).connected
    }

    fn attach(&self, stream: Box<dyn ByteStream>) -> Box<dyn ByteStream> {
        let strand = Arc::default();
        let mut shared = lock(&self.shared);
        shared.strands.push(Arc::clone(&strand));
        shared.connected = Some(Instant::now());
        Box::new(Wire { stream, strand })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connector for Cable {
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
        let cable = self.clone();
        let address = endpoint.address().clone();
        Box::pin(async move { Ok(cable.attach(open(address).await?)) })
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
struct Wire {
    stream: Box<dyn ByteStream>,
    strand: Arc<Mutex<Strand>>,
}

impl Wire {
    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut strand = lock(&self.strand);
        if strand.cut {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the tour cut the connection",
            ));
        }
        strand.waiting = Some(cx.waker().clone());
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
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
    async fn a_cut_ends_what_waits_and_spares_what_comes() {
        let cable = Cable::default();
        let (near, _far) = tokio::io::duplex(64);
        let mut wire = cable.attach(Box::new(near));
        wire.write_all(b"whole").await.unwrap();
        let reading = tokio::spawn(async move { wire.read_u8().await });
        // It waits for a byte that never comes.
        tokio::task::yield_now().await;
        cable.cut();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let (near, mut far) = tokio::io::duplex(64);
        let mut wire = cable.attach(Box::new(near));
        wire.write_all(b"whole").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'w');
    }
}
