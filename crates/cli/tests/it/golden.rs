//! The same arguments give the same output and exit code as with etcdctl.

use etcdex_testkit::Etcd;

use crate::process::{Ended, etcdctl_on, etcdex, etcdex_on, feed, newest, start};

const FORMATS: [&[&str]; 6] = [
    &[],
    &["-w", "simple", "--hex"],
    &["--write-out=json"],
    &["-w", "json", "--hex=true"],
    &["-w", "fields"],
    &["-wfields", "--hex"],
];

/// Writes the keys that the reads below find.
const STOCK: &[&[&str]] = &[
    &["put", "a", "1"],
    &["put", "b", "3"],
    &["put", "a/1", "2"],
    &["put", "a/2", ""],
    &["put", "a", "9"],
    &["put", "a/3", "1"],
    &["put", "a/1", "again"],
    &[
        "put",
        "c",
        "\u{1}\u{7f}\"\\'\n\té中🎉\u{301}<>&\u{2028}\u{a0}\u{ad}",
    ],
    &["put", "--", "-dash", "-value"],
    &["put", "gone", "x"],
    &["del", "gone"],
    &["put", "zz", "last"],
];

const READS: &[&[&str]] = &[
    &["get", "a"],
    &["get", "nothing"],
    &["get", "a", "b"],
    &["get", "a", ""],
    &["get", "b", "a"],
    &["get", "a", "--prefix"],
    &["get", "a/", "--prefix=true"],
    &["get", "a/", "--prefix=false"],
    &["get", "", "--prefix"],
    &["get", "", "--from-key"],
    &["get", "b", "--from-key"],
    &["get", "c"],
    &["get", "--", "-dash"],
    &["get", "", "--prefix", "--keys-only"],
    &["get", "", "--prefix", "--limit", "2"],
    &["get", "", "--prefix", "--limit=0x2"],
    &["get", "", "--prefix", "--limit", "100"],
    &["get", "", "--prefix", "--limit", "-1"],
    &["get", "a", "--rev", "2"],
    &["get", "a", "--rev", "0"],
    &["get", "a", "--rev", "-1"],
    &["get", "", "--prefix", "--rev", "4"],
    &["get", "gone", "--rev", "11"],
    &["get", "a", "--rev", "1"],
    &["get", "", "--prefix", "--order", "DESCEND"],
    &["get", "", "--prefix", "--order", "ascend"],
    &["get", "", "--prefix", "--sort-by", "CREATE"],
    &[
        "get",
        "",
        "--prefix",
        "--sort-by",
        "key",
        "--order",
        "DESCEND",
    ],
    &[
        "get",
        "",
        "--prefix",
        "--sort-by",
        "MODIFY",
        "--order",
        "descend",
    ],
    &["get", "", "--prefix", "--sort-by", "VALUE"],
    &["get", "", "--prefix", "--sort-by", "Version"],
    &["get", "a", "--consistency", "s"],
    &["get", "a", "--consistency=l"],
    &["get", "", "--prefix", "--min-mod-rev", "6"],
    &["get", "", "--prefix", "--max-mod-rev", "6"],
    &["get", "", "--prefix", "--min-create-rev", "4"],
    &["get", "", "--prefix", "--max-create-rev", "4"],
    &[
        "get",
        "",
        "--prefix",
        "--min-mod-rev",
        "-1",
        "--max-mod-rev",
        "-1",
    ],
    &[
        "get",
        "",
        "--prefix",
        "--min-create-rev",
        "-1",
        "--max-create-rev",
        "-1",
    ],
    &[
        "get",
        "",
        "--prefix",
        "--max-create-rev",
        "4",
        "--keys-only",
        "--limit",
        "1",
    ],
    &["get", "", "--prefix", "--print-value-only"],
    &["get", "", "--prefix", "--print-value-only", "--keys-only"],
    &["get", "", "--prefix", "--count-only"],
    &["get", "a", "--count-only", "--limit", "1"],
    &["get", "", "--prefix", "--prefix"],
];

/// Arguments that both commands refuse, with the same exit code.
const REFUSED_READS: &[&[&str]] = &[
    &["get"],
    &["get", ""],
    &["get", "", "b"],
    &["get", "a", "--rev", "9999"],
    &["get", "a", "b", "--prefix"],
    &["get", "a", "b", "--from-key"],
    &["get", "a", "--prefix", "--from-key"],
    &["get", "a", "--keys-only", "--count-only"],
    &["get", "a", "--order", "up"],
    &["get", "a", "--sort-by", "size"],
    &["get", "a", "--consistency", "L"],
    &["get", "a", "-w", "table"],
    &["get", "a", "-w", "xml"],
];

const WRITES: &[&[&str]] = &[
    &["put", "a", "1"],
    &["put", "a", "2", "--prev-kv"],
    &["put", "new", "x", "--prev-kv"],
    &["put", "a", ""],
    &["put", "a", "3", "--prev-kv"],
    &["put", "a", "--ignore-value"],
    &["put", "a", "--ignore-value", "--prev-kv"],
    &["put", "a", "4", "--ignore-lease", "--prev-kv"],
    &["put", "a", "4", "--lease", "0"],
    &["put", "--prev-kv", "--", "a", "-5"],
    &["put", "é中\n", "\u{1}\u{7f}\"", "--prev-kv"],
    &["put", "é中\n", "x", "--prev-kv"],
    &["del", "a"],
    &["del", "a"],
    &["del", "nothing", "--prev-kv"],
    &["put", "d/1", "1"],
    &["put", "d/2", "2"],
    &["put", "d/3", ""],
    &["put", "d/4", "4"],
    &["put", "d/5", "5"],
    &["del", "d/1", "--prev-kv"],
    &["del", "d/2", "d/4", "--range", "--prev-kv"],
    &["del", "d/4", "", "--prev-kv"],
    &["del", "d/", "--prefix", "--prev-kv"],
    &["put", "y", "1"],
    &["put", "z", "2"],
    &["del", "y", "--from-key", "--range"],
    &["put", "last", "1"],
    &["del", "", "--prefix", "--prev-kv"],
    &["put", "kept", "1"],
];

/// Arguments that both commands refuse, with the same exit code.
const REFUSED_WRITES: &[&[&str]] = &[
    &["put"],
    &["put", "a"],
    &["put", "", "1"],
    &["put", "a", "1", "--ignore-value"],
    &["put", "absent", "--ignore-value"],
    &["put", "absent", "1", "--ignore-lease"],
    &["put", "a", "1", "--ignore-lease", "--lease", "7b"],
    &["put", "a", "1", "--lease", "7b"],
    &["put", "a", "1", "--lease", "-1"],
    &["put", "a", "1", "--lease", "0x1"],
    &["put", "a", "1", "--lease", "8000000000000000"],
    &["del"],
    &["del", ""],
    &["del", "a", "b", "c"],
    &["del", "a", "b", "--prefix"],
    &["del", "a", "b", "--from-key"],
    &["del", "a", "--prefix", "--from-key"],
];

#[track_caller]
fn same(words: &[&str], ours: &Ended, theirs: &Ended, mask: impl Fn(&str) -> String) {
    let context = format!("{words:?}\nours: {ours:?}\ntheirs: {theirs:?}");
    assert_eq!(ours.code, theirs.code, "{context}");
    assert_eq!(mask(&ours.stdout), mask(&theirs.stdout), "{context}");
    if ours.code == Some(0) {
        assert_eq!(ours.stderr, "", "{context}");
    } else {
        ours.error_line();
    }
}

/// Replaces the IDs of the cluster and the member, which differ between two servers.
fn without_ids(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    let marks = [
        "\"cluster_id\":",
        "\"member_id\":",
        "\"ClusterID\" : ",
        "\"MemberID\" : ",
    ];
    while let Some((at, mark)) = marks
        .iter()
        .filter_map(|mark| Some((rest.find(mark)?, *mark)))
        .min()
    {
        let (before, after) = rest.split_at(at + mark.len());
        masked.push_str(before);
        masked.push_str("ID");
        rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        assert!(rest.len() < after.len(), "there is no ID: {text}");
    }
    masked + rest
}

#[tokio::test]
async fn reads_are_printed_as_by_etcdctl() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for words in STOCK {
        etcdctl_on(&etcd, words);
    }
    put_with_lease(&etcd);
    for words in READS {
        for format in FORMATS {
            let words = with_format(words, format);
            let ours = etcdex_on(&etcd, &words);
            same(&words, &ours, &etcdctl_on(&etcd, &words), str::to_owned);
        }
    }
    for words in REFUSED_READS {
        let ours = etcdex_on(&etcd, words);
        same(words, &ours, &etcdctl_on(&etcd, words), str::to_owned);
    }
}

/// Puts a key with a lease by etcdex, and reads the key's lease by etcdctl.
fn put_with_lease(etcd: &Etcd) {
    let granted = etcdctl_on(etcd, &["lease", "grant", "600"]);
    let id = granted
        .stdout
        .split(' ')
        .nth(1)
        .expect("the output has the ID")
        .to_owned();
    etcdex_on(etcd, &["put", "leased", "1", "--lease", &id]).succeeded();
    let number = i64::from_str_radix(&id, 16).expect("the ID is hexadecimal");
    let read = etcdctl_on(etcd, &["get", "leased", "-w", "fields"]);
    assert!(
        read.stdout.contains(&format!("\"Lease\" : {number}\n")),
        "{read:?}"
    );
}

#[tokio::test]
async fn writes_have_the_effect_and_the_output_of_etcdctl() {
    let Some(binary) = newest() else { return };
    // Both servers get the same writes, so the revisions have to be the same too.
    let (ours, theirs) = (start(&binary).await, start(&binary).await);
    for format in FORMATS {
        for words in WRITES {
            let words = with_format(words, format);
            let (our, their) = (etcdex_on(&ours, &words), etcdctl_on(&theirs, &words));
            same(&words, &our, &their, without_ids);
        }
        let all = ["get", "", "--prefix", "-w", "fields"];
        let (our, their) = (etcdctl_on(&ours, &all), etcdctl_on(&theirs, &all));
        assert_eq!(without_ids(&our.stdout), without_ids(&their.stdout));
    }
    for words in REFUSED_WRITES {
        let (our, their) = (etcdex_on(&ours, words), etcdctl_on(&theirs, words));
        same(words, &our, &their, without_ids);
    }
}

fn with_format<'a>(words: &[&'a str], format: &[&'a str]) -> Vec<&'a str> {
    // The format goes first: after `--` it would be a key.
    [format, words].concat()
}

#[tokio::test]
async fn a_value_from_standard_input_is_not_changed() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    let all_bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for input in [b"text\n".as_slice(), &all_bytes] {
        let put = feed(
            etcdex().args(["--endpoints", &etcd.endpoint(), "put", "k"]),
            input,
        );
        assert_eq!(put.succeeded().stdout, "OK\n");
        for format in FORMATS {
            let words = with_format(&["get", "k"], format);
            let ours = etcdex_on(&etcd, &words);
            same(&words, &ours, &etcdctl_on(&etcd, &words), str::to_owned);
        }
    }
}

#[tokio::test]
async fn a_write_with_an_unsupported_format_is_not_sent() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    etcdex_on(&etcd, &["put", "k", "before"]).succeeded();
    for words in [["put", "k", "after"].as_slice(), &["del", "k"]] {
        for format in ["table", "protobuf"] {
            let ended = etcdex_on(&etcd, &[words, &["-w", format]].concat());
            assert_eq!(ended.code, Some(4));
            assert!(ended.error_line().contains(format));
        }
    }
    // etcdctl puts the value, and then reports that it has no such format.
    assert_eq!(etcdex_on(&etcd, &["get", "k"]).stdout, "k\nbefore\n");
}

#[tokio::test]
async fn a_limit_applies_after_sorting() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for words in STOCK {
        etcdctl_on(&etcd, words);
    }
    // Without an order, etcdctl sends no sort target: the server cuts first, and etcdctl sorts.
    let words = ["get", "", "--prefix", "--sort-by", "VALUE", "--limit", "2"];
    let ordered = [words.as_slice(), &["--order", "ASCEND"]].concat();
    let ours = etcdex_on(&etcd, &words);
    same(&ordered, &ours, &etcdctl_on(&etcd, &ordered), str::to_owned);
}

#[tokio::test]
async fn a_deletion_of_a_range_waits() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for key in ["a", "b", "c"] {
        etcdex_on(&etcd, &["put", key, "1"]).succeeded();
    }
    let deleted = etcdex_on(&etcd, &["del", "a", "c"]);
    assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(0), "2\n"));
    assert!(deleted.stderr.starts_with("Warning: ") && deleted.stderr.contains("--range"));
    assert!(deleted.took.as_secs() >= 2, "{deleted:?}");
}
