//! The version of an etcd.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The version of an etcd, as in `3.5.35`, with the order of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The `3` of `3.5.35`.
    pub major: u32,
    /// The `5` of `3.5.35`.
    pub minor: u32,
    /// The `35` of `3.5.35`.
    pub patch: u32,
}

impl Version {
    /// Returns whether this is `major.minor` or later.
    pub fn is_at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl Version {
    /// Returns whether the answer to a request for progress comes after all events before it. Older
    /// servers answer while events are under way.
    ///
    /// Source: etcd issue 15220; the changelogs of 3.4.25 and 3.5.8 name the fix, 3.6.0 has it.
    pub fn answers_progress_in_order(self) -> bool {
        match (self.major, self.minor) {
            (3, 4) => self.patch >= 25,
            (3, 5) => self.patch >= 8,
            _ => self.is_at_least(3, 6),
        }
    }

    /// Returns whether the lock service can repeat a refused watch without end after a token has
    /// expired, and then answers no waiting lock of that member.
    ///
    /// All waiting locks of a member share one stream of watches inside the server, with the token
    /// of the lock that opened it. These releases open the stream again after a refusal, with the
    /// same token and without a pause.
    ///
    /// Source: `shouldRetryWatch` in etcd's `clientv3/watch.go`, which 3.4.22 and 3.5.6 have added,
    /// and 3.4.25 and 3.5.7 have removed. Logs of 3.4.23 under `chaos leases`.
    pub fn repeats_refused_watches(self) -> bool {
        match (self.major, self.minor) {
            (3, 4) => (22..=24).contains(&self.patch),
            (3, 5) => self.patch == 6,
            _ => false,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The error of a text that is no etcd version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseVersionError(String);

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is no etcd version; write it like 3.5.35",
            self.0.escape_debug()
        )
    }
}

impl Error for ParseVersionError {}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self {
                major,
                minor,
                patch,
            }),
            _ => Err(ParseVersionError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The releases that etcd's changelogs name for issue 15220.
    #[test]
    fn old_servers_answer_too_early() {
        let in_order = |text: &str| {
            let version: Version = text.parse().unwrap();
            version.answers_progress_in_order()
        };
        for old in ["3.4.23", "3.4.24", "3.5.1", "3.5.7", "3.3.27"] {
            assert!(!in_order(old), "{old}");
        }
        for mended in ["3.4.25", "3.5.8", "3.5.35", "3.6.0", "3.7.3", "4.0.0"] {
            assert!(in_order(mended), "{mended}");
        }
    }

    /// The releases whose source has the loop.
    #[test]
    fn four_releases_repeat_refused_watches() {
        let repeats = |text: &&str| {
            let version: Version = text.parse().unwrap();
            version.repeats_refused_watches()
        };
        let all = [
            "3.4.21", "3.4.22", "3.4.23", "3.4.24", "3.4.25", "3.5.1", "3.5.5", "3.5.6", "3.5.7",
            "3.5.35", "3.6.16", "3.7.3",
        ];
        let found: Vec<_> = all.iter().copied().filter(|text| repeats(text)).collect();
        assert_eq!(found, ["3.4.22", "3.4.23", "3.4.24", "3.5.6"]);
    }

    #[test]
    fn versions_are_read_written_and_ordered() {
        let read = |text: &str| text.parse::<Version>();
        let old: Version = read("3.5.9").unwrap();
        let new: Version = read("3.5.35").unwrap();
        assert!(old < new, "numeric order");
        assert_eq!(new.to_string(), "3.5.35");
        assert!(new.is_at_least(3, 5) && !new.is_at_least(3, 6));
        for bad in ["", "3", "3.5", "3.5.x", "3.5.1.2", "v3.5.1", ".staging"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read("latest").unwrap_err().to_string(),
            "'latest' is no etcd version; write it like 3.5.35"
        );
    }
}
