//! `Debug` of structs that show only some of their fields, or lengths instead of bytes.
//!
//! Passwords and tokens: `credentials.rs`. Events and metrics: `telemetry.rs`. The messages of etcd's
//! API: `debug.rs` of `etcdex-proto`.

use std::fmt;

/// Implements `Debug` for a struct, with the given expressions as its fields:
///
/// `debug_fields! { Lock |lock| { name: byte_length(&lock.name), lease: lock.lease } }`
///
/// `..` at the end says that the struct has more fields.
macro_rules! debug_fields {
    ($type:ident |$this:ident| { $($name:ident: $value:expr,)* .. }) => {
        $crate::debug::debug_fields! { @ $type $this finish_non_exhaustive $($name: $value,)* }
    };
    ($type:ident |$this:ident| { $($name:ident: $value:expr),* $(,)? }) => {
        $crate::debug::debug_fields! { @ $type $this finish $($name: $value,)* }
    };
    (@ $type:ident $this:ident $finish:ident $($name:ident: $value:expr,)*) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $this = self;
                f.debug_struct(stringify!($type))
                    $(.field(stringify!($name), &$value))*
                    .$finish()
            }
        }
    };
}
pub(crate) use debug_fields;

/// Returns the length of keys, values and names, which `Debug` does not show.
pub(crate) fn byte_length(bytes: &[u8]) -> impl fmt::Debug {
    struct ByteLength(usize);
    impl fmt::Debug for ByteLength {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} bytes", self.0)
        }
    }
    ByteLength(bytes.len())
}
