//! Prints the text of the tour line by line.

use std::io::{self, Write as _};
use std::time::Duration;

use crate::failure::Failure;

/// Numbers the steps and writes lines to standard output.
#[derive(Default)]
pub(super) struct Printer {
    steps: usize,
}

impl Printer {
    /// Prints the heading of the next step.
    pub(super) fn step(&mut self, title: &str) -> Result<(), Failure> {
        self.steps += 1;
        let number = self.steps;
        self.write(&format!("\n{number}. {title}\n"))
    }

    /// Prints a line of a step.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        let indent = if self.steps == 0 { "" } else { "   " };
        self.write(&format!("{indent}{text}\n"))
    }

    /// Prints a figure and its explanation.
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

/// Formats a duration in milliseconds, with two decimals below 10 ms and one below 100 ms.
pub(super) fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.2} ms"),
        ..100.0 => format!("{milliseconds:.1} ms"),
        _ => format!("{milliseconds:.0} ms"),
    }
}

/// Formats a number with commas between the thousands.
pub(super) fn thousands(number: impl TryInto<u64>) -> String {
    // INVARIANT: the tour counts nothing that is negative or beyond 64 bits.
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

/// Formats a number with a noun: `1 put`, `2 puts`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(7_u64), "7");
        assert_eq!(thousands(123_u64), "123");
        assert_eq!(thousands(1_234_567_u64), "1,234,567");
        assert_eq!(count(1, "put"), "1 put");
        assert_eq!(milliseconds(Duration::from_micros(1_234)), "1.23 ms");
        assert_eq!(milliseconds(Duration::from_millis(1_234)), "1234 ms");
    }
}
