//! The servers of a killed test process.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use etcdex_testkit::{Etcd, until};

use crate::{is_alive, newest};

const MARK: &str = "started etcd with pids ";

#[tokio::test]
async fn servers_die_with_a_killed_test_process() {
    if newest().is_none() {
        return;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orphans::a_process_to_be_killed"])
        .args(["--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(process.stdout.take().unwrap());
    let told = told
        .lines()
        .find_map(|line| Some(line.unwrap().split_once(MARK)?.1.to_owned()))
        .expect("the process prints the pids");
    let (pids, data) = told.split_once(" in ").unwrap();
    let data = Path::new(data);
    let pids: Vec<u32> = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
    let [gone, left, paused] = pids[..] else {
        panic!("three servers");
    };
    assert!(!is_alive(gone) && is_alive(left) && is_alive(paused) && data.exists());
    process.kill().unwrap();
    process.wait().unwrap();
    until("the servers end", || !is_alive(left) && !is_alive(paused)).await;
    until("their data is removed", || !data.exists()).await;
}

#[tokio::test]
#[ignore = "run by servers_die_with_a_killed_test_process"]
async fn a_process_to_be_killed() {
    let binary = newest().unwrap();
    let gone = Etcd::start(&binary).await.unwrap();
    let left = Etcd::start(&binary).await.unwrap();
    let paused = Etcd::start(&binary).await.unwrap();
    let pids = [&gone, &left, &paused].map(|one| one.pid().unwrap());
    gone.kill();
    paused.pause().unwrap();
    let data = left.data_dir();
    let [first, second, third] = pids;
    println!("{MARK}{first} {second} {third} in {}", data.display());
    // This process ends by itself if the other test does not kill it.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
}
