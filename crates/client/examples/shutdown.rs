//! Graceful shutdown: calls under way are answered, watches end, kept leases are revoked.
//!
//! `cargo run --example shutdown -- http://127.0.0.1:2379`

use std::time::Duration;

use etcdex::Client;

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;
    let lease = client.grant(Duration::from_secs(60)).await?;
    let _keeper = client.keep(lease.id);
    client.put("workers/2", "here").lease(lease.id).await?;

    // A call that is under way when the program is told to end.
    let write = tokio::spawn(client.put("last", "words"));
    let closed = client.close(Duration::from_secs(5)).await;
    println!("closed: {closed:?}");
    match write.await {
        Ok(Ok(reply)) => println!("written at {}", reply.header.revision),
        Ok(Err(error)) => println!("the write was too late: {error}"),
        Err(error) => println!("its task has ended: {error}"),
    }

    // The key went with its lease.
    let other = Client::connect(endpoints).await?;
    println!("workers/2 is {:?}", other.get("workers/2").string().await?);
    Ok(())
}
