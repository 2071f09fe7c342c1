//! Only the transport names the crates that speak HTTP/2 and TLS.

use super::paths::Reference;
use super::{Sources, Violation, is_module};

/// The crates of the wire.
const WIRE_CRATES: &[&str] = &["h2", "http", "rustls", "tokio_rustls"];

/// The module that may name every crate of the wire.
const WIRE_MODULE: &str = "transport";

/// Other modules, each with the one crate of the wire that it may name: the public options take
/// a whole configuration of rustls.
const WIRE_IN_PUBLIC: &[(&str, &str)] = &[("tls", "rustls")];

/// The names in the tables without a module in the tree.
pub(super) fn stale(sources: &Sources) -> Vec<Violation> {
    let public = WIRE_IN_PUBLIC
        .iter()
        .map(|(module, _)| ("WIRE_IN_PUBLIC", *module));
    public
        .chain([("WIRE_MODULE", WIRE_MODULE)])
        .filter(|(_, module)| !is_module(sources, module))
        .map(|(table, module)| super::stale("wire.rs", table, &format!("the module {module}")))
        .collect()
}

/// The references of a module to a crate of the wire that it may not name, with their lines.
pub(super) fn check(module: &[&str], references: &[Reference]) -> Vec<(usize, String)> {
    if module.first() == Some(&WIRE_MODULE) {
        return Vec::new();
    }
    references
        .iter()
        .filter(|reference| reference.may_begin_with_a_crate())
        .filter(|reference| WIRE_CRATES.contains(&reference.segments[0].as_str()))
        .filter(|reference| {
            let public = |(user, name): &(&str, &str)| {
                module.first() == Some(user) && reference.segments[0] == *name
            };
            !WIRE_IN_PUBLIC.iter().any(public)
        })
        .map(|reference| {
            let name = &reference.segments[0];
            let text = format!("{name} is named outside of {WIRE_MODULE}; let {WIRE_MODULE} have a type or function for it");
            (reference.line, text)
        })
        .collect()
}
