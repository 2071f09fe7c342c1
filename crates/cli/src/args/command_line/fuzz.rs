//! Any words as the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::CommandFactory as _;

use super::super::{Arguments, number};
use super::parse_words;
use crate::duration::{self, Go};

/// Parses `input` as words that a NUL separates, and each of them as a number and a duration.
pub(crate) fn command_line(input: &[u8]) {
    let words = input.split(|byte| *byte == 0);
    let words: Vec<OsString> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    for text in words.iter().filter_map(|word| word.to_str()) {
        let _ = (number::size(text), number::lease(text), number::truth(text));
        if let Ok(number) = number::integer(text) {
            assert_eq!(number::integer(&number.to_string()), Ok(number));
        }
        if let Ok(duration) = duration::parse(text) {
            let again = duration::parse(&Go(duration).to_string());
            assert_eq!(again, Ok(duration), "{text}");
        }
    }
    let words = std::iter::once("etcdex".into()).chain(words);
    if let Err(failure) = parse_words(Arguments::command(), words) {
        assert!(!failure.to_string().is_empty());
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const WORDS: &[&str] = &[
        "get",
        "put",
        "del",
        "endpoint",
        "health",
        "tour",
        "version",
        "help",
        "--help",
        "--",
        "--prefix",
        "--prefix=true",
        "--prefix=false",
        "--from-key=x",
        "--limit",
        "--limit=0x1F",
        "--order=ascend",
        "--sort-by=key",
        "--write-out=json",
        "-w",
        "table",
        "--lease",
        "7b",
        "--endpoints=http://[::1]:2379,unix:///tmp/x",
        "--endpoints",
        "HTTP://a",
        "--user=a:b",
        "--dial-timeout=1h2.5m",
        "--command-timeout",
        "1.5s",
        "9223372036854775807ns",
        "+0",
        "-1",
        "--consistency=l",
        "--rev=-9223372036854775808",
        "k",
        "",
        "\u{e4}",
        "--keepalive-time=µs",
    ];

    /// `ETCDEX_SEED` repeats a run.
    #[test]
    fn any_words_are_parsed_or_refused_with_a_text() {
        let seed = std::env::var("ETCDEX_SEED").ok();
        let seed = seed.and_then(|text| text.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("ETCDEX_SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        for _ in 0..300 {
            let words = (0..rng.usize(..6)).map(|_| WORDS[rng.usize(..WORDS.len())]);
            let mut input = words.collect::<Vec<_>>().join("\0").into_bytes();
            if rng.bool() && !input.is_empty() {
                let place = rng.usize(..input.len());
                input[place] = rng.u8(..);
            }
            command_line(&input);
        }
    }
}
