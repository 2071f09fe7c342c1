//! A lease that renews itself, a key that goes with it, and a lock.
//!
//! `cargo run --example lease_and_lock -- http://127.0.0.1:2379`

use std::time::Duration;

use etcdex::Client;

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;

    // The lease lives until nobody renews it for ten seconds. `keep` renews it.
    let lease = client.grant(Duration::from_secs(10)).await?;
    let keeper = client.keep(lease.id);
    client.put("workers/1", "here").lease(lease.id).await?;

    // The lock is held until it is given back, or until the lease ends.
    let lock = client.lock("only-one", lease.id).await?;
    tokio::select! {
        () = work() => println!("done; the lease is {:?}", keeper.state()),
        end = keeper.lost() => println!("stop at once: the lease has ended ({end:?})"),
    }
    client.unlock(lock.key).await?;

    client.revoke(lease.id).await?;
    println!("workers/1 is {:?}", client.get("workers/1").string().await?);
    Ok(())
}

async fn work() {
    println!("nobody else is at work");
}
