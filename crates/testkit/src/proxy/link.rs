//! One link through a proxy: a client's connection and its own to the server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::counters::Place;
use super::pump::{Over, Pump};
use super::view::{Conversation, Sight};
use super::{Direction, State};

/// How long the two sides may take to close after a cut.
const LINGER: Duration = Duration::from_secs(1);

/// Forwards both ways until the link is over.
pub(super) async fn run(
    mut client: TcpStream,
    target: SocketAddr,
    state: watch::Receiver<State>,
    born: State,
    place: Place,
    sight: Sight,
) {
    // A server that is not there looks to the client as it would without a proxy, nearly.
    let Ok(mut server) = connect(&client, target).await else {
        return reset(client);
    };
    if let Some(streams) = born.stream_limit {
        // The server's own SETTINGS follow; it takes no notice of one acknowledgement more.
        let frame = settings(streams);
        if client.write_all(&frame).await.is_err() {
            return reset(server);
        }
    }
    let over = forward(&mut client, &mut server, state, born, &place, &sight).await;
    // From here on nothing is forwarded: it counts as closed.
    drop(place);
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

/// A frame of SETTINGS that allows so many streams at a time.
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
    // Small frames are not to wait for each other here.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok(server)
}

async fn forward(
    client: &mut TcpStream,
    server: &mut TcpStream,
    state: watch::Receiver<State>,
    born: State,
    place: &Place,
    sight: &Sight,
) -> Result<(), Over> {
    let conversation = Conversation::new(sight);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = Pump {
        direction: Direction::ToServer,
        from: from_client,
        to: to_server,
        state: state.clone(),
        seen: born,
        counters: place.counters(),
        view: conversation.view(Direction::ToServer),
    };
    let down = Pump {
        direction: Direction::ToClient,
        from: from_server,
        to: to_client,
        state,
        seen: born,
        counters: place.counters(),
        view: conversation.view(Direction::ToClient),
    };
    tokio::try_join!(up.run(), down.run()).map(|_| ())
}

/// Closes a connection with an RST.
pub(super) fn reset(stream: TcpStream) {
    // It fails only for a connection that is gone already.
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
