//! A link through a proxy: the client's connection and the proxy's connection to the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::counters::OpenLink;
use super::pump::{Over, Pump};
use super::view::{Inspection, SharedView};
use super::{Direction, State};

/// How long both sides may take to close after a cut.
const LINGER: Duration = Duration::from_secs(1);

/// Forwards in both directions until the link has ended.
pub(super) async fn run(
    mut client: TcpStream,
    target: SocketAddr,
    state: watch::Receiver<State>,
    born: State,
    open_link: OpenLink,
    inspection: Inspection,
) {
    // Without a server, the client gets nearly the same error as without a proxy.
    let Ok(mut server) = connect(&client, target).await else {
        return reset(client);
    };
    if let Some(streams) = born.stream_limit {
        // The server's own SETTINGS follow; it ignores the additional acknowledgement.
        let frame = settings(streams);
        if client.write_all(&frame).await.is_err() {
            return reset(server);
        }
    }
    let over = forward(
        &mut client,
        &mut server,
        state,
        born,
        &open_link,
        &inspection,
    )
    .await;
    // From here on nothing is forwarded: the link counts as closed.
    drop(open_link);
    match over {
        Ok(()) => {}
        Err(Over::Reset) => {
            reset(client);
            reset(server);
        }
        Err(Over::Cut | Over::Dropped) => {
            tokio::join!(close(client), close(server));
        }
    }
}

/// Returns a SETTINGS frame that allows this number of concurrent streams.
///
/// Source: RFC 9113, sections 4.1 and 6.5.
fn settings(streams: u32) -> [u8; 15] {
    const HEAD: [u8; 11] = [0, 0, 6, 0x4, 0, 0, 0, 0, 0, 0, 0x3];
    let mut frame = [0; 15];
    frame[..11].copy_from_slice(&HEAD);
    frame[11..].copy_from_slice(&streams.to_be_bytes());
    frame
}

async fn connect(client: &TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    let server = TcpStream::connect(target).await?;
    // No Nagle's algorithm: small frames must not be delayed here.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok(server)
}

async fn forward(
    client: &mut TcpStream,
    server: &mut TcpStream,
    state: watch::Receiver<State>,
    born: State,
    open_link: &OpenLink,
    inspection: &Inspection,
) -> Result<(), Over> {
    let shared = SharedView::new(inspection);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = Pump {
        direction: Direction::ToServer,
        from: from_client,
        to: to_server,
        state: state.clone(),
        seen: born,
        counters: open_link.counters(),
        view: shared.view(Direction::ToServer),
    };
    let down = Pump {
        direction: Direction::ToClient,
        from: from_server,
        to: to_client,
        state,
        seen: born,
        counters: open_link.counters(),
        view: shared.view(Direction::ToClient),
    };
    tokio::try_join!(up.run(), down.run()).map(|_| ())
}

/// Closes a connection with an RST.
pub(super) fn reset(stream: TcpStream) {
    // This fails only for a closed connection.
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
}

/// Closes a connection with a FIN. A connection with unread bytes would be reset when it is
/// dropped, so they are read first.
async fn close(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    let _ = timeout(LINGER, drain).await;
}
