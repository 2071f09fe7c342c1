//! `serve`.

use etcdex_server::Server;

use crate::args::{Global, Serve};
use crate::failure::{Failure, say};
use crate::{interrupt, output};

pub(crate) async fn run(global: &Global, serve: Serve) -> Result<(), Failure> {
    if let Some(refusal) = serve.refusal() {
        return Err(Failure::Usage(refusal));
    }
    let address = serve.listen_client_urls;
    if !address.ip().is_loopback() {
        let text = format!(
            "everybody who reaches {address} can read and write all keys, unless users are enabled; nothing is encrypted"
        );
        say("Warning", &text);
    }
    // ORDER: signals are caught before the line is printed that says that the server serves.
    let interrupted = interrupt::listen().map_err(Failure::System)?;
    let server = start(global, serve).await.map_err(|error| {
        let text = format!("cannot listen on {address}: {error}");
        Failure::Other(text)
    })?;
    output::write(|out| writeln!(out, "ready: {}", server.client_url()))?;
    interrupted.await;
    drop(server);
    Ok(())
}

async fn start(global: &Global, serve: Serve) -> std::io::Result<Server> {
    let mut builder = Server::builder()
        .listen(serve.listen_client_urls)
        .name(serve.name)
        .max_txn_ops(serve.max_txn_ops)
        .auth_token_ttl(std::time::Duration::from_secs(serve.auth_token_ttl.into()))
        .min_lease_ttl(serve.min_lease_ttl)
        .watch_progress_notify_interval(serve.watch_progress_notify_interval);
    if let Some(url) = serve.advertise_client_urls {
        builder = builder.advertise_client_url(url);
    }
    if serve.quota_backend_bytes > 0 {
        builder = builder.quota_backend_bytes(serve.quota_backend_bytes);
    }
    if global.max_request_bytes > 0 {
        builder = builder.max_request_bytes(global.max_request_bytes);
    }
    builder.start().await
}
