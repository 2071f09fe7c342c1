//! Numbers and truth values in the syntax of Go, which `etcdctl` uses.

/// Parses an integer: decimal, or with the prefix `0x`, `0o`, `0` or `0b`.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let refusal = || "expected a whole number of 64 bits".to_owned();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return Err(refusal());
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).map_err(|_| refusal())
}

/// Parses a number of bytes.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    usize::try_from(integer(text)?).map_err(|_| "a number of bytes cannot be negative".to_owned())
}

/// Parses the ID of a lease: hexadecimal, without `0x`.
pub(crate) fn lease(text: &str) -> Result<i64, String> {
    i64::from_str_radix(text, 16)
        .map_err(|_| "a lease ID is a hexadecimal number of 64 bits".to_owned())
}

/// Parses the words that Go accepts for true and false.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0),
            ("-1", -1),
            ("+7", 7),
            ("0x1F", 31),
            ("-0b101", -5),
            ("0o17", 15),
            ("017", 15),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for wrong in [
            "",
            "-",
            "x",
            "1x",
            "0x",
            "--1",
            "0x-1",
            "9223372036854775808",
        ] {
            assert!(integer(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lease_ids_are_hexadecimal() {
        assert_eq!(lease("7b"), Ok(123));
        assert_eq!(lease("0"), Ok(0));
        for wrong in ["", "zz", "0x1", "8000000000000000"] {
            assert!(lease(wrong).is_err(), "{wrong}");
        }
    }
}
