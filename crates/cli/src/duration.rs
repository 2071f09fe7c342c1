//! Durations in the syntax of Go, which `etcdctl` uses.
//!
//! Source: <https://pkg.go.dev/time#ParseDuration> and <https://pkg.go.dev/time#Duration.String>.

use std::fmt;
use std::time::Duration;

/// Formats a duration as Go does: `3.5ms`, `1m0.25s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Go(pub(crate) Duration);

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 6)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = decimal(nanos % 60_000_000_000, 9);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, minutes) => write!(f, "{minutes}m{seconds}s"),
                    (hours, minutes) => write!(f, "{hours}h{minutes}m{seconds}s"),
                }
            }
        }
    }
}

/// Formats `number / 10^places` as a decimal number without trailing zeros.
fn decimal(number: u128, places: usize) -> String {
    let unit = 10_u128.pow(u32::try_from(places).unwrap_or(0));
    let text = format!("{}.{:0places$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Parses a duration as Go does, but for negative ones, which are refused.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refusal = || "expected a duration like 5s, 500ms or 1m30s".to_owned();
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(refusal());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refusal()),
        };
        let number: f64 = number.parse().map_err(|_| refusal())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refusal())?;
        total = total.checked_add(part).ok_or_else(refusal)?;
        rest = after;
    }
    Ok(total)
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let written = |nanos| Go(Duration::from_nanos(nanos)).to_string();
        assert_eq!(written(0), "0s");
        assert_eq!(written(17), "17ns");
        assert_eq!(written(1_500), "1.5µs");
        assert_eq!(written(3_276_500), "3.2765ms");
        assert_eq!(written(1_000_000_000), "1s");
        assert_eq!(written(5_002_322_893), "5.002322893s");
        assert_eq!(written(60_250_000_000), "1m0.25s");
        assert_eq!(written(3_600_000_000_000), "1h0m0s");
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let read = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(read("5s"), Ok(5_000));
        assert_eq!(read("1m30.5s"), Ok(90_500));
        assert_eq!(read("1h2m3.5s"), Ok(3_723_500));
        assert_eq!(read(".5s"), Ok(500));
        assert_eq!(read("0"), Ok(0));
        for wrong in [
            "",
            "5",
            "s",
            ".s",
            "-5s",
            "5 s",
            "5x",
            "1e9h",
            "999999999999999999h",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
