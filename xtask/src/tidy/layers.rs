//! Each module of the client uses only its own layer, the layers below it, and leaves.

use std::collections::BTreeMap;

use super::paths::{self, Reference};
use super::{Sources, Violation, is_module};

/// The layers of `crates/client/src` from the top down, with their modules.
const LAYERS: &[(&str, &[&str])] = &[
    ("entry", &["client", "fuzzing"]),
    ("recipes", &["discovery"]),
    (
        "services",
        &[
            "kv",
            "txn",
            "lease",
            "watch",
            "lock",
            "auth",
            "cluster",
            "maintenance",
        ],
    ),
    ("call", &["call"]),
    ("transport", &["transport"]),
];

/// Modules that every layer may use, and that use only one another.
const LEAVES: &[&str] = &[
    "adaptive_timeout",
    "backoff",
    "error",
    "key",
    "lease_id",
    "manual",
    "config",
    "endpoint",
    "connector",
    "credentials",
    "debug",
    "method",
    "mode",
    "mutex",
    "runtime",
    "srv",
    "telemetry",
    "tls",
];

/// Modules that the named layers below their own may use too: the handle.
const LENT: &[(&str, &[&str])] = &[("client", &["recipes", "services"])];

/// Names that the crate's root exports, each with the module that the name is from.
pub(super) type Reexports = BTreeMap<String, String>;

/// The names in the tables without a module in the tree.
pub(super) fn stale(sources: &Sources) -> Vec<Violation> {
    let layers = LAYERS
        .iter()
        .flat_map(|(_, modules)| modules.iter().map(|module| ("LAYERS", *module)));
    let leaves = LEAVES.iter().map(|module| ("LEAVES", *module));
    let lent = LENT.iter().map(|(module, _)| ("LENT", *module));
    layers
        .chain(leaves)
        .chain(lent)
        .filter(|(_, module)| !is_module(sources, module))
        .map(|(table, module)| super::stale("layers.rs", table, &format!("the module {module}")))
        .collect()
}

/// Reads the reexports of the crate's root.
pub(super) fn reexports(root: &str) -> Reexports {
    paths::references(&[], root)
        .into_iter()
        .filter_map(|reference| {
            let mut segments = reference.segments.iter();
            let module = segments.find(|name| *name != "crate")?;
            Some((reference.imported?, module.clone()))
        })
        .collect()
}

/// The references of a module to modules that it may not use, with their lines.
pub(super) fn check(
    module: &[&str],
    references: &[Reference],
    reexports: &Reexports,
) -> Vec<(usize, String)> {
    // The crate's root uses every layer.
    let Some(&user) = module.first() else {
        return Vec::new();
    };
    if layer(user).is_none() && !LEAVES.contains(&user) {
        let text = format!(
            "the module {user} is in no layer; add it to LAYERS or LEAVES in xtask/src/tidy/layers.rs"
        );
        return vec![(1, text)];
    }
    let named = references.iter().filter_map(|reference| {
        let [root, name, ..] = reference.segments.as_slice() else {
            return None;
        };
        let module = reexports.get(name).unwrap_or(name);
        (root == "crate").then_some((reference.line, module.as_str()))
    });
    named
        .filter_map(|(line, used)| Some((line, misuse(user, used)?)))
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Why `user` may not use `used`; `None` if it may.
fn misuse(user: &str, used: &str) -> Option<String> {
    if user == used || LEAVES.contains(&used) {
        return None;
    }
    let Some(below) = layer(used) else {
        return Some(format!(
            "crate::{used} is in no layer; name the module it is from, or add it to LAYERS or LEAVES in xtask/src/tidy/layers.rs"
        ));
    };
    let Some(above) = layer(user) else {
        return Some(format!(
            "the leaf {user} uses {used}; pass the value in, or give {user} a layer in xtask/src/tidy/layers.rs"
        ));
    };
    let lent = LENT
        .iter()
        .any(|(module, layers)| *module == used && layers.contains(&LAYERS[above].0));
    (above > below && !lent).then(|| {
        format!(
            "{user} ({}) uses {used} of the layer {} above; move the shared code down, or pass the value in",
            LAYERS[above].0, LAYERS[below].0
        )
    })
}
