use std::fmt::{Debug, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::Tls;
use crate::{Client, Endpoint, TlsConfig};

/// The text of every event.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl Visit for Text<'_> {
            fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
                let _ = write!(self.0, "{value:?} ");
            }
        }
        event.record(&mut Text(&mut self.0.lock().expect("no panic")));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A certificate that signs itself, and its key.
fn pair() -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["etcd.test".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("it is signed");
    (certificate.pem(), key.serialize_pem())
}

fn tls(config: TlsConfig) -> Arc<Tls> {
    let config = Client::builder().endpoint("https://etcd.test").tls(config);
    let config = config.into_config().expect("the options are fine");
    let tls = Tls::of(&config).expect("the files are fine");
    Arc::new(tls.expect("the endpoint is https"))
}

/// Returns what a check of the files logs, and whether it led to a new configuration.
fn renewed(tls: &Tls) -> (String, bool) {
    let told = Told::default();
    let before = Arc::clone(&tls.current.lock().rustls);
    tracing::subscriber::with_default(told.clone(), || tls.renew());
    let text = told.0.lock().expect("no panic").clone();
    (text, !Arc::ptr_eq(&before, &tls.current.lock().rustls))
}

#[test]
fn what_cannot_be_used_is_said_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let write = |path: &Path, text: &str| fs::write(path, text).expect("it can be written");
    let (certificate, key) = (file("certificate"), file("key"));
    let (old, new) = (pair(), pair());
    write(&certificate, &old.0);
    write(&key, &old.1);
    let config = TlsConfig::new().ca(old.0.clone());
    let tls = tls(config.client_certificate_files(&certificate, &key));
    assert_eq!(renewed(&tls), (String::new(), false));

    write(&certificate, &format!("{}\n", new.0));
    for _ in 0..2 {
        let (text, changed) = renewed(&tls);
        assert!(text.contains("the old ones are kept"), "{text}");
        assert!(text.contains("does not belong to"), "{text}");
        assert!(!changed);
    }
    write(&key, &format!("{}\n", new.1));
    let (text, changed) = renewed(&tls);
    assert!(text.contains("read anew"), "{text}");
    assert!(changed);
    assert_eq!(renewed(&tls), (String::new(), false));
}

#[test]
fn hosts_that_a_certificate_can_be_for() {
    let tls = tls(TlsConfig::new().ca(pair().0));
    let name = |url: &str| {
        let endpoint: Endpoint = url.parse().expect("an endpoint");
        let name = tls.name_of(&endpoint).map_err(|error| error.to_string())?;
        Ok::<_, String>(name.to_str().into_owned())
    };
    assert_eq!(name("https://[::1]:1").as_deref(), Ok("::1"));
    assert_eq!(name("https://10.0.0.1").as_deref(), Ok("10.0.0.1"));
    assert_eq!(name("https://etcd_0.etcd").as_deref(), Ok("etcd_0.etcd"));
    let error = name("https://exa$mple").expect_err("no name");
    assert!(error.contains("server_name"), "{error}");
}
