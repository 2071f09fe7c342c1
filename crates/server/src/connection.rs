//! One connection: its socket, TLS, and the protocol that its client speaks.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::context::Peer;
use crate::node::Node;
use crate::socket::{Socket, SocketState};
use crate::{http1, http2};

/// How long a connection is silent before the system asks whether its client is still there.
///
/// Source: etcd, `client/pkg/transport/keepalive_listener.go`.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Serves a connection, until either side ends it.
///
/// # Errors
/// The client's: it has gone, or does what the protocols forbid.
pub(crate) async fn serve(
    stream: TcpStream,
    node: &Arc<Node>,
    state: &Arc<SocketState>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // A connection that does not take the option is only slower.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE);
    // Without it, the connection of a client that has gone without a word stays.
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let peer = |user| Peer {
        address: state.peer(),
        user,
    };
    #[cfg(feature = "_tls")]
    if let Some(tls) = node.tls() {
        let accepted = tls.accept(Socket::new(stream, Arc::clone(state))).await;
        let accepted = accepted.inspect_err(|cause| {
            let peer = state.peer();
            tracing::warn!(target: "etcdex_server", %peer, %cause, "a handshake has failed");
        })?;
        match accepted.is_http2 {
            true => http2::serve(accepted.stream, node, state, peer(accepted.user)).await?,
            false => http1::serve(accepted.stream, node).await?,
        }
        return Ok(());
    }
    let mut first = [0];
    let count = stream.peek(&mut first).await?;
    let stream = Socket::new(stream, Arc::clone(state));
    match count > 0 && http1::begins_with(first[0]) {
        true => http1::serve(stream, node).await?,
        false => http2::serve(stream, node, state, peer(None)).await?,
    }
    Ok(())
}
