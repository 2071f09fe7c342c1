//! The first steps: keys, transactions, the past, an error.

use etcdex::txn::OperationResponse;
use etcdex::{Client, Compare, Error, ErrorKind, Get, KeyValue, Put};

use super::page::Page;
use crate::failure::Failure;

const JOBS: [(&str, &str); 3] = [
    ("jobs/1", "queued"),
    ("jobs/2", "queued"),
    ("jobs/3", "done"),
];

pub(super) async fn keys(client: &Client, page: &mut Page) -> Result<(), Failure> {
    page.step("Put keys, and read them by their prefix")?;
    for (key, value) in JOBS {
        let put = client.put(key, value).await?;
        page.line(&format!(
            "put {key} = {value:<8} revision {}",
            put.header.revision
        ))?;
    }
    let jobs = client.get("jobs/").prefix().await?;
    page.line(&format!(
        "all of jobs/ at revision {}:",
        jobs.header.revision
    ))?;
    for kv in &jobs.kvs {
        page.line(&format!(
            "    {} = {:<8} changed at {}, version {}",
            kv.key_str().unwrap_or("?"),
            kv.value_str().unwrap_or("?"),
            kv.mod_revision,
            kv.version
        ))?;
    }
    Ok(())
}

pub(super) async fn transactions(client: &Client, page: &mut Page) -> Result<(), Failure> {
    page.step("Change keys together, under a condition")?;
    for worker in ["worker-a", "worker-b"] {
        page.line(&format!(
            "{worker}: if jobs/1 is queued, then set it to running and jobs/1/by to {worker}"
        ))?;
        let taken = client
            .txn()
            .when(Compare::value("jobs/1").equal("queued"))
            .then(Put::new("jobs/1", "running"))
            .then(Put::new("jobs/1/by", worker))
            .otherwise(Get::new("jobs/1/by"))
            .await?;
        let revision = taken.header.revision;
        let told = if taken.succeeded {
            format!("done, both at revision {revision}")
        } else {
            let seen = taken.responses.into_iter().next();
            let owner = seen.and_then(OperationResponse::into_get);
            let owner = owner.and_then(etcdex::kv::GetResponse::into_kv);
            let owner = value(owner.as_ref());
            format!("not done: the condition does not hold, {owner} has it")
        };
        page.line(&format!("    {told}"))?;
    }
    Ok(())
}

pub(super) async fn past(client: &Client, page: &mut Page) -> Result<(), Failure> {
    page.step("Read the past")?;
    let now = client.get("jobs/1").await?;
    let Some(job) = now.kvs.first() else {
        return Err(Failure::Work(
            "jobs/1 is gone: somebody deleted it".to_owned(),
        ));
    };
    let (created, changed) = (job.create_revision, job.mod_revision);
    let then = client.get("jobs/1").revision(created).await?;
    let then = value(then.kvs.first());
    page.line(&format!("jobs/1 at revision {created}: {then}"))?;
    page.line(&format!(
        "jobs/1 at revision {changed}: {}",
        value(Some(job))
    ))
}

/// Compacting would take away the history of everybody, so that a cluster which is not the
/// tour's own is asked for the future instead.
pub(super) async fn error(client: &Client, is_own: bool, page: &mut Page) -> Result<(), Failure> {
    page.step("See an error, and what it says of the request")?;
    let now = client.get("jobs/1").await?.header.revision;
    let (revision, expected) = if is_own {
        client.compact(now).await?;
        page.line(&format!(
            "dropped the history before revision {now} (compaction)"
        ))?;
        (now - 1, ErrorKind::Compacted)
    } else {
        (now + 1_000_000_000, ErrorKind::FutureRevision)
    };
    page.line(&format!("get jobs/1 at revision {revision}:"))?;
    match client.get("jobs/1").revision(revision).await {
        Err(error) if error.kind() == expected => tell(&error, page),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::Work(format!("etcd gave revision {revision}"))),
    }
}

fn tell(error: &Error, page: &mut Page) -> Result<(), Failure> {
    page.line(&format!("    message  {error}"))?;
    page.line(&format!("    kind     {:?}", error.kind()))?;
    page.line(&format!("    outcome  {:?}", error.outcome()))?;
    page.line(
        "The kind says what went wrong; the outcome says whether a write may have happened:",
    )?;
    page.line("    Rejected  no: the server refused it")?;
    page.line("    NotSent   no: no server has seen it")?;
    page.line("    Unknown   maybe: it was sent, and the answer did not come")
}

fn value(kv: Option<&KeyValue>) -> String {
    let text = kv.and_then(|kv| kv.value_str());
    text.unwrap_or("nothing").to_owned()
}
