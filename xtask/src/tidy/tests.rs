//! Each rule finds the violations of that rule, and only those.

use std::collections::BTreeMap;

use super::{Sources, Tree, check, layers, longest, paths, sources, violations};

fn found(path: &str, text: &str) -> Vec<String> {
    let root = "pub use crate::error::Error;\npub use call::{Call, Plan as Route};";
    let tree = Tree {
        reexports: layers::reexports(root),
        ..Tree::default()
    };
    let violations = check(path, text, &tree);
    violations.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn caught(path: &str, text: &str, line: usize, wanted: &str) {
    let found = found(path, text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(&format!("{path}:{line}: ")),
        "{found:?}"
    );
    assert!(found[0].contains(wanted), "{found:?}");
}

#[track_caller]
fn clean(path: &str, text: &str) {
    assert_eq!(found(path, text), Vec::<String>::new());
}

fn named(text: &str) -> Vec<String> {
    let references = paths::references(&["kv", "state"], text);
    let joined = references.iter().map(|r| r.segments.join("::"));
    joined.filter(|path| path.contains("::")).collect()
}

#[test]
fn the_tree_is_tidy() {
    let sources = sources(&crate::workspace()).unwrap();
    let violations: Vec<String> = violations(&sources)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn sources_and_tests_of_every_crate_are_read() {
    let sources = sources(&crate::workspace()).unwrap();
    for path in [
        "crates/client/Cargo.toml",
        "crates/client/src/lib.rs",
        "crates/cli/tests/it/main.rs",
        "xtask/src/tidy/tests.rs",
    ] {
        assert!(sources.contains_key(path), "{path}");
    }
}

#[test]
fn crates_depend_on_the_crates_below() {
    let manifest = |name: &str| format!("[package]\nname = \"x\"\n\n[dependencies]\n{name}\n");
    let proto = manifest("etcdex-proto.workspace = true");
    clean("crates/client/Cargo.toml", &proto);
    caught(
        "crates/cli/Cargo.toml",
        &proto,
        5,
        "cli may not depend on etcdex-proto",
    );
    let testkit = manifest("etcdex-testkit = { path = \"../testkit\" }");
    caught("crates/cli/Cargo.toml", &testkit, 5, "etcdex-testkit");
    caught(
        "crates/testkit/Cargo.toml",
        &manifest("etcdex-cli.workspace = true"),
        5,
        "etcdex-cli",
    );
    clean(
        "crates/testkit/Cargo.toml",
        &manifest("etcdex.workspace = true\nserde = \"1\""),
    );
    caught(
        "crates/proto/Cargo.toml",
        &manifest("etcdex = \"1\""),
        5,
        "etcdex",
    );
    caught("crates/new/Cargo.toml", &proto, 1, "CRATES");
}

#[test]
fn a_dependency_is_found_however_it_is_written() {
    let path = "crates/client/Cargo.toml";
    clean(
        path,
        "[dev-dependencies]\netcdex-testkit.workspace = true\n",
    );
    clean(path, "[dependencies]\n# etcdex-testkit = \"1\"\n");
    caught(
        path,
        "[dependencies.etcdex-testkit]\npath = \"x\"\n",
        1,
        "etcdex-testkit",
    );
    caught(
        path,
        "[dependencies.kit]\npackage = \"etcdex-testkit\"\n",
        2,
        "etcdex-testkit",
    );
    caught(
        path,
        "[dependencies]\nkit = { package = \"etcdex-testkit\" }\n",
        2,
        "etcdex-testkit",
    );
    let target = "[target.'cfg(unix)'.dependencies]\netcdex-testkit = \"1\"\n";
    caught(path, target, 2, "etcdex-testkit");
}

#[test]
fn a_module_uses_its_layer_and_those_below() {
    let kv = "crates/client/src/kv.rs";
    clean(
        kv,
        "use crate::call::Call;\nuse crate::txn::Txn;\nuse crate::error::Error;\n",
    );
    clean(
        kv,
        "use crate::client::Client;\nuse etcdex_proto::mvccpb;\n",
    );
    caught(
        kv,
        "use crate::discovery::Sync;\n",
        1,
        "kv (services) uses discovery of the layer recipes above",
    );
    caught(
        kv,
        "\nfn f() {\n    crate::discovery::run();\n}\n",
        3,
        "recipes",
    );
    let call = "crates/client/src/call/plan.rs";
    caught(
        call,
        "use crate::{\n    error::Error,\n    kv::Kv,\n};\n",
        3,
        "kv",
    );
    caught(call, "use crate::client::Client;\n", 1, "client");
    clean(
        "crates/client/src/client.rs",
        "use crate::{kv, discovery, transport};\n",
    );
    clean("crates/client/src/lib.rs", "pub mod kv;\npub use kv::Kv;\n");
}

#[test]
fn paths_with_super_are_resolved() {
    caught("crates/client/src/call.rs", "use super::kv::Kv;\n", 1, "kv");
    caught(
        "crates/client/src/call/plan.rs",
        "use super::super::kv::Kv;\n",
        1,
        "kv",
    );
    caught(
        "crates/client/src/call/mod.rs",
        "use super::kv::Kv;\n",
        1,
        "kv",
    );
    clean("crates/client/src/call/plan.rs", "use super::kv::Kv;\n");
    clean(
        "crates/client/src/call.rs",
        "mod inner {\n    use super::kv::Kv;\n}\n",
    );
}

#[test]
fn a_reexport_counts_as_its_module() {
    let transport = "crates/client/src/transport/pool.rs";
    clean(transport, "use crate::Error;\n");
    caught(transport, "use crate::Call;\n", 1, "call");
    caught(transport, "use crate::Route;\n", 1, "call");
    caught(
        transport,
        "use crate::Unknown;\n",
        1,
        "crate::Unknown is in no layer",
    );
}

#[test]
fn leaves_use_only_leaves() {
    clean("crates/client/src/config.rs", "use crate::error::Error;\n");
    caught(
        "crates/client/src/config.rs",
        "use crate::call::Call;\n",
        1,
        "the leaf config",
    );
}

#[test]
fn a_module_without_a_layer_is_named() {
    caught(
        "crates/client/src/novel.rs",
        "",
        1,
        "add it to LAYERS or LEAVES",
    );
    caught(
        "crates/client/src/novel/inner.rs",
        "use crate::kv;\n",
        1,
        "the module novel",
    );
}

#[test]
fn only_the_transport_names_the_wire() {
    let call = "crates/client/src/call.rs";
    caught(
        call,
        "use h2::client;\n",
        1,
        "h2 is named outside of transport",
    );
    caught(call, "use http;\n", 1, "http");
    caught(call, "use {http as web, std::fmt};\n", 1, "http");
    caught(call, "fn f(uri: Vec<::http::Uri>) {}\n", 1, "http");
    caught(
        call,
        "fn f() {\n    tokio_rustls::rustls::x();\n}\n",
        2,
        "tokio_rustls",
    );
    clean(
        "crates/client/src/transport/channel.rs",
        "use h2::client;\nuse http::Uri;\n",
    );
    clean("crates/client/src/transport.rs", "use rustls::Error;\n");
    let options = "crates/client/src/tls.rs";
    clean(options, "fn f(config: rustls::ClientConfig) {}\n");
    caught(options, "use h2::client;\n", 1, "h2");
    clean("crates/client/src/call/tests.rs", "use http::Uri;\n");
    clean("crates/client/src/call/tests/fake.rs", "use http::Uri;\n");
    clean("crates/cli/src/lib.rs", "use http::Uri;\n");
}

#[test]
fn names_in_comments_and_strings_are_no_references() {
    let text = r##"
//! See [`http::Uri`] and http://example.com.
/* use http::Uri; /* nested */ use h2::x; */
fn f<'a>(http: &'a str, quote: char) -> bool {
    let url = "http::x \" use h2::y";
    let raw = r#"a " http::Uri"#;
    let bytes = b"http::x";
    quote == '"' || quote == '\'' || http == url || raw.is_empty() || bytes.is_empty()
}
use crate::transport::http::Reply;
fn g() { <Reply as Default>::http::<u8>(); }
"##;
    clean("crates/client/src/call.rs", text);
}

#[test]
fn test_modules_inside_a_file_are_not_checked() {
    let text = "#[cfg(test)]\nmod tests {\n    use http::Uri;\n    fn f() {}\n}\nuse h2::x;\n";
    caught("crates/client/src/call.rs", text, 6, "h2");
    clean(
        "crates/client/src/call.rs",
        "#[cfg(test)]\nuse http::{Uri, Method};\n",
    );
}

const PURE: &str = "//! PURE: a rule.\n";

#[test]
fn pure_files_have_no_clock_and_no_runtime() {
    let path = "crates/client/src/watch/state.rs";
    for text in [
        "use tokio::time::sleep;\n",
        "use std::{fmt, io};\n",
        "use std::net::IpAddr;\n",
        "fn f() { let now = Instant::now(); }\n",
        "fn f() { let now = std::time::Instant::now(); }\n",
        "use std::time::{Duration, SystemTime};\n",
        "fn f() { tracing::debug!(x); }\n",
    ] {
        let marked = format!("{PURE}{text}");
        caught(path, &marked, 2, "state.rs is pure");
        caught("crates/testkit/src/check.rs", &marked, 2, "is pure");
        clean("crates/client/src/watch/tests/state.rs", &marked);
        clean(path, text);
    }
    let argument = "use std::time::{Duration, Instant};\nfn f(now: Instant) { g(now); }\n";
    clean(path, &format!("{PURE}{argument}"));
    clean(
        "crates/client/src/watch/task.rs",
        "use tokio::time::sleep;\n",
    );
}

#[test]
fn submodules_of_a_pure_module_are_pure() {
    let impure = "use tokio::time::sleep;\n";
    let sources: Sources = [
        ("crates/client/src/watch/state.rs", PURE),
        ("crates/client/src/watch/state/pin.rs", impure),
        ("crates/client/src/watch/state/pin/deep.rs", impure),
        ("crates/client/src/watch/state/tests.rs", impure),
        ("crates/client/src/watch/other/state.rs", impure),
        ("crates/client/src/lease/mod.rs", PURE),
        ("crates/client/src/lease/clock.rs", impure),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .into();
    let tree = Tree::of(&sources);
    let found = sources
        .iter()
        .flat_map(|(path, text)| check(path, text, &tree));
    let paths: Vec<String> = found.map(|violation| violation.path).collect();
    assert_eq!(
        paths,
        [
            "crates/client/src/lease/clock.rs",
            "crates/client/src/watch/state/pin.rs",
            "crates/client/src/watch/state/pin/deep.rs",
        ]
    );
}

#[test]
fn the_mark_of_a_pure_file_is_its_first_line() {
    let path = "crates/client/src/watch/state.rs";
    caught(
        path,
        &format!("// A licence.\n{PURE}"),
        2,
        "only in the first line",
    );
}

#[test]
fn tables_name_no_module_that_does_not_exist() {
    let found: Vec<String> = violations(&Sources::new())
        .iter()
        .map(ToString::to_string)
        .collect();
    for wanted in [
        "crates.rs:1: CRATES names the folder crates/proto,",
        "layers.rs:1: LAYERS names the module kv,",
        "layers.rs:1: LEAVES names the module error,",
        "layers.rs:1: LENT names the module client,",
        "wire.rs:1: WIRE_MODULE names the module transport,",
        "wire.rs:1: WIRE_IN_PUBLIC names the module tls,",
    ] {
        assert!(
            found.iter().any(|text| text.contains(wanted)),
            "{wanted} {found:?}"
        );
    }
}

#[test]
fn paths_are_read_flat() {
    assert_eq!(
        named("use a::{b, c::{self, D as E}, *};"),
        ["a::b", "a::c", "a::c::D", "a::*"]
    );
    assert_eq!(
        named("use super::x::Y; use self::z;"),
        ["crate::kv::x::Y", "crate::kv::state::z"]
    );
    assert_eq!(
        named("fn f() -> impl T + use<'_> { a::b::<c::D>() }"),
        ["a::b", "c::D"]
    );
    assert_eq!(
        named("mod r#in { use super::x; } use super::y;"),
        ["crate::kv::state::x", "crate::kv::y"]
    );
}

#[test]
fn incomplete_text_does_not_panic() {
    for text in [
        "/* ",
        "\"",
        "'",
        "'\\",
        "r#\"",
        "r#",
        "b'",
        "use a::{",
        "use",
        "a::",
        "\"\\",
        "#[cfg(test)]",
        "mod x {",
        "}}",
    ] {
        paths::references(&["kv"], text);
    }
}

#[test]
fn the_longest_files_leave_out_tests_and_generated_code() {
    let files = [
        ("a/src/a.rs", "1\n2\n"),
        ("a/src/b.rs", "1\n2\n3\n"),
        ("a/src/tests.rs", "1\n"),
        ("a/src/gen/c.rs", "1\n"),
    ];
    let sources: BTreeMap<String, String> = files
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into();
    assert_eq!(longest(&sources), [(3, "a/src/b.rs"), (2, "a/src/a.rs")]);
}
