//! Ratios of two measurements, round by round.

use std::fmt;

use serde::Serialize;

/// The ratio of one quantity of two contestants, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the rounds.
    pub median: f64,
    /// Smallest ratio of a round.
    pub min: f64,
    /// Largest ratio of a round.
    pub max: f64,
}

impl Ratio {
    /// Returns the ratio from that of each round. Without a round, all numbers are NaN.
    #[must_use]
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let ratios: Vec<f64> = rounds.into_iter().collect();
        Self {
            min: ratios.iter().copied().fold(f64::NAN, f64::min),
            max: ratios.iter().copied().fold(f64::NAN, f64::max),
            median: median(ratios),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, min, max } = self;
        write!(f, "{median:.3} ({min:.3}..{max:.3})")
    }
}

/// Returns the middle number, or the mean of the two in the middle; NaN if there is no number.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.get(half) {
        None => f64::NAN,
        Some(&middle) if numbers.len() % 2 == 1 => middle,
        Some(&middle) => f64::midpoint(numbers[half - 1], middle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_a_mean() {
        assert_eq!(median(vec![4.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
