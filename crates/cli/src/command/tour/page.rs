//! The tour's text: it goes out line by line, as it happens.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::failure::Failure;

/// Numbers the steps and writes lines.
#[derive(Default)]
pub(super) struct Page {
    steps: usize,
}

impl Page {
    /// Begins a step.
    pub(super) fn step(&mut self, title: &str) -> Result<(), Failure> {
        self.steps += 1;
        let number = self.steps;
        self.write(&format!("\n{number}. {title}\n"))
    }

    /// A line of a step.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let indent = if self.steps == 0 { "" } else { "   " };
        self.write(&format!("{indent}{text}\n"))
    }

    /// A line with a figure, and what it is a figure of.
    pub(super) fn figure(&mut self, figure: &str, text: &str) -> Result<(), Failure> {
        self.line(&format!("{figure:>10}  {text}"))
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(Failure::Output)
    }
}

/// A short time, with as many digits as matter.
pub(super) fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.2} ms"),
        ..100.0 => format!("{milliseconds:.1} ms"),
        _ => format!("{milliseconds:.0} ms"),
    }
}

/// A whole number with commas.
pub(super) fn thousands(number: impl TryInto<u64>) -> String {
    // Nothing that is counted here is negative or beyond 64 bits.
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 put`, `2 puts`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(thousands(7_u64), "7");
        assert_eq!(thousands(123_u64), "123");
        assert_eq!(thousands(1_234_567_u64), "1,234,567");
        assert_eq!(count(1, "put"), "1 put");
        assert_eq!(milliseconds(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(milliseconds(Duration::from_millis(1_234)), "1234 ms");
    }
}
