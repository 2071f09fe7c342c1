//! A tour for newcomers: shows what the client does.
//!
//! The tour is a program of its own. The command calls [`run`], and the tour uses nothing of the
//! command but [`Failure`]. The steps are in the order of [`steps`], one file for a subject.

mod basics;
mod burst;
mod connector;
mod cut;
mod load;
mod printer;
mod server;
mod watch_check;

use std::time::{Duration, Instant};

use etcdex::{Client, ClientBuilder};

use self::connector::CuttableConnector;
use self::printer::{Printer, milliseconds};
use self::server::Server;
use crate::failure::{Failure, say};
use crate::interrupt;

/// Time limit of a request that deletes the tour's keys.
const DELETE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before the tour looks again for keys. A put that was in flight at an interrupt may still
/// be applied.
const DELETE_PAUSE: Duration = Duration::from_millis(20);

/// Runs the tour on the endpoints; on a server of its own if there are none.
///
/// `builder` returns a builder for a client of the given endpoints. However the tour ends, it
/// deletes its keys and stops its server.
pub(crate) async fn run(
    endpoints: Vec<String>,
    builder: impl Fn(&[String]) -> ClientBuilder,
) -> Result<(), Failure> {
    let mut cleanup = Cleanup::default();
    let mut printer = Printer::default();
    let interrupted = interrupt::listen().map_err(Failure::System)?;
    let outcome = tokio::select! {
        outcome = steps(endpoints, builder, &mut cleanup, &mut printer) => outcome,
        () = interrupted => Err(Failure::Interrupted),
    };
    let cleaned = cleanup.run(&mut printer).await;
    // A second error of the output would repeat the first; keys that are left are news.
    if let (Err(_), Err(Failure::Other(left))) = (&outcome, &cleaned) {
        say("Warning", left);
    }
    outcome.and(cleaned)
}

async fn steps(
    endpoints: Vec<String>,
    builder: impl Fn(&[String]) -> ClientBuilder,
    cleanup: &mut Cleanup,
    printer: &mut Printer,
) -> Result<(), Failure> {
    printer.line("etcdex is a client for etcd. This tour shows what it does.")?;
    let server = match endpoints.is_empty() {
        true => Server::start(printer).await?,
        false => Server::given(endpoints),
    };
    let server = &*cleanup.server.insert(server);
    cleanup.prefix = format!("etcdex-tour/{:016x}/", fastrand::u64(..));
    let prefix = &*cleanup.prefix;

    printer.step("Connect")?;
    let began = Instant::now();
    let client = builder(server.endpoints()).connect().await?;
    let took = milliseconds(began.elapsed());
    let version = server.version().await.unwrap_or_else(|| "etcd".to_owned());
    printer.line(&format!(
        "connected in {took} to {version} at {}",
        server.endpoints().join(", ")
    ))?;
    printer.line(&format!("all keys of this tour are below {prefix}"))?;
    let client = &*cleanup.client.insert(client.namespace(prefix));

    basics::keys(client, printer).await?;
    basics::transactions(client, printer).await?;
    basics::history(client, printer).await?;
    basics::error(client, server.is_own(), printer).await?;
    burst::run(client, printer).await?;

    let connector = CuttableConnector::default();
    let cuttable = builder(server.endpoints()).connector(connector.clone());
    let cuttable = cuttable.connect().await?.namespace(prefix);
    cut::run(&cuttable, &connector, printer).await
}

/// Everything that the tour has to remove at its end.
#[derive(Default)]
struct Cleanup {
    server: Option<Server>,
    client: Option<Client>,
    prefix: String,
}

impl Cleanup {
    async fn run(self, printer: &mut Printer) -> Result<(), Failure> {
        let Some(client) = self.client else {
            return Ok(());
        };
        let own = self.server.as_ref().is_some_and(Server::is_own);
        let deleted = match delete_all(&client).await {
            Ok(deleted) => deleted,
            // The keys go with the tour's server.
            Err(_) if own => 0,
            Err(error) => {
                let text = format!("keys may be left below {}: {error}", self.prefix);
                return Err(Failure::Other(text));
            }
        };
        // ORDER: keys first, then the server, which this kills if the tour has started it.
        drop(self.server);
        printer.step("Clean up")?;
        printer.line(&format!(
            "deleted the {} keys of this tour",
            printer::thousands(deleted)
        ))?;
        if own {
            printer.line("stopped the tour's server")?;
        }
        Ok(())
    }
}

/// Deletes the tour's keys until a request finds none; returns how many there were.
async fn delete_all(client: &Client) -> Result<u64, etcdex::Error> {
    let mut all = 0;
    loop {
        let request = client.delete("").prefix().timeout(DELETE_TIMEOUT);
        let deleted = request.await?.deleted;
        all += deleted;
        if deleted == 0 {
            return Ok(all);
        }
        tokio::time::sleep(DELETE_PAUSE).await;
    }
}
