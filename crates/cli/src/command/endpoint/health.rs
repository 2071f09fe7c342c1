//! `endpoint health`.

use std::time::Instant;

use etcdex::{Builder, ErrorKind};

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Health};

/// The key that etcdctl reads for this; it need not exist.
const KEY: &str = "health";

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let render = output::HEALTH.choose(global.write_out)?;
    let asked: Vec<_> = global
        .endpoints()
        .into_iter()
        .map(|endpoint| {
            let builder = global.builder([&endpoint]);
            tokio::spawn(ask(endpoint, builder))
        })
        .collect();
    let mut all = Vec::with_capacity(asked.len());
    for one in asked {
        all.push(
            one.await
                .map_err(std::io::Error::other)
                .map_err(Failure::System)?,
        );
    }
    output::write(|out| render(out, &all, global.hex))?;
    if all.iter().any(|health| health.error.is_some()) {
        return Err(Failure::Work("unhealthy cluster".to_owned()));
    }
    Ok(())
}

/// Asks one endpoint by a client of its own, so that no other can answer for it.
// etcdctl also calls a member with an alarm (NOSPACE, CORRUPT) unhealthy. The client cannot ask
// for alarms yet.
async fn ask(endpoint: String, builder: Builder) -> Health {
    let began = Instant::now();
    let answer = match builder.connect().await {
        Ok(client) => client.get(KEY).await,
        Err(error) => Err(error),
    };
    let error = match answer {
        Ok(_) => None,
        // It takes a healthy member to say that this user may not read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => Some(error.to_string()),
    };
    Health {
        endpoint,
        took: began.elapsed(),
        error,
    }
}
