//! Watches at members that do not serve.

use std::time::Duration;

use tokio::time::timeout;

use super::super::peer::{Asked, Peers, serve};
use super::server::Server;
use super::{next, values};
use crate::{Client, Mode};

#[tokio::test(start_paused = true)]
async fn a_watch_comes_into_force_elsewhere_when_its_member_hangs() {
    for mode in [Mode::PickFirst, Mode::Random, Mode::ConnectAll] {
        let server = Server::new();
        let well = server.clone();
        let peers = Peers::default()
            .and("http://hung:1", |_, stream| {
                serve(stream, |asked: Asked| async move {
                    std::future::pending::<()>().await;
                    drop(asked);
                })
            })
            .and("http://well:1", move |_, stream| well.clone().serve(stream));
        let builder = Client::builder().endpoint("http://hung:1");
        let builder = builder.connector(peers).mode(mode);
        let client = builder.connect().await.expect("the client connects");
        client.add_endpoint("http://well:1").expect("a URL");
        for number in 0..5 {
            let watch = client.watch("a").timeout(Duration::from_secs(20));
            let mut watch = watch.await.expect("in force");
            server.put("a", &number.to_string());
            let batch = timeout(Duration::from_secs(1), next(&mut watch)).await;
            assert_eq!(values(&batch.expect("in time")), [number.to_string()]);
        }
    }
}
