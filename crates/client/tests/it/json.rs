//! Values as JSON.

#![cfg(feature = "serde")]

use std::collections::BTreeMap;
use std::error::Error as _;

use etcdex::{ErrorKind, Value};

use crate::stage::{assert_refused, each};

type Ages = BTreeMap<String, u32>;

#[tokio::test]
async fn a_value_is_written_and_read_as_json() {
    each(|stage| async move {
        let inside = stage.inside();
        let ages: Ages = [("Ada", 36), ("Grace", 85)]
            .map(|(name, age)| (name.to_owned(), age))
            .into();
        let value = Value::json(&ages).unwrap();
        inside.put("ages", value).await.unwrap();
        let text = inside.get("ages").string().await.unwrap();
        assert_eq!(text.as_deref(), Some(r#"{"Ada":36,"Grace":85}"#));
        let read = inside.get("ages").json::<Ages>().await.unwrap();
        assert_eq!(read, Some(ages));
        assert_eq!(inside.get("none").json::<Ages>().await.unwrap(), None);
        assert_refused(inside.get("ages").prefix().json::<Ages>().await);
    })
    .await;
}

#[tokio::test]
async fn the_error_of_another_type_does_not_quote_the_value() {
    each(|stage| async move {
        let inside = stage.inside();
        inside.put("ages", r#"{"Ada":"hush"}"#).await.unwrap();
        let error = inside.get("ages").json::<Ages>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let source = error.source().unwrap();
        let texts = format!("{error} {error:?} {source} {source:?}");
        assert!(!texts.contains("hush") && !texts.contains("Ada"), "{texts}");
    })
    .await;
}
