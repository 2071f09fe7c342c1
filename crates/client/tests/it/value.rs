//! Calls that return only the value of a key.

use etcdex::{ErrorKind, Outcome};

use crate::stage::{assert_refused, each};

#[tokio::test]
async fn texts_and_bytes() {
    each(|stage| async move {
        let inside = stage.inside();
        inside.put("text", "grün").await.unwrap();
        inside.put("empty", "").await.unwrap();
        inside.put("binary", [0, 159, 146, 150]).await.unwrap();

        let text = inside.get("text").string().await.unwrap();
        assert_eq!(text.as_deref(), Some("grün"));
        assert_eq!(
            inside.get("empty").string().await.unwrap().as_deref(),
            Some("")
        );
        assert_eq!(inside.get("none").string().await.unwrap(), None);
        assert_eq!(inside.get("none").bytes().await.unwrap(), None);
        let bytes = inside.get("binary").bytes().await.unwrap().unwrap();
        assert_eq!(bytes[..], [0, 159, 146, 150]);

        let error = inside.get("binary").string().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert_ne!(error.outcome(), Outcome::NotSent);
    })
    .await;
}

#[tokio::test]
async fn options_before_and_after() {
    each(|stage| async move {
        let inside = stage.inside();
        let old = inside.put("k", "old").await.unwrap().header.revision;
        inside.put("k", "new").await.unwrap();
        let get = inside.get("k").revision(old).string();
        assert_eq!(get.await.unwrap().as_deref(), Some("old"));
        let get = inside.get("k").serializable().string();
        assert_eq!(get.await.unwrap().as_deref(), Some("new"));
        assert_refused(inside.get("k").prefix().string().await);
        assert_refused(inside.get("k").all_keys().bytes().await);
    })
    .await;
}
