//! PURE: the durations and sizes that a client accepts.
//!
//! A duration that is too short would make the client useless (no time to connect) or a burden
//! (thousands of connects a second): it is refused. A very long duration means "never" and is taken
//! as a year, as not every duration can be added to an instant.

use std::time::Duration;

use super::{MIN_KEEP_ALIVE_INTERVAL, Options};

/// Longer durations are taken as this one.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const MILLISECOND: Duration = Duration::from_millis(1);

/// Clamps the durations that are too long.
///
/// # Errors
/// A text about the first value that is too small, with its bound.
pub(super) fn bound(options: &mut Options) -> Result<(), String> {
    let durations = [
        ("timeout", options.timeout.as_mut(), MILLISECOND, ""),
        (
            "connect_timeout",
            Some(&mut options.connect_timeout),
            MILLISECOND,
            "",
        ),
        (
            "keep_alive_interval",
            options.keep_alive_interval.as_mut(),
            MIN_KEEP_ALIVE_INTERVAL,
            " (etcd closes connections that ping faster)",
        ),
        (
            "keep_alive_timeout",
            options.keep_alive_timeout.as_mut(),
            MILLISECOND * 10,
            "",
        ),
        (
            "retry_timeout",
            Some(&mut options.retry_timeout),
            MILLISECOND * 10,
            " (the first pause)",
        ),
        (
            "max_connection_age",
            options.max_connection_age.as_mut(),
            Duration::from_secs(1),
            "",
        ),
        (
            "auto_sync_interval",
            options.auto_sync_interval.as_mut(),
            MILLISECOND * 10,
            "",
        ),
    ];
    for (name, duration, least, why) in durations {
        let Some(duration) = duration else { continue };
        if *duration < least {
            return Err(format!(
                "{name} is {duration:?}, and must be at least {least:?}{why}"
            ));
        }
        *duration = (*duration).min(YEAR);
    }
    let limits = &options.watch_limits;
    let sizes = [
        ("max_receive_size", options.max_receive_size),
        ("max_send_size", options.max_send_size),
        ("watch_limits: watch_bytes", limits.watch_bytes),
        ("watch_limits: watch_events", limits.watch_events),
        ("watch_limits: client_bytes", limits.client_bytes),
        ("watch_limits: client_events", limits.client_events),
        ("watch_limits: revision_bytes", limits.revision_bytes),
    ];
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(format!("{name} is 0, and must be at least 1")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut Options, Duration);
    type Change = fn(&mut Options);
    type Of = fn(&Options) -> Option<Duration>;

    /// Each duration, and the shortest that is taken.
    const DURATIONS: [(&str, u64, Set, Of); 7] = [
        ("timeout", 1, |o, d| o.timeout = Some(d), |o| o.timeout),
        (
            "connect_timeout",
            1,
            |o, d| o.connect_timeout = d,
            |o| Some(o.connect_timeout),
        ),
        (
            "keep_alive_interval",
            5_000,
            |o, d| o.keep_alive_interval = Some(d),
            |o| o.keep_alive_interval,
        ),
        (
            "keep_alive_timeout",
            10,
            |o, d| o.keep_alive_timeout = Some(d),
            |o| o.keep_alive_timeout,
        ),
        (
            "retry_timeout",
            10,
            |o, d| o.retry_timeout = d,
            |o| Some(o.retry_timeout),
        ),
        (
            "max_connection_age",
            1_000,
            |o, d| o.max_connection_age = Some(d),
            |o| o.max_connection_age,
        ),
        (
            "auto_sync_interval",
            10,
            |o, d| o.auto_sync_interval = Some(d),
            |o| o.auto_sync_interval,
        ),
    ];

    #[test]
    fn a_duration_that_is_too_short_is_refused_and_one_that_is_too_long_is_a_year() {
        for (name, least, set, of) in DURATIONS {
            let least = Duration::from_millis(least);
            let bounded = |duration| {
                let mut options = Options::default();
                set(&mut options, duration);
                bound(&mut options).map(|()| of(&options))
            };
            for short in [Duration::ZERO, least - Duration::from_nanos(1)] {
                let text = bounded(short).expect_err(name);
                assert!(
                    text.starts_with(name) && text.contains(&format!("{least:?}")),
                    "{text}"
                );
            }
            assert_eq!(bounded(least), Ok(Some(least)), "{name}");
            assert_eq!(bounded(Duration::MAX), Ok(Some(YEAR)), "{name}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_refused() {
        let none: [(&str, Change); 7] = [
            ("max_receive_size", |o| o.max_receive_size = 0),
            ("max_send_size", |o| o.max_send_size = 0),
            ("watch_bytes", |o| o.watch_limits.watch_bytes = 0),
            ("watch_events", |o| o.watch_limits.watch_events = 0),
            ("client_bytes", |o| o.watch_limits.client_bytes = 0),
            ("client_events", |o| o.watch_limits.client_events = 0),
            ("revision_bytes", |o| o.watch_limits.revision_bytes = 0),
        ];
        for (name, set) in none {
            let mut options = Options::default();
            set(&mut options);
            let text = bound(&mut options).expect_err(name);
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(bound(&mut Options::default()), Ok(()));
    }
}
