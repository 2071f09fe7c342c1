use super::*;
use proptest::prelude::*;

/// Whether a range contains a key, by etcd's documentation of key ranges.
fn holds(range: &KeyRange, key: &[u8]) -> bool {
    match (&range.start[..], &range.end[..]) {
        (start, b"") => key == start,
        (start, b"\0") => key >= start,
        (start, end) => key >= start && key < end,
    }
}

/// Bytes of few values, many of them 0xFF and 0x00, so that the special cases are frequent.
fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![Just(0xFF), Just(0u8), Just(0xFE), Just(b'a'), Just(b'b')],
        length,
    )
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        bytes(1..4).prop_map(|key| KeyRange::single(key.into())),
        bytes(0..4).prop_map(|key| KeyRange::from_key(key.into())),
        bytes(0..4).prop_map(|key| KeyRange::prefix(key.into())),
        (bytes(1..4), bytes(1..4)).prop_map(|(start, end)| KeyRange {
            start: start.into(),
            end: end.into()
        }),
    ]
}

#[test]
fn prefix_ends_known_from_etcds_documentation() {
    assert_eq!(&prefix_end(b"a")[..], b"b");
    assert_eq!(&prefix_end(b"aa")[..], b"ab");
    assert_eq!(&prefix_end(b"a\xff")[..], b"b");
    assert_eq!(&prefix_end(b"a\xff\xff")[..], b"b");
    assert_eq!(&prefix_end(b"\xff")[..], b"\0");
    assert_eq!(&prefix_end(b"\xff\xff")[..], b"\0");
    assert_eq!(&prefix_end(b"")[..], b"\0");
}

#[test]
fn neither_keys_nor_values_are_printed() {
    let printed = format!("{:?} {:?}", Key::from("secret"), Value::from("secret"));
    assert_eq!(printed, "Key(6 bytes) Value(6 bytes)");
}

proptest! {
    #[test]
    fn a_prefix_range_holds_just_the_keys_with_the_prefix(prefix in bytes(0..4), key in bytes(1..7)) {
        let range = KeyRange::prefix(prefix.clone().into());
        prop_assert_eq!(holds(&range, &key), key.starts_with(&prefix));
    }

    /// A key is in the range on the wire if and only if it is in the namespace and its name inside
    /// is in the range of the caller.
    #[test]
    fn a_namespace_neither_leaks_nor_hides(prefix in bytes(1..4), range in range(), key in bytes(1..8)) {
        let namespace = Namespace::new(prefix.clone().into()).expect("not empty");
        let touched = holds(&namespace.range(&range), &key);
        let inside = namespace.strip(&Bytes::from(key)).filter(|name| !name.is_empty());
        prop_assert_eq!(touched, inside.is_some_and(|name| holds(&range, &name)));
    }

    #[test]
    fn namespaces_nest(outer in bytes(1..4), inner in bytes(1..4), range in range()) {
        let first = Namespace::new(outer.into()).expect("not empty");
        let nested = Namespace::within(Some(&first), &inner).expect("not empty");
        let second = Namespace::new(inner.into()).expect("not empty");
        prop_assert_eq!(nested.range(&range), first.range(&second.range(&range)));
    }
}

/// Each type in which programs hold keys converts to the same bytes.
#[test]
fn keys_of_every_type() {
    use std::borrow::Cow;
    use std::sync::Arc;

    let text = "jobs/1";
    let bytes = Bytes::from(text);
    let shared: Arc<str> = text.into();
    for key in [
        Key::from(text),
        Key::from(&text.to_owned()),
        Key::from(text.to_owned()),
        Key::from(Cow::Borrowed(text)),
        Key::from(Cow::<str>::Owned(text.to_owned())),
        Key::from(Box::<str>::from(text)),
        Key::from(&shared),
        Key::from(shared),
        Key::from(b"jobs/1"),
        Key::from(*b"jobs/1"),
        Key::from(text.as_bytes()),
        Key::from(text.as_bytes().to_vec()),
        Key::from(&text.as_bytes().to_vec()),
        Key::from(Box::<[u8]>::from(text.as_bytes())),
        Key::from(Cow::Borrowed(text.as_bytes())),
        Key::from(&bytes),
        Key::from(bytes),
    ] {
        assert_eq!(key.as_ref(), text.as_bytes());
        assert_eq!(Key::from(&key), key);
    }
}
