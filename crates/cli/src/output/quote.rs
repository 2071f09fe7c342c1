//! Strings quoted as by Go's `%q`.
//!
//! Source: <https://pkg.go.dev/strconv#Quote>.

use std::fmt::{self, Write as _};

/// Displays bytes in quotes, with escapes for characters that cannot be printed.
pub(super) struct Quoted<'a>(pub(super) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| escaped(f, c))?;
            let mut bytes = chunk.invalid().iter();
            bytes.try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        f.write_char('"')
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '"' | '\\' => write!(f, "\\{c}"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        '\0'..' ' | '\x7f' => write!(f, "\\x{:02x}", u32::from(c)),
        c if is_printable(c) => f.write_char(c),
        '\0'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c)),
        c => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Whether Go prints the character without an escape: letters, marks, numbers, punctuation, symbols
/// and the space.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    // `escape_debug` is the standard library's only access to this property. It escapes a combining
    // mark at the beginning of a text, so the character comes second.
    let mut text = [0; 5];
    text[0] = b'a';
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        let quoted = |bytes: &[u8]| Quoted(bytes).to_string();
        assert_eq!(quoted(b""), r#""""#);
        assert_eq!(quoted(b"a'b\"c\\"), r#""a'b\"c\\""#);
        assert_eq!(
            quoted(b"\x00\x07\x08\t\n\x0b\x0c\r\x1b\x7f"),
            r#""\x00\a\b\t\n\v\f\r\x1b\x7f""#
        );
        assert_eq!(quoted(b"\xff\xe4\xb8"), r#""\xff\xe4\xb8""#);
        assert_eq!(quoted("é中🎉e\u{301}".as_bytes()), "\"é中🎉e\u{301}\"");
        assert_eq!(
            quoted("\u{85}\u{a0}\u{2028}\u{feff}".as_bytes()),
            r#""\u0085\u00a0\u2028\ufeff""#
        );
        assert_eq!(quoted("\u{e0001}".as_bytes()), r#""\U000e0001""#);
    }
}
