//! `serve`.

use std::path::Path;

use etcdex_server::{Server, TlsConfig};

use tracing::level_filters::LevelFilter;

use crate::args::{Global, LogLevel, Serve, ServeTls};
use crate::failure::{Failure, say};
use crate::{interrupt, log, output};

pub(crate) async fn run(global: &Global, serve: Serve) -> Result<(), Failure> {
    if let Some(refusal) = serve.refusal() {
        return Err(Failure::Usage(refusal));
    }
    let url = serve.listen_client_urls;
    let address = url.address;
    let tls = tls(&serve.tls)?;
    if !address.ip().is_loopback() {
        let encryption = if url.is_secure {
            ""
        } else {
            "; nothing is encrypted"
        };
        let text = format!(
            "everybody who reaches {address} can read and write all keys, unless users are enabled{encryption}"
        );
        if serve.tls.trusted_ca_file.is_none() {
            say("Warning", &text);
        }
    }
    log::print(match serve.log_level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Panic | LogLevel::Fatal => LevelFilter::ERROR,
    });
    // ORDER: signals are caught before the line is printed that says that the server serves.
    let interrupted = interrupt::listen().map_err(Failure::System)?;
    let server = start(global, serve, tls).await?;
    output::write(|out| writeln!(out, "ready: {}", server.client_url()))?;
    interrupted.await;
    drop(server);
    Ok(())
}

async fn start(global: &Global, serve: Serve, tls: Option<TlsConfig>) -> Result<Server, Failure> {
    let address = serve.listen_client_urls.address;
    let kept = serve.auto_compaction().map_err(Failure::Usage)?;
    let mut builder = Server::builder()
        .listen(address)
        .auto_compaction(kept)
        .max_concurrent_streams(serve.max_concurrent_streams)
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
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    builder.start().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => Failure::Usage(error.to_string()),
        _ => Failure::Other(format!("cannot listen on {address}: {error}")),
    })
}

/// Reads the certificates of the server, if it is to have any.
fn tls(args: &ServeTls) -> Result<Option<TlsConfig>, Failure> {
    let (Some(certificate), Some(key)) = (&args.cert_file, &args.key_file) else {
        return Ok(None);
    };
    let read = |flag: &str, file: &Path| {
        std::fs::read(file).map_err(|error| {
            let text = format!("{flag} '{}': {error}", file.display());
            Failure::Usage(text)
        })
    };
    let mut tls = TlsConfig::new(read("--cert-file", certificate)?, read("--key-file", key)?);
    if let Some(authorities) = &args.trusted_ca_file {
        tls = tls.client_ca(read("--trusted-ca-file", authorities)?);
    }
    if args.client_cert_auth {
        tls = tls.client_cert_auth();
    }
    Ok(Some(tls))
}
