//! The first steps: keys, transactions, older revisions, an error.

use etcdex::txn::OperationResponse;
use etcdex::{Client, Compare, Error, ErrorKind, Get, KeyValue, Put};

use super::printer::Printer;
use crate::failure::Failure;

const JOBS: [(&str, &str); 3] = [
    ("jobs/1", "queued"),
    ("jobs/2", "queued"),
    ("jobs/3", "done"),
];

pub(super) async fn keys(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    printer.step("Put keys, and read them by prefix")?;
    for (key, value) in JOBS {
        let put = client.put(key, value).await?;
        printer.line(&format!(
            "put {key} = {value:<8} revision {}",
            put.header.revision
        ))?;
    }
    let jobs = client.get("jobs/").prefix().await?;
    printer.line(&format!(
        "all keys below jobs/ at revision {}:",
        jobs.header.revision
    ))?;
    for kv in &jobs.kvs {
        printer.line(&format!(
            "    {} = {:<8} changed at {}, version {}",
            kv.key_str().unwrap_or("?"),
            kv.value_str().unwrap_or("?"),
            kv.mod_revision,
            kv.version
        ))?;
    }
    Ok(())
}

pub(super) async fn transactions(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    printer.step("Change two keys in one transaction, on a condition")?;
    for worker in ["worker-a", "worker-b"] {
        printer.line(&format!(
            "{worker}: if jobs/1 is queued, set it to running and jobs/1/by to {worker}"
        ))?;
        let reply = client
            .txn()
            .when(Compare::value("jobs/1").equal("queued"))
            .then(Put::new("jobs/1", "running"))
            .then(Put::new("jobs/1/by", worker))
            .otherwise(Get::new("jobs/1/by"))
            .await?;
        let revision = reply.header.revision;
        let result = if reply.succeeded {
            format!("done, both at revision {revision}")
        } else {
            let get = reply.responses.into_iter().next();
            let get = get.and_then(OperationResponse::into_get);
            let owner = get.and_then(etcdex::kv::GetResponse::into_kv);
            let owner = value(owner.as_ref());
            format!("not done: the condition does not hold, jobs/1/by is {owner}")
        };
        printer.line(&format!("    {result}"))?;
    }
    Ok(())
}

pub(super) async fn history(client: &Client, printer: &mut Printer) -> Result<(), Failure> {
    printer.step("Read an older revision")?;
    let now = client.get("jobs/1").await?;
    let Some(job) = now.kvs.first() else {
        return Err(Failure::Other(
            "jobs/1 is gone: another client has deleted it".to_owned(),
        ));
    };
    let (created, changed) = (job.create_revision, job.mod_revision);
    let then = client.get("jobs/1").revision(created).await?;
    let then = value(then.kvs.first());
    printer.line(&format!("jobs/1 at revision {created}: {then}"))?;
    printer.line(&format!(
        "jobs/1 at revision {changed}: {}",
        value(Some(job))
    ))
}

/// Provokes an error and prints its parts.
///
/// A compaction removes the history of every user. On a cluster that is not the tour's own, the
/// tour asks for a future revision instead.
pub(super) async fn error(
    client: &Client,
    is_own: bool,
    printer: &mut Printer,
) -> Result<(), Failure> {
    printer.step("See the kind and the outcome of an error")?;
    let now = client.get("jobs/1").await?.header.revision;
    let (revision, expected) = if is_own {
        client.compact(now).await?;
        printer.line(&format!(
            "removed the history before revision {now} (compaction)"
        ))?;
        (now - 1, ErrorKind::Compacted)
    } else {
        (now + 1_000_000_000, ErrorKind::FutureRevision)
    };
    printer.line(&format!("get jobs/1 at revision {revision}:"))?;
    match client.get("jobs/1").revision(revision).await {
        Err(error) if error.kind() == expected => print_error(&error, printer),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Failure::Other(format!(
            "etcd answered a get at revision {revision}, which it must refuse"
        ))),
    }
}

fn print_error(error: &Error, printer: &mut Printer) -> Result<(), Failure> {
    printer.line(&format!("    message  {error}"))?;
    printer.line(&format!("    kind     {:?}", error.kind()))?;
    printer.line(&format!("    outcome  {:?}", error.outcome()))?;
    printer.line("The kind is the cause. The outcome says whether a write was applied:")?;
    printer.line("    Rejected  no: the server refused it")?;
    printer.line("    NotSent   no: no server has seen it")?;
    printer.line("    Unknown   maybe: it was sent, and no answer came")
}

fn value(kv: Option<&KeyValue>) -> String {
    let text = kv.and_then(|kv| kv.value_str());
    text.unwrap_or("nothing").to_owned()
}
