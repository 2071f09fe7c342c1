//! `tour`: what etcdex does on a real etcd, shown to a newcomer.

mod basics;
mod burst;
mod cable;
mod cut;
mod load;
mod page;
mod server;
mod witness;

use std::time::{Duration, Instant};

use etcdex::Client;

use self::cable::Cable;
use self::page::{Page, milliseconds};
use self::server::Server;
use crate::args::Global;
use crate::failure::{Failure, say};

/// How long the keys may take to go at the end.
const CLEARING: Duration = Duration::from_secs(3);
/// How long a put that was under way at an interrupt may need to show itself.
const STRAGGLER: Duration = Duration::from_millis(20);

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let mut ground = Ground::default();
    let mut page = Page::default();
    let outcome = tokio::select! {
        outcome = walk(global, &mut ground, &mut page) => outcome,
        () = interrupted() => Err(Failure::Interrupted),
    };
    // Whatever happened: first the keys go, then the server.
    let cleared = ground.clear(&mut page).await;
    // What cannot be written a second time is no news; keys that are left are.
    if let (Err(_), Err(Failure::Work(second))) = (&outcome, &cleared) {
        say("Warning", second);
    }
    outcome.and(cleared)
}

/// What the tour has to leave behind as it was.
#[derive(Default)]
struct Ground {
    server: Option<Server>,
    client: Option<Client>,
    prefix: String,
}

async fn walk(global: &Global, ground: &mut Ground, page: &mut Page) -> Result<(), Failure> {
    page.line("etcdex keeps keys and values in etcd. This is what it does, on a real one.")?;
    let server = &*ground.server.insert(Server::find(global, page).await?);
    ground.prefix = format!("etcdex-tour/{:016x}/", fastrand::u64(..));
    let prefix = &*ground.prefix;

    page.step("Connect")?;
    let began = Instant::now();
    let whole = global.builder(server.endpoints()).connect().await?;
    let took = milliseconds(began.elapsed());
    let what = server.version().await.unwrap_or_else(|| "etcd".to_owned());
    page.line(&format!(
        "connected in {took} to {what} at {}",
        server.endpoints().join(", ")
    ))?;
    page.line(&format!("all keys of this tour stand below {prefix}"))?;
    let client = &*ground.client.insert(whole.namespace(prefix));

    basics::keys(client, page).await?;
    basics::transactions(client, page).await?;
    basics::past(client, page).await?;
    basics::error(client, server.is_own(), page).await?;
    burst::run(client, page).await?;

    let cable = Cable::default();
    let builder = global.builder(server.endpoints()).connector(cable.clone());
    let cuttable = builder.connect().await?.namespace(prefix);
    cut::run(&cuttable, &cable, page).await
}

impl Ground {
    async fn clear(self, page: &mut Page) -> Result<(), Failure> {
        let Some(client) = self.client else {
            return Ok(());
        };
        let own = self.server.as_ref().is_some_and(Server::is_own);
        let deleted = match delete_all(&client).await {
            Ok(deleted) => deleted,
            // They go with its etcd.
            Err(_) if own => 0,
            Err(error) => {
                let text = format!("keys may be left below {}: {error}", self.prefix);
                return Err(Failure::Work(text));
            }
        };
        // Kills the tour's own.
        drop(self.server);
        page.step("Leave all as it was")?;
        page.line(&format!(
            "deleted the {} keys of this tour",
            page::thousands(deleted)
        ))?;
        if own {
            page.line("stopped its etcd and removed its folder")?;
        }
        Ok(())
    }
}

/// Deletes until nothing is left: what was under way when the tour was interrupted may come
/// after the first time.
async fn delete_all(client: &Client) -> Result<u64, etcdex::Error> {
    let mut all = 0;
    loop {
        let deleted = client.delete("").prefix().timeout(CLEARING).await?.deleted;
        all += deleted;
        if deleted == 0 {
            return Ok(all);
        }
        tokio::time::sleep(STRAGGLER).await;
    }
}

/// Ctrl-C, or the system's request to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
