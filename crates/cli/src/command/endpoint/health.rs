//! `endpoint health`.

use std::time::Instant;

use etcdex::{ClientBuilder, ErrorKind};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Health};

/// The key that etcdctl reads to check health. The key need not exist.
const KEY: &str = "health";

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let render = output::HEALTH.choose(global.write_out)?;
    let checks: Vec<_> = global
        .endpoints()
        .into_iter()
        .map(|endpoint| {
            let builder = global.builder([&endpoint]);
            tokio::spawn(check(endpoint, builder))
        })
        .collect();
    let mut all = Vec::with_capacity(checks.len());
    for check in checks {
        all.push(
            check
                .await
                .map_err(std::io::Error::other)
                .map_err(Failure::System)?,
        );
    }
    output::write(|out| render(out, &all, global.hex))?;
    if all.iter().any(|health| health.error.is_some()) {
        return Err(Failure::Other("unhealthy cluster".to_owned()));
    }
    Ok(())
}

/// Checks one endpoint with its own client, so that no other endpoint can answer.
// etcdctl also reports a member with an alarm (NOSPACE, CORRUPT) as unhealthy; this command does
// not ask for alarms yet.
async fn check(endpoint: String, builder: ClientBuilder) -> Health {
    let began = Instant::now();
    let answer = match builder.connect().await {
        Ok(client) => client.get(KEY).await,
        Err(error) => Err(error),
    };
    let error = match answer {
        Ok(_) => None,
        // Only a healthy member can answer that this user may not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    };
    Health {
        endpoint,
        took: began.elapsed(),
        error,
    }
}
