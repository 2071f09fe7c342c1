//! Large ranges, page by page.

use etcdex::kv::List;
use etcdex::{Client, Error, ErrorKind, KeyValue, Put, Txn};

use crate::stage::{each, keys, values};

async fn collect(list: &mut List) -> Result<Vec<KeyValue>, Error> {
    let mut all = Vec::new();
    while let Some(kv) = list.try_next().await? {
        all.push(kv);
    }
    Ok(all)
}

/// Puts `count` keys, a hundred in each transaction.
async fn fill(client: &Client, count: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for hundred in numbers.chunks(100) {
        let puts = hundred
            .iter()
            .map(|number| Put::new(format!("k{number:05}"), number.to_string()));
        client.run(puts.fold(Txn::new(), Txn::then)).await.unwrap();
    }
}

#[tokio::test]
async fn ranges_and_limits_of_a_list() {
    each(|stage| async move {
        let inside = stage.inside();
        for key in ["a", "b", "c", "d", "e"] {
            inside.put(key, "v").await.unwrap();
        }
        let got = async |list: List| {
            let all = collect(&mut list.page(2)).await.unwrap();
            keys(&all).concat()
        };
        assert_eq!(got(inside.list("b").range_end("d")).await, "bc");
        assert_eq!(got(inside.list("c").from_key()).await, "cde");
        assert_eq!(got(inside.list("c")).await, "c");
        for (limit, expected) in [(1, "a"), (2, "ab"), (3, "abc"), (5, "abcde"), (9, "abcde")] {
            assert_eq!(got(inside.list("").limit(limit)).await, expected);
        }
        assert_eq!(got(inside.list("").limit(0)).await, "abcde");
        assert_eq!(got(inside.list("b").range_end("e").limit(2)).await, "bc");
        let mut nothing = inside.list("").range_end("b");
        let error = collect(&mut nothing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    })
    .await;
}

#[tokio::test]
async fn many_keys_in_pages_of_any_size() {
    each(|stage| async move {
        let inside = stage.inside();
        fill(&inside, 2_600).await;
        inside.put("j", "before").await.unwrap();
        inside.put("l", "behind").await.unwrap();
        let whole = inside.get("k").prefix().await.unwrap();
        assert_eq!(whole.kvs.len(), 2_600);

        // Full pages, and a smaller last page.
        for page in [97, 1_000, 1_300, 2_599, 2_600, 2_601] {
            let mut list = inside.list("k").page(page);
            assert!(list.header().is_none());
            assert!(
                collect(&mut list).await.unwrap() == whole.kvs,
                "page {page}"
            );
            let header = list.header().unwrap();
            assert!(header.revision >= whole.header.revision);
            assert_eq!(header.cluster_id, whole.header.cluster_id);
        }
        let mut list = inside.list("k");
        assert!(collect(&mut list).await.unwrap() == whole.kvs);
        let mut list = inside.list("k").keys_only().serializable();
        let found = collect(&mut list).await.unwrap();
        assert!(keys(&found) == keys(&whole.kvs));
        assert!(found.iter().all(|kv| kv.value.is_empty()));
        // Without a namespace, and all of a namespace.
        let mut list = stage.client.list(stage.key("k")).page(500);
        let found = collect(&mut list).await.unwrap();
        assert_eq!(found.len(), 2_600);
        assert_eq!(found[7].key_str(), Some(&*stage.key("k00007")));
        let mut list = inside.list("");
        assert_eq!(collect(&mut list).await.unwrap().len(), 2_602);
    })
    .await;
}

#[tokio::test]
async fn short_lists() {
    each(|stage| async move {
        let inside = stage.inside();
        let mut list = inside.list("");
        assert!(list.try_next().await.unwrap().is_none());
        assert!(
            list.header().is_some(),
            "an empty range has a revision, too"
        );
        for key in [&b"k"[..], b"k\0", b"k\0\0", b"k\xff", b"k\xff\xff", b"l"] {
            inside.put(key, "").await.unwrap();
        }
        for page in [0, 1, 2, 3, 5] {
            let mut list = inside.list("k").page(page);
            let found = collect(&mut list).await.unwrap();
            let found: Vec<&[u8]> = found.iter().map(|kv| &kv.key[..]).collect();
            let expected = [&b"k"[..], b"k\0", b"k\0\0", b"k\xff", b"k\xff\xff"];
            assert_eq!(found, expected, "page {page}");
        }
        let mut list = inside.list(b"k\xff").page(1);
        assert_eq!(collect(&mut list).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn all_pages_are_of_one_revision() {
    each(|stage| async move {
        let inside = stage.inside();
        fill(&inside, 300).await;
        let before = inside.get("k").prefix().await.unwrap();
        let mut list = inside.list("k").page(50);
        let mut found = vec![list.try_next().await.unwrap().unwrap()];
        // The first page has determined the revision. Keys change between all further pages.
        let mut round = 0;
        while let Some(kv) = list.try_next().await.unwrap() {
            if found.len() % 50 == 0 {
                round += 1;
                let put = inside.put(format!("k{:05}x", found.len() + 60), "new");
                put.await.unwrap();
                let late = format!("k{:05}", 300 - round);
                inside.delete(&late).await.unwrap();
                let early = format!("k{:05}", 200 + round);
                inside.put(&early, "changed").await.unwrap();
            }
            found.push(kv);
        }
        assert!(found == before.kvs);
        assert!(round >= 5);
    })
    .await;
}

#[tokio::test]
async fn a_list_of_an_old_revision() {
    each(|stage| async move {
        let inside = stage.inside();
        for key in ["a", "b", "c"] {
            inside.put(key, "old").await.unwrap();
        }
        let old = inside.get("a").await.unwrap().header.revision;
        inside.delete("b").await.unwrap();
        inside.put("c", "new").await.unwrap();
        let mut list = inside.list("").revision(old).page(2);
        let found = collect(&mut list).await.unwrap();
        assert_eq!(keys(&found), ["a", "b", "c"]);
        assert_eq!(values(&found), ["old", "old", "old"]);
    })
    .await;
}

/// As [`List::header`] says, a watch that continues the list starts at the next revision.
#[tokio::test]
async fn the_header_of_an_old_revision() {
    each(|stage| async move {
        let inside = stage.inside();
        let old = inside.put("a", "old").await.unwrap().header.revision;
        inside.put("a", "new").await.unwrap();
        let mut list = inside.list("").revision(old);
        collect(&mut list).await.unwrap();
        assert_eq!(list.header().unwrap().revision, old);
    })
    .await;
}

#[tokio::test]
async fn a_page_that_is_too_large_is_read_in_smaller_ones() {
    each(|stage| async move {
        let client = Client::builder()
            .endpoint(stage.etcd.endpoint())
            .namespace(stage.prefix.as_str())
            .max_receive_size(64 << 10)
            .connect()
            .await
            .unwrap();
        for number in 0..20 {
            let key = format!("k{number:02}");
            client.put(key, vec![number; 10 << 10]).await.unwrap();
        }
        let error = client.get("k").prefix().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
        let mut list = client.list("k");
        let found = collect(&mut list).await.unwrap();
        assert_eq!(found.len(), 20);
        for (number, kv) in (0..).zip(&found) {
            assert_eq!(kv.value[..], [number; 10 << 10]);
        }

        // A single pair that is too large ends the list.
        let huge = vec![0; 70 << 10];
        client.put("k055", huge).await.unwrap();
        let mut list = client.list("k");
        let mut count = 0;
        let error = loop {
            match list.try_next().await {
                Ok(kv) => count += usize::from(kv.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
        assert_eq!(count, 6, "the pairs before it were returned");
        assert!(list.try_next().await.unwrap().is_none());
    })
    .await;
}
