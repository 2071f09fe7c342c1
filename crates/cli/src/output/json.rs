//! The format `json`, with the names and the order of etcdctl: bytes are in base64, and fields that
//! are zero or empty are left out.

use std::io::{self, Write};

use etcdex::kv::{DeleteResponse, GetResponse, PutResponse};
use etcdex::{KeyValue, LeaseId, ResponseHeader};

use super::Health;
use crate::duration::Go;

pub(super) fn put(out: &mut dyn Write, reply: &PutResponse, _hex: bool) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.header(reply.header)?;
    if let Some(kv) = &reply.prev_kv {
        key_value(object.name("prev_kv")?, kv)?;
    }
    object.end_line()
}

pub(super) fn get(out: &mut dyn Write, reply: &GetResponse, _hex: bool) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.header(reply.header)?;
    object.key_values("kvs", &reply.kvs)?;
    if reply.more {
        object.name("more")?.write_all(b"true")?;
    }
    object.number("count", reply.count)?;
    object.end_line()
}

pub(super) fn del(out: &mut dyn Write, reply: &DeleteResponse, _hex: bool) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.header(reply.header)?;
    object.number("deleted", reply.deleted)?;
    object.key_values("prev_kvs", &reply.prev_kvs)?;
    object.end_line()
}

pub(super) fn health(out: &mut dyn Write, reply: &[Health], _hex: bool) -> io::Result<()> {
    array(out, reply, |out, health| {
        let mut object = Object::begin(out)?;
        string(object.name("endpoint")?, &health.endpoint)?;
        write!(object.name("health")?, "{}", health.error.is_none())?;
        string(object.name("took")?, &Go(health.took).to_string())?;
        if let Some(error) = &health.error {
            string(object.name("error")?, error)?;
        }
        object.end()
    })?;
    out.write_all(b"\n")
}

fn key_value(out: &mut dyn Write, kv: &KeyValue) -> io::Result<()> {
    let mut object = Object::begin(out)?;
    object.bytes("key", &kv.key)?;
    object.number("create_revision", kv.create_revision)?;
    object.number("mod_revision", kv.mod_revision)?;
    object.number("version", kv.version)?;
    object.bytes("value", &kv.value)?;
    object.number("lease", kv.lease.map_or(0, LeaseId::as_i64))?;
    object.end()
}

/// A JSON object that is being written. Fields that are zero or empty are left out.
struct Object<'a> {
    out: &'a mut dyn Write,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(b"{")?;
        Ok(Self {
            out,
            is_empty: true,
        })
    }

    /// Writes the name of a field; the caller writes the value.
    fn name(&mut self, name: &str) -> io::Result<&mut dyn Write> {
        let comma = if self.is_empty { "" } else { "," };
        self.is_empty = false;
        write!(self.out, "{comma}\"{name}\":")?;
        Ok(&mut *self.out)
    }

    fn number(&mut self, name: &str, number: impl Into<i128>) -> io::Result<()> {
        match number.into() {
            0 => Ok(()),
            number => write!(self.name(name)?, "{number}"),
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        base64(self.name(name)?, bytes)
    }

    fn header(&mut self, header: ResponseHeader) -> io::Result<()> {
        let mut object = Object::begin(self.name("header")?)?;
        object.number("cluster_id", header.cluster_id)?;
        object.number("member_id", header.member_id)?;
        object.number("revision", header.revision)?;
        object.number("raft_term", header.raft_term)?;
        object.end()
    }

    fn key_values(&mut self, name: &str, kvs: &[KeyValue]) -> io::Result<()> {
        if kvs.is_empty() {
            return Ok(());
        }
        array(self.name(name)?, kvs, key_value)
    }

    fn end(self) -> io::Result<()> {
        self.out.write_all(b"}")
    }

    fn end_line(self) -> io::Result<()> {
        self.out.write_all(b"}\n")
    }
}

fn array<T>(
    out: &mut dyn Write,
    items: &[T],
    item: impl Fn(&mut dyn Write, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(b"[")?;
    for (place, value) in items.iter().enumerate() {
        if place > 0 {
            out.write_all(b",")?;
        }
        item(out, value)?;
    }
    out.write_all(b"]")
}

fn base64(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.write_all(b"\"")?;
    for chunk in bytes.chunks(3) {
        let at = |place: usize| u32::from(chunk.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let mut digits = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
        digits[chunk.len() + 1..].fill(b'=');
        out.write_all(&digits)?;
    }
    out.write_all(b"\"")
}

/// Writes a string as Go's `encoding/json` does, which also escapes `<`, `>` and `&`.
fn string(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(out, "\\{c}")?,
            '\x08' => out.write_all(b"\\b")?,
            '\x0c' => out.write_all(b"\\f")?,
            '\n' => out.write_all(b"\\n")?,
            '\r' => out.write_all(b"\\r")?,
            '\t' => out.write_all(b"\\t")?,
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            c => write!(out, "{c}")?,
        }
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        render(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bytes_are_written_in_base64() {
        for (bytes, text) in [
            ("", "\"\""),
            ("f", "\"Zg==\""),
            ("fo", "\"Zm8=\""),
            ("foo", "\"Zm9v\""),
            ("foob", "\"Zm9vYg==\""),
        ] {
            assert_eq!(written(|out| base64(out, bytes.as_bytes())), text);
        }
        assert_eq!(written(|out| base64(out, &[0xfb, 0xff])), "\"+/8=\"");
    }

    #[test]
    fn strings_are_written_as_go_writes_them() {
        let text = "a\"\\\n\x01<é>&\u{2028}";
        let json = r#""a\"\\\n\u0001\u003cé\u003e\u0026\u2028""#;
        assert_eq!(written(|out| string(out, text)), json);
    }

    #[test]
    fn fields_that_are_zero_are_left_out() {
        let mut reply = GetResponse::default();
        assert_eq!(written(|out| get(out, &reply, false)), "{\"header\":{}}\n");
        reply.kvs.push(KeyValue::default());
        reply.header.revision = 7;
        reply.more = true;
        let json = "{\"header\":{\"revision\":7},\"kvs\":[{}],\"more\":true}\n";
        assert_eq!(written(|out| get(out, &reply, false)), json);
    }
}
