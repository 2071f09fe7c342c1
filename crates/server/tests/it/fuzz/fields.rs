//! The fields of any protobuf message, without its type: shown with all data, and removed one at a
//! time.

use std::fmt::Write as _;

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// Length of the longest text that is shown whole, in bytes.
const SHOWN: usize = 40;

/// A field. Of a number with a fixed length there is none in etcd's messages.
#[derive(Clone)]
enum Field {
    Number(u32, u64),
    Bytes(u32, Vec<u8>),
}

/// Returns the fields of a message; `None` if the bytes are no message.
fn parse(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        let number = match wire_type {
            WireType::Varint | WireType::LengthDelimited => decode_varint(&mut bytes).ok()?,
            _ => return None,
        };
        if wire_type == WireType::Varint {
            fields.push(Field::Number(tag, number));
            continue;
        }
        let (content, rest) = bytes.split_at_checked(usize::try_from(number).ok()?)?;
        bytes = rest;
        fields.push(Field::Bytes(tag, content.to_vec()));
    }
    Some(fields)
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        match field {
            Field::Number(tag, number) => {
                encode_key(*tag, WireType::Varint, &mut bytes);
                encode_varint(*number, &mut bytes);
            }
            Field::Bytes(tag, content) => {
                encode_key(*tag, WireType::LengthDelimited, &mut bytes);
                encode_varint(content.len() as u64, &mut bytes);
                bytes.extend_from_slice(content);
            }
        }
    }
    bytes
}

/// Returns the messages that have one field less, also of a message inside.
pub(crate) fn without_one(bytes: &[u8]) -> Vec<Vec<u8>> {
    let fields = parse(bytes).unwrap_or_default();
    let mut all = Vec::new();
    for index in 0..fields.len() {
        let mut rest = fields.clone();
        let removed = rest.remove(index);
        all.push(encode(&rest));
        if let Field::Bytes(tag, content) = removed {
            for inner in without_one(&content) {
                let mut rest = fields.clone();
                rest[index] = Field::Bytes(tag, inner);
                all.push(encode(&rest));
            }
        }
    }
    all
}

/// Writes a message: the numbers of its fields, and their values.
pub(crate) fn show(bytes: &[u8]) -> String {
    let Some(fields) = parse(bytes) else {
        return text(bytes);
    };
    let mut shown = String::from("{");
    for field in fields {
        // Writing to a string does not fail.
        let _ = match field {
            Field::Number(tag, number) => {
                let signed = i64::from_le_bytes(number.to_le_bytes());
                write!(shown, " {tag}: {signed}")
            }
            Field::Bytes(tag, content) => write!(shown, " {tag}: {}", value(&content)),
        };
    }
    shown + " }"
}

/// Writes the value of a field: a text, or a message.
fn value(content: &[u8]) -> String {
    let is_text = content
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match is_text {
        true => text(content),
        false => show(content),
    }
}

fn text(content: &[u8]) -> String {
    match content.get(..SHOWN) {
        None => format!("\"{}\"", content.escape_ascii()),
        Some(start) => format!("\"{}\" of {} bytes", start.escape_ascii(), content.len()),
    }
}
