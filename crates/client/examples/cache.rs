//! A copy of a prefix in memory that stays right: `watch_list`.
//!
//! The copy survives lost connections, compactions and restores of a backup.
//!
//! `cargo run --example cache -- http://127.0.0.1:2379`

use std::collections::BTreeMap;

use etcdex::Client;
use etcdex::watch::WatchListMessage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(endpoints).await?;
    client.put("settings/color", "red").await?;

    let mut settings = BTreeMap::new();
    let mut changes = client.watch_list("settings/");
    let mut written = false;
    while let Some(message) = changes.try_next().await? {
        if let WatchListMessage::Synced { revision, .. } = &message {
            println!("the copy is the store of revision {revision}");
            if !written {
                written = true;
                client.put("settings/color", "blue").await?;
            }
        }
        message.apply(&mut settings);
        let color = settings.get(&b"settings/color"[..]);
        println!("the color is {:?}", color.and_then(|kv| kv.value_str()));
        if color.is_some_and(|kv| kv.value == "blue") {
            return Ok(());
        }
    }
    Ok(())
}
