//! Calls as ordinary futures.

use std::future::IntoFuture;
use std::pin::pin;
use std::time::Duration;

use etcdex::kv::{Compact, DeleteResponse, GetResponse, List, PutResponse, ValueOf};
use etcdex::txn::{PutIfAbsent, Swap, Swapped, TxnResponse};
use etcdex::{Call, Client, Delete, Endpoint, Error, Get, Key, KeyValue, Put, Txn, Value};
use tokio::task::JoinSet;

use crate::stage::each;

const fn is_sendable<T: Send + 'static>() {}
const fn is_shareable<T: Clone + Send + Sync + 'static>() {}
const fn is_future<T: Future<Output = Result<O, Error>> + IntoFuture + Send + 'static, O>() {}

const _: () = {
    is_shareable::<Client>();
    is_shareable::<etcdex::ClientBuilder>();
    is_shareable::<Endpoint>();
    is_shareable::<Key>();
    is_shareable::<Value>();
    is_shareable::<KeyValue>();
    is_shareable::<GetResponse>();
    is_shareable::<PutResponse>();
    is_shareable::<DeleteResponse>();
    is_shareable::<TxnResponse>();
    is_shareable::<Swapped>();
    is_shareable::<Txn>();
    is_sendable::<Error>();
    is_sendable::<List>();
    is_future::<Call<Get>, GetResponse>();
    is_future::<Call<Put>, PutResponse>();
    is_future::<Call<Delete>, DeleteResponse>();
    is_future::<Call<Txn>, TxnResponse>();
    is_future::<Call<Swap>, Swapped>();
    is_future::<Call<PutIfAbsent>, Swapped>();
    is_future::<Call<Compact>, etcdex::kv::CompactResponse>();
    is_future::<Call<ValueOf<String>>, Option<String>>();
};

#[tokio::test]
async fn spawned_joined_and_selected() {
    each(|stage| async move {
        let inside = stage.inside();
        // The arguments of a call may be dropped before the call is sent.
        let call = {
            let (client, key) = (inside.clone(), String::from("spawned"));
            client.put(&key, String::from("1"))
        };
        tokio::spawn(call).await.unwrap().unwrap();

        let mut set = JoinSet::new();
        for number in 0..20 {
            set.spawn(inside.put(format!("set{number}"), "1").into_future());
        }
        while let Some(put) = set.join_next().await {
            put.unwrap().unwrap();
        }
        assert_eq!(inside.get("set").prefix().await.unwrap().count, 20);

        let (one, other) = tokio::join!(inside.put("a", "1"), inside.put("b", "2"));
        assert_ne!(one.unwrap().header.revision, other.unwrap().header.revision);
        let pair = tokio::try_join!(inside.get("a").string(), inside.get("b").string());
        assert_eq!(pair.unwrap(), (Some("1".into()), Some("2".into())));

        // One call ends, and the other is dropped under way.
        tokio::select! {
            get = inside.get("a") => assert_eq!(get.unwrap().count, 1),
            get = inside.get("b") => assert_eq!(get.unwrap().count, 1),
        }
        // Awaited by reference, so that the call goes on after the time-out.
        let mut call = pin!(inside.get("a").string());
        let get = loop {
            if let Ok(get) = tokio::time::timeout(Duration::from_micros(50), &mut call).await {
                break get.unwrap();
            }
        };
        assert_eq!(get.as_deref(), Some("1"));
    })
    .await;
}

/// Nothing is sent before the first poll.
#[tokio::test]
async fn a_call_that_is_not_awaited_does_nothing() {
    each(|stage| async move {
        let inside = stage.inside();
        drop(inside.put("dropped", "1"));
        let late = inside.put("late", "1");
        assert_eq!(inside.get("").all_keys().await.unwrap().count, 0);
        late.await.unwrap();
        assert_eq!(inside.get("").all_keys().await.unwrap().count, 1);
    })
    .await;
}

/// A client outlives the handle that it was made from, and many handles share a connection.
#[tokio::test]
async fn handles() {
    each(|stage| async move {
        let inside = stage.inside();
        let slow = inside.with_timeout(Duration::from_secs(60));
        let patient = slow.no_timeout();
        let leader = patient.require_leader(true);
        let member = leader.with_endpoint(stage.etcd.endpoint()).unwrap();
        for (number, client) in [&slow, &patient, &leader, &member].into_iter().enumerate() {
            client.put(number.to_string(), "1").await.unwrap();
        }
        assert_eq!(member.get("").all_keys().await.unwrap().count, 4);
        let endpoints: Vec<String> = member
            .endpoints()
            .iter()
            .map(|e| e.url().to_owned())
            .collect();
        assert_eq!(endpoints, [stage.etcd.endpoint()]);
        assert!(inside.with_endpoint("http://127.0.0.1:1").is_err());

        assert!(member.close(Duration::from_secs(5)).await.is_clean());
        let error = inside.get("0").await.unwrap_err();
        assert_eq!(error.kind(), etcdex::ErrorKind::Closed);
        assert_eq!(error.outcome(), etcdex::Outcome::NotSent);
    })
    .await;
}
