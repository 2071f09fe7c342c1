//! A macro for requests without keys: a namespace does not change their message.

/// Defines a request with its message as the field `wire`.
///
/// - `empty` after the message: the request has no arguments, and the macro makes `new`.
/// - `long`: whether the default time-out does not apply.
/// - `check`: returns an error for a message that makes no sense, before it is sent.
macro_rules! plain_request {
    (
        $(#[$doc:meta])*
        pub struct $request:ident($wire:ty $(, $empty:ident)?): $method:ident,
        repeatable: $repeatable:literal,
        $(long: |$long_message:ident| $long:expr,)?
        $(check: |$message:ident| $check:expr,)?
        |$answer:ident: $response:ty| -> $reply:ty $body:block
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a request does nothing until it is sent"]
        pub struct $request {
            wire: $wire,
        }

        $(crate::kv::plain_request! { @ $empty $request $wire })?

        impl crate::call::Request for $request {
            type Reply = $reply;

            fn method(&self) -> crate::method::Method {
                crate::method::Method::$method
            }

            fn is_repeatable(&self) -> bool {
                $repeatable
            }

            $(
                fn is_long(&self) -> bool {
                    let $long_message = &self.wire;
                    $long
                }
            )?

            fn encode(
                &self,
                _: Option<&crate::key::Namespace>,
                limit: usize,
            ) -> Result<bytes::Bytes, crate::transport::Failure> {
                $(
                    let $message = &self.wire;
                    let checked: Result<(), crate::transport::Failure> = $check;
                    checked?;
                )?
                crate::transport::frame(&self.wire, limit)
            }

            fn decode(
                &self,
                reply: bytes::Bytes,
                _: Option<&crate::key::Namespace>,
            ) -> Result<$reply, crate::error::Error> {
                let $answer: $response = crate::kv::decode(reply)?;
                Ok($body)
            }
        }
    };
    (@ empty $request:ident $wire:ty) => {
        impl Default for $request {
            fn default() -> Self {
                Self::new()
            }
        }

        impl $request {
            /// Returns the request.
            pub fn new() -> Self {
                Self {
                    wire: <$wire>::default(),
                }
            }
        }
    };
}
pub(crate) use plain_request;
