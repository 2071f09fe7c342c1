//! No text of the client has keys or values.

use std::error::Error as StdError;
use std::fmt::Debug;

use etcdex::kv::SortTarget;
use etcdex::{Client, Compare, Delete, Error, Get, Put, Txn};

use crate::stage::each;

/// Key and value begin with the same four letters, and so do their hexadecimal and base64 forms.
const KEY: &str = "hushkey/";
const VALUE: &str = "hushvalue";

/// Counts texts, and searches each.
#[derive(Default)]
struct Texts(usize);

impl Texts {
    fn look(&mut self, text: &str) {
        self.0 += 1;
        let bytes = |secret: &str| format!("{:?}", &secret.as_bytes()[..4]);
        for secret in [
            "hush",
            "68757368",
            "aHVza",
            bytes("hush").trim_matches(['[', ']']),
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    fn debug(&mut self, thing: &impl Debug) {
        self.look(&format!("{thing:?}"));
        self.look(&format!("{thing:#?}"));
    }

    fn error(&mut self, error: &Error) {
        self.debug(error);
        let mut source: Option<&dyn StdError> = Some(error);
        while let Some(cause) = source {
            self.look(&format!("{cause} {cause:?}"));
            source = cause.source();
        }
    }

    fn reply<T: Debug>(&mut self, reply: Result<T, Error>) {
        match reply {
            Ok(reply) => self.debug(&reply),
            Err(error) => self.error(&error),
        }
    }
}

#[tokio::test]
async fn no_text_has_keys_or_values() {
    each(|stage| async move {
        let mut texts = Texts::default();
        let client = Client::builder()
            .endpoint(stage.etcd.endpoint())
            .namespace(format!("{}{KEY}", stage.prefix));
        texts.debug(&client);
        let client = client.connect().await.unwrap();
        texts.debug(&client);
        let client = client.namespace(KEY);
        texts.debug(&client);

        // Requests.
        let compare = Compare::value(KEY).equal(VALUE).range_end("hush0");
        texts.debug(&Compare::value(KEY));
        texts.debug(&Compare::version(KEY));
        texts.debug(&compare);
        let put = || Put::new(KEY, VALUE).prev_kv();
        let get = || Get::new(KEY).range_end("hush0").last(SortTarget::Value);
        let delete = || Delete::new(KEY).range_end("hush0").prev_kv();
        let txn = Txn::new().when(compare).then(put()).otherwise(get());
        let txn = txn.otherwise(Txn::new().then(delete()).then(put()));
        texts.debug(&put());
        texts.debug(&get());
        texts.debug(&delete());
        texts.debug(&txn);
        texts.debug(&client.put(KEY, VALUE));
        texts.debug(&client.get(KEY).string());
        texts.debug(&client.run(txn.clone()));
        texts.debug(&client.swap(KEY, VALUE).if_value(VALUE));
        texts.debug(&client.put_if_absent(KEY, VALUE));
        texts.debug(&etcdex::Key::from(KEY));
        texts.debug(&etcdex::Value::from(VALUE));

        // Replies.
        for _ in 0..2 {
            texts.reply(client.run(put()).await);
            texts.reply(client.put_if_absent(KEY, VALUE).await);
            texts.reply(client.swap(KEY, VALUE).if_value("other").await);
            texts.reply(client.run(get()).await);
            let mut list = client.list(KEY);
            texts.debug(&list);
            texts.reply(list.try_next().await);
            texts.debug(&list);
            texts.reply(client.run(txn.clone()).await);
            texts.reply(client.txn().then(get()).then(delete()).await);
        }

        // Errors of the client and of the server.
        client.put(KEY, b"hush\xff").await.unwrap();
        texts.error(&client.get(KEY).string().await.unwrap_err());
        texts.error(&client.put(KEY, VALUE).ignore_value().await.unwrap_err());
        texts.error(&client.put(KEY, VALUE.repeat(200_000)).await.unwrap_err());
        texts.error(&client.put(KEY, VALUE.repeat(900_000)).await.unwrap_err());
        let twice = client.txn().then(put()).then(put()).await.unwrap_err();
        texts.error(&twice);
        let absent = client.put("hush/none", VALUE).ignore_lease();
        texts.error(&absent.await.unwrap_err());
        let late = client.put(KEY, VALUE).timeout(std::time::Duration::ZERO);
        texts.error(&late.await.unwrap_err());
        assert!(texts.0 > 80, "{}", texts.0);
    })
    .await;
}
