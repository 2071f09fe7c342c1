//! Several endpoints, TLS with an authority of one's own, a user and a password.
//!
//! `cargo run --features tls --example cluster_with_tls -- https://10.0.0.1:2379,https://10.0.0.2:2379 ca.pem root secret`

use etcdex::{Client, Mode, TlsConfig};

#[tokio::main]
async fn main() -> Result<(), etcdex::Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, ca, user, password] = &arguments[..] else {
        println!("usage: cluster_with_tls ENDPOINTS CA-FILE USER PASSWORD");
        return Ok(());
    };
    run(endpoints, ca, user, password).await
}

pub(crate) async fn run(
    endpoints: &str,
    ca: &str,
    user: &str,
    password: &str,
) -> Result<(), etcdex::Error> {
    let client = Client::builder()
        .endpoints(endpoints.split(','))
        // Calls go to the member that has the fewest under way.
        .mode(Mode::ConnectAll)
        .tls(TlsConfig::new().ca_file(ca))
        .credentials(user, password)
        .connect()
        .await?;
    for endpoint in client.status().endpoints {
        println!("{}: {:?}", endpoint.endpoint, endpoint.state);
    }
    for member in client.list_members().await?.members {
        println!("{} serves at {:?}", member.name, member.client_urls);
    }
    client.put("greeting", "hello").await?;
    println!("greeting is {:?}", client.get("greeting").string().await?);
    Ok(())
}
