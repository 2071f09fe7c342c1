//! A thousand watches of one watcher, whose connection is cut repeatedly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcdex::watch::WatchRef;
use etcdex::{Client, WatchMessage};
use etcdex_testkit::Proxy;

use super::message;
use crate::stage::{each_alone, seed};

const WATCHES: usize = 1_000;
const WRITES: usize = 3_000;

#[tokio::test]
async fn each_watch_delivers_exactly_the_history_of_its_key() {
    each_alone(&[], |etcd| async move {
        let mut rng = fastrand::Rng::with_seed(seed());
        let direct = crate::stage::connect(&etcd).await;
        let proxy = Arc::new(Proxy::start(etcd.client_address()).await.unwrap());
        let client = Client::connect(proxy.endpoint()).await.unwrap();
        let mut watcher = client.watcher();
        let starts: Vec<_> = (0..WATCHES)
            .map(|number| tokio::spawn(watcher.watch(format!("k{number}")).no_timeout()))
            .collect();
        let mut names = HashMap::<WatchRef, usize>::new();
        for (number, start) in starts.into_iter().enumerate() {
            names.insert(start.await.unwrap().unwrap(), number);
        }
        let over = Arc::new(AtomicBool::new(false));
        let cuts = tokio::spawn({
            let (proxy, over) = (Arc::clone(&proxy), Arc::clone(&over));
            let mut rng = rng.fork();
            async move {
                let mut cuts = 0;
                while !over.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(rng.u64(20..200))).await;
                    if rng.bool() {
                        proxy.reset();
                    } else {
                        proxy.cut();
                    }
                    cuts += 1;
                }
                cuts
            }
        });
        let writes = tokio::spawn(async move {
            let mut history = vec![Vec::new(); WATCHES];
            for _ in 0..WRITES {
                let number = rng.usize(..WATCHES);
                let put = direct.put(format!("k{number}"), "v").await.unwrap();
                history[number].push(put.header.revision);
            }
            history
        });
        let mut told = vec![Vec::new(); WATCHES];
        let (mut count, mut resumed) = (0, 0);
        while count < WRITES {
            match message(&mut watcher).await {
                WatchMessage::Notify { watch, batch, .. } => {
                    let revisions = batch.events.iter().map(|event| event.kv.mod_revision);
                    told[names[&watch]].extend(revisions);
                    count += batch.events.len();
                }
                WatchMessage::Cancelled { end, .. } => panic!("{end}"),
                WatchMessage::Resumed { .. } => resumed += 1,
                _ => {}
            }
        }
        over.store(true, Ordering::Relaxed);
        let cuts = cuts.await.unwrap();
        assert_eq!(told, writes.await.unwrap());
        println!("{}: {cuts} cuts, resumed {resumed} times", etcd.version());
        assert!(cuts > 2 && resumed > 0);
    })
    .await;
}
