//! Runs of the command `chaos`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::newest;

fn chaos(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    let parts = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(parts).unwrap()
}

#[test]
fn a_run_is_judged_and_recorded_and_can_be_judged_again() {
    let Some(binary) = newest() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let version = binary.version().to_string();
    let run = chaos(&[
        "watch",
        "--minutes=0.05",
        "--profile=cuts",
        "--seed=7",
        "--etcd",
        &version,
        "--out",
        folder,
    ]);
    let text = told(&run);
    assert_eq!(run.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("seed 7\n") && text.ends_with("seed 7\n"),
        "{text}"
    );
    for part in [
        "faults: ",
        "events delivered: ",
        "longest gap: ",
        "violations: 0\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let check = chaos(&["check", folder]);
    assert_eq!(check.status.code(), Some(0), "{}", told(&check));

    // The recordings of the clients without one of the batches.
    let file = Path::new(folder).join("watches.jsonl");
    let recorded = fs::read_to_string(&file).unwrap();
    let is_batch = |line: &&str| line.contains("\"Batch\"");
    let lost = recorded.lines().filter(is_batch).nth(50).unwrap();
    fs::write(&file, recorded.replacen(&format!("{lost}\n"), "", 1)).unwrap();
    let check = chaos(&["check", folder]);
    let text = told(&check);
    assert_eq!(check.status.code(), Some(1), "{text}");
    assert!(text.contains("violation: Reliable"), "{text}");
}

#[test]
fn calls_are_judged_and_recorded_and_can_be_judged_again() {
    let files = ["history.jsonl", "calls.jsonl", "faults.jsonl"];
    let parts = ["pick-first: ", "longest time without a good answer:"];
    let Some(folder) = a_run_in_scenes("calls", &files, &parts) else {
        return;
    };
    // A write was acknowledged at a revision that it did not make.
    let broken = |line: &str| {
        let (before, after) = line.split_once("\"Written\":{\"revision\":")?;
        Some(format!("{before}\"Written\":{{\"revision\":9{after}"))
    };
    break_one(&folder.path().join("calls.jsonl"), broken);
    is_broken(folder.path(), "violation: Missing");
}

#[test]
fn leases_and_locks_are_judged_and_recorded_and_can_be_judged_again() {
    let files = [
        "history.jsonl",
        "leases.jsonl",
        "grants.jsonl",
        "turns.jsonl",
    ];
    let parts = ["leases: ", "locks: ", "the servers' own: 0"];
    let Some(folder) = a_run_in_scenes("leases", &files, &parts) else {
        return;
    };
    // The holder of a lock has written long after it gave the lock back.
    let broken = |line: &str| {
        let (before, after) = line.split_once("\"fenced\":")?;
        let is_written = !after.starts_with("null");
        is_written.then(|| format!("{before}\"fenced\":9999{after}"))
    };
    break_one(&folder.path().join("grants.jsonl"), broken);
    is_broken(folder.path(), "violation: First");
    // A folder that lacks a file is not checked.
    fs::remove_file(folder.path().join("looks.jsonl")).unwrap();
    let check = chaos(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(2), "{}", told(&check));
}

/// Runs a workload for seconds, expects no violation, and judges the recorded run to the same again.
fn a_run_in_scenes(verb: &str, files: &[&str], parts: &[&str]) -> Option<TempDir> {
    let binary = newest()?;
    let folder = tempfile::tempdir().unwrap();
    let run = chaos(&[
        verb,
        "--minutes=0.1",
        "--profile=cuts",
        "--seed=7",
        "--etcd",
        &binary.version().to_string(),
        "--out",
        folder.path().to_str().unwrap(),
    ]);
    let text = told(&run);
    assert_eq!(run.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("seed 7\n") && text.ends_with("seed 7\n"),
        "{text}"
    );
    for part in ["faults: ", "violations: 0\n"].iter().chain(parts) {
        assert!(text.contains(part), "{text}");
    }
    for file in files {
        let recorded = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(recorded.lines().count() > 0, "{file}");
    }
    let check = chaos(&["check", folder.path().to_str().unwrap()]);
    let again = told(&check);
    assert_eq!(check.status.code(), Some(0), "{again}");
    assert!(
        again.starts_with("etcd ") && text.contains(&again),
        "{text}\nand again:\n{again}"
    );
    Some(folder)
}

/// Changes the first line of a file that can be changed so.
fn break_one(file: &Path, change: impl Fn(&str) -> Option<String>) {
    let recorded = fs::read_to_string(file).unwrap();
    let changed = |line| Some((line, change(line)?));
    let (line, changed) = recorded.lines().find_map(changed).unwrap();
    fs::write(file, recorded.replacen(line, &changed, 1)).unwrap();
}

fn is_broken(folder: &Path, violation: &str) {
    let check = chaos(&["check", folder.to_str().unwrap()]);
    let text = told(&check);
    assert_eq!(check.status.code(), Some(1), "{text}");
    assert!(text.contains(violation), "{text}");
}

#[test]
fn invalid_arguments_and_runs_that_cannot_be_done_exit_with_2() {
    let help = chaos(&["watch", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(told(&help).contains("--profile"));
    for arguments in [
        &["watch", "--nodes=2"][..],
        &["watch", "--minutes=0"],
        &["watch", "--etcd=0.0.1"],
        &["calls", "--profile=compaction"],
        &["leases", "--etcd=0.0.1"],
        &["check", "no/such/folder"],
        &[],
    ] {
        let output = chaos(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
