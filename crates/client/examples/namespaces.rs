//! Namespaces: a handle for which a prefix is the whole store.
//!
//! `cargo run --example namespaces -- http://127.0.0.1:2379`

use etcdex::Client;

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;
    let (blue, green) = (client.namespace("blue/"), client.namespace("green/"));
    blue.put("color", "blue").await?;
    green.put("color", "green").await?;

    // Each sees its own keys only, whatever the range, and by their short names.
    println!("{:?}", blue.get("color").string().await?);
    let all = green.get("").all_keys().await?;
    for kv in &all.kvs {
        println!("green has {:?}", kv.key_str());
    }
    // Outside, the keys have their full names.
    println!("{:?}", client.get("green/color").string().await?);
    // Handles nest: these are the keys below "blue/jobs/".
    blue.namespace("jobs/").put("1", "queued").await?;
    println!("{:?}", client.get("blue/jobs/1").string().await?);
    Ok(())
}
