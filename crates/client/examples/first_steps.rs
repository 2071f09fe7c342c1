//! First steps: put, get, list, and a transaction.
//!
//! `cargo run --example first_steps -- http://127.0.0.1:2379`

use etcdex::{Client, Compare, Put};

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let endpoints = std::env::args().nth(1);
    run(endpoints.as_deref().unwrap_or("http://127.0.0.1:2379")).await
}

pub(crate) async fn run(endpoints: &str) -> Result<(), etcdex::Error> {
    let client = Client::connect(endpoints).await?;

    client.put("jobs/1", "queued").await?;
    client.put("jobs/2", "queued").await?;
    println!("jobs/1 is {:?}", client.get("jobs/1").string().await?);

    let mut jobs = client.list("jobs/");
    while let Some(job) = jobs.try_next().await? {
        println!("{:?} = {:?}", job.key_str(), job.value_str());
    }

    let taken = client
        .txn()
        .when(Compare::value("jobs/1").equal("queued"))
        .then(Put::new("jobs/1", "running"))
        .await?;
    println!("jobs/1 taken: {}", taken.succeeded);
    Ok(())
}
