//! Many watches with one inbox: a `Watcher`.
//!
//! All watches of a client share one stream. The watcher is also told of lost connections.
//!
//! `cargo run --example many_watches -- http://127.0.0.1:2379`

use etcdex::{Client, WatchMessage};

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;
    let mut watcher = client.watcher();
    for room in ["kitchen", "garage", "garden"] {
        watcher.watch(format!("lamps/{room}")).await?;
    }
    client.put("lamps/garage", "on").await?;

    while let Some(message) = watcher.next().await {
        match message {
            WatchMessage::Created {
                watch, revision, ..
            } => {
                println!("{watch} tells what happens from revision {revision} on");
            }
            WatchMessage::Notify { watch, batch, .. } => {
                for event in batch.events {
                    println!("{watch}: {:?} {:?}", event.kind, event.kv.key_str());
                }
                break;
            }
            WatchMessage::Cancelled { watch, end, .. } => println!("{watch} has ended: {end}"),
            WatchMessage::Disconnected { error, .. } => println!("interrupted: {error}"),
            WatchMessage::Resumed { .. } => println!("all watches are in force again"),
            WatchMessage::Closed(error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
