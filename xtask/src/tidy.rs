//! `cargo xtask tidy`: each layer uses only the layers below it.
//!
//! The tables below are the rules; the rest reads the tree and holds it to them.

mod paths;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use paths::Reference;

/// A crate's directory, and the workspace's crates it may depend on outside of tests.
const CRATES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("client", &["etcdex-proto"]),
    ("testkit", &["etcdex", "etcdex-proto"]),
    ("cli", &["etcdex"]),
    ("bench", &["etcdex", "etcdex-proto", "etcdex-testkit"]),
];

/// The layers of `crates/client/src` from the top down, with their modules.
const LAYERS: &[(&str, &[&str])] = &[
    ("client", &["client"]),
    ("recipes", &["recipes", "view", "discovery"]),
    (
        "services",
        &[
            "kv",
            "txn",
            "lease",
            "watch",
            "lock",
            "election",
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
    "error",
    "key",
    "lease_id",
    "config",
    "endpoint",
    "connector",
    "credentials",
    "method",
    "mode",
    "patience",
    "runtime",
    "srv",
    "telemetry",
    "tls",
];

/// Modules that layers below their own may use too: the handle that everything hangs on.
const LENT: &[(&str, &[&str])] = &[("client", &["recipes", "services"])];

/// Crates that only the transport names.
const WIRE_CRATES: &[&str] = &["h2", "http", "rustls", "tokio_rustls"];
const WIRE_MODULE: &str = "transport";
/// A module outside of the transport that names one of them all the same: users may bring a
/// whole configuration of rustls, which then stands in the public options.
const WIRE_IN_PUBLIC: &[(&str, &str)] = &[("tls", "rustls")];

/// Files that decide and do nothing else, so that a test can drive them without a clock.
const PURE_FILES: &[&str] = &[
    "state.rs",
    "resume.rs",
    "entry.rs",
    "assembly.rs",
    "cancellation.rs",
    "difference.rs",
    "progress.rs",
    "want.rs",
    "sync.rs",
    "keepalive.rs",
    "backoff.rs",
    "budget.rs",
    "renewal.rs",
    "unanswered.rs",
    "clocks.rs",
    "balance.rs",
    "retry.rs",
    "token.rs",
    "seal.rs",
    "records.rs",
    "report.rs",
    "probe.rs",
    "patience.rs",
    "algorithm.rs",
];
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["h2"],
    &["http"],
    &["tracing"],
    &["std", "net"],
    &["std", "io"],
];
/// Impure wherever they stand in a path.
const IMPURE_ANYWHERE: &[&[&str]] = &[&["Instant", "now"], &["SystemTime"]];

const CLIENT: &str = "crates/client/src/";
const LONGEST: usize = 10;

/// A file of the tree: its path from the workspace's root, with `/`, and its text.
type Sources = BTreeMap<String, String>;

/// Runs the chore.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.is_empty(), "tidy takes no arguments");
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?;
    let mut violations = violations(&sources);
    violations.extend(words::violations(&sources));
    for violation in &violations {
        println!("{violation}");
    }
    println!("the longest files:");
    for (lines, path) in longest(&sources) {
        println!("{lines:>6} {path}");
    }
    anyhow::ensure!(violations.is_empty(), "{} violations", violations.len());
    Ok(())
}

#[derive(Debug)]
struct Violation {
    path: String,
    line: usize,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

fn sources(root: &Path) -> anyhow::Result<Sources> {
    let mut sources = Sources::new();
    for (name, path) in entries(&root.join("crates"))? {
        let manifest = path.join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        sources.insert(format!("crates/{name}/Cargo.toml"), text);
        read_rust(
            &path.join("src"),
            &format!("crates/{name}/src"),
            &mut sources,
        )?;
    }
    Ok(sources)
}

fn entries(directory: &Path) -> anyhow::Result<Vec<(String, std::path::PathBuf)>> {
    let mut entries = Vec::new();
    let listing =
        fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in listing {
        let entry = entry?;
        entries.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    Ok(entries)
}

fn read_rust(directory: &Path, name: &str, sources: &mut Sources) -> anyhow::Result<()> {
    for (entry, path) in entries(directory)? {
        let name = format!("{name}/{entry}");
        if path.is_dir() {
            read_rust(&path, &name, sources)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
            sources.insert(name, text);
        }
    }
    Ok(())
}

fn violations(sources: &Sources) -> Vec<Violation> {
    let root = sources.get(&format!("{CLIENT}lib.rs"));
    let reexports = root.map(|text| reexports(text)).unwrap_or_default();
    sources
        .iter()
        .flat_map(|(path, text)| check(path, text, &reexports))
        .collect()
}

/// All rules, of one file.
fn check(path: &str, text: &str, reexports: &BTreeMap<String, String>) -> Vec<Violation> {
    let found = if path.ends_with("/Cargo.toml") {
        manifest(path, text)
    } else if let Some(file) = path.strip_prefix(CLIENT).filter(|_| !is_test(path)) {
        let module = module(file);
        let references = paths::references(&module, text);
        let mut found = layering(&module, &references, reexports);
        found.extend(wire(&module, &references));
        found.extend(purity(file, &references));
        found
    } else {
        Vec::new()
    };
    let mut violations: Vec<Violation> = found
        .into_iter()
        .map(|(line, text)| Violation {
            path: path.to_owned(),
            line,
            text,
        })
        .collect();
    violations.sort_by_key(|violation| violation.line);
    violations
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The module a file of the client is; the crate's root is the empty one.
fn module(file: &str) -> Vec<&str> {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if module.last() == Some(&"mod") || module == ["lib"] {
        module.pop();
    }
    module
}

fn manifest(path: &str, text: &str) -> Vec<(usize, String)> {
    let directory = path
        .trim_start_matches("crates/")
        .trim_end_matches("/Cargo.toml");
    let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == directory) else {
        let text =
            format!("crates/{directory} is in no table; add it to CRATES in xtask/src/tidy.rs");
        return vec![(1, text)];
    };
    dependencies(text)
        .into_iter()
        .filter(|(_, name)| *name == "xtask" || *name == "etcdex" || name.starts_with("etcdex-"))
        .filter(|(_, name)| !allowed.contains(&name.as_str()))
        .map(|(line, name)| {
            let text = format!("{directory} may not depend on {name}; drop it, or move what is needed to a crate below both");
            (line, text)
        })
        .collect()
}

/// The normal dependencies of a manifest, by package name, with their lines.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut dependencies = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            if let Some(name) = section.strip_prefix("dependencies.") {
                dependencies.push((index + 1, name.to_owned()));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let listed = section == "dependencies"
                || (section.starts_with("target.") && section.ends_with(".dependencies"));
            let table = section.starts_with("dependencies.");
            if listed && !line.starts_with('#') {
                let key = key.trim().split('.').next().unwrap_or_default();
                let name = package(value).unwrap_or(key).trim_matches('"');
                dependencies.push((index + 1, name.to_owned()));
            } else if table && key.trim() == "package" {
                dependencies.push((index + 1, value.trim().trim_matches('"').to_owned()));
            }
        }
    }
    dependencies
}

/// The name in `{ package = "name", .. }`.
fn package(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    after.split('"').nth(1)
}

/// What the crate's root brings up from its modules: name to module.
fn reexports(root: &str) -> BTreeMap<String, String> {
    paths::references(&[], root)
        .into_iter()
        .filter_map(|reference| {
            let mut segments = reference.segments.iter();
            let module = segments.find(|name| *name != "crate")?;
            Some((reference.imported?, module.clone()))
        })
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

fn layering(
    module: &[&str],
    references: &[Reference],
    reexports: &BTreeMap<String, String>,
) -> Vec<(usize, String)> {
    // The root wires everything.
    let Some(&user) = module.first() else {
        return Vec::new();
    };
    if layer(user).is_none() && !LEAVES.contains(&user) {
        let text = format!(
            "the module {user} is in no layer; add it to LAYERS or LEAVES in xtask/src/tidy.rs"
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

/// Why `user` may not use `used`, if it may not.
fn misuse(user: &str, used: &str) -> Option<String> {
    if user == used || LEAVES.contains(&used) {
        return None;
    }
    let Some(below) = layer(used) else {
        return Some(format!(
            "crate::{used} is in no layer; name the module it is from, or add it to LAYERS or LEAVES in xtask/src/tidy.rs"
        ));
    };
    let Some(above) = layer(user) else {
        return Some(format!(
            "the leaf {user} uses {used}; pass what it needs in, or give {user} a layer in xtask/src/tidy.rs"
        ));
    };
    let lent = LENT
        .iter()
        .any(|(module, layers)| *module == used && layers.contains(&LAYERS[above].0));
    (above > below && !lent).then(|| {
        format!(
            "{user} ({}) uses {used} of the layer {} above; move what is shared down, or pass it in",
            LAYERS[above].0, LAYERS[below].0
        )
    })
}

fn wire(module: &[&str], references: &[Reference]) -> Vec<(usize, String)> {
    if module.first() == Some(&WIRE_MODULE) {
        return Vec::new();
    }
    references
        .iter()
        // A name by itself is a crate only in a `use`; else it is a variable.
        .filter(|reference| reference.segments.len() > 1 || reference.imported.is_some())
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

fn purity(file: &str, references: &[Reference]) -> Vec<(usize, String)> {
    let name = file.rsplit('/').next().unwrap_or(file);
    // What a pure file is split into lies in a folder of its name.
    let within = |pure: &&str| file.contains(&format!("/{}/", pure.trim_end_matches(".rs")));
    let is_test = file.contains("/tests/") || name == "tests.rs";
    let is_pure = PURE_FILES.contains(&name) || (!is_test && PURE_FILES.iter().any(within));
    if !is_pure {
        return Vec::new();
    }
    references
        .iter()
        .filter(|reference| impure(reference))
        .map(|reference| {
            let path = reference.segments.join("::");
            let text = format!("{name} is pure and names {path}; take the time or the outcome as an argument and act in the caller");
            (reference.line, text)
        })
        .collect()
}

fn impure(reference: &Reference) -> bool {
    let segments: Vec<&str> = reference.segments.iter().map(String::as_str).collect();
    let crate_or_import = segments.len() > 1 || reference.imported.is_some();
    let begins = IMPURE.iter().any(|path| segments.starts_with(path));
    let within = IMPURE_ANYWHERE
        .iter()
        .any(|path| segments.windows(path.len()).any(|window| window == *path));
    (crate_or_import && begins) || within
}

/// The longest files that someone writes and reads: no tests, nothing generated.
fn longest(sources: &Sources) -> Vec<(usize, &str)> {
    let mut files: Vec<(usize, &str)> = sources
        .iter()
        .filter(|(path, _)| path.ends_with(".rs") && !is_test(path) && !path.contains("/src/gen/"))
        .map(|(path, text)| (text.lines().count(), path.as_str()))
        .collect();
    files.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
    files.truncate(LONGEST);
    files
}
