//! Outcomes: what a program does when a write fails.
//!
//! A counter is raised by a transaction that holds only if nobody else has changed it. When the
//! outcome of the write is unknown, the program reads the key to find out.
//!
//! `cargo run --example outcomes -- http://127.0.0.1:2379`

use std::time::Duration;

use etcdex::{Client, Compare, Outcome, Put};

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;
    client.put("counter", "0").await?;
    for _ in 0..3 {
        println!("the counter is {}", increment(&client, "counter").await?);
    }
    Ok(())
}

/// Raises the number at `key` by one, exactly once, and returns it.
async fn increment(client: &Client, key: &str) -> Result<u64, etcdex::Error> {
    loop {
        let kv = client.get(key).await?.into_kv();
        let (revision, number) = match &kv {
            Some(kv) => (
                kv.mod_revision,
                kv.value_str().and_then(|text| text.parse().ok()),
            ),
            None => (0, None),
        };
        let next = number.unwrap_or(0) + 1;
        let write = client
            .txn()
            .when(Compare::mod_revision(key).equal(revision))
            .then(Put::new(key, next.to_string()))
            .timeout(Duration::from_secs(2));
        match write.await {
            Ok(reply) if reply.succeeded => return Ok(next),
            // Somebody was faster: read again.
            Ok(_) => {}
            Err(error) => match error.outcome() {
                // Nothing was written. The client has tried again already where that can help.
                Outcome::NotSent | Outcome::Rejected => return Err(error),
                // It may have been written. The next turn's read says how the counter stands; a
                // program that must know whose write it was keeps a name in the value.
                Outcome::Unknown => {
                    println!("not known whether {next} was written: {error}");
                    if client.get(key).string().await?.as_deref() == Some(&*next.to_string()) {
                        return Ok(next);
                    }
                }
            },
        }
    }
}
