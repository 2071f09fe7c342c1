//! PURE: the servers whose answers to progress requests are exact.

/// Whether a server answers a progress request only after it has sent all events up to the revision
/// of the answer. Older servers may send the answer before such events.
///
/// Source: etcd issue 15220, fixed in 3.4.25, 3.5.8 and 3.6.
pub(super) fn is_exact(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse::<u32>().ok()
    });
    let mut number = || numbers.next().flatten();
    match (number(), number(), number()) {
        (Some(3), Some(4), Some(patch)) => patch >= 25,
        (Some(3), Some(5), Some(patch)) => patch >= 8,
        (Some(3), Some(minor), _) => minor >= 6,
        (Some(major), ..) => major > 3,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_exact;

    /// The releases are those that etcd's changelog names for issue 15220.
    #[test]
    fn servers_with_the_fix_are_exact() {
        for version in ["3.4.25", "3.5.8", "3.5.35", "3.6.0-rc.1", "3.7.3", "4.0.0"] {
            assert!(is_exact(version), "{version}");
        }
        for version in [
            "3.3.27", "3.4.23", "3.5.1", "3.5.7", "3", "", "kine", "3.5.x",
        ] {
            assert!(!is_exact(version), "{version}");
        }
    }
}
