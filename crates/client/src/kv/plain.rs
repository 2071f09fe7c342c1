//! A macro for requests without keys: a namespace does not change their message.

/// Makes a type with a field `wire` a request that a call can carry.
///
/// `check` returns an error for a request that makes no sense, before it is sent. `long` says that
/// the default time-out does not apply.
macro_rules! plain_request {
    (
        $request:ty: $method:ident, repeatable: $repeatable:literal,
        $(long: $long:literal,)?
        $(check: $check:path,)?
        |$answer:ident: $message:ty| -> $reply:ty $body:block
    ) => {
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
                    $long
                }
            )?

            fn encode(
                &self,
                _: Option<&crate::key::Namespace>,
                limit: usize,
            ) -> Result<bytes::Bytes, crate::transport::Failure> {
                $($check(self)?;)?
                crate::transport::frame(&self.wire, limit)
            }

            fn decode(
                &self,
                reply: bytes::Bytes,
                _: Option<&crate::key::Namespace>,
            ) -> Result<$reply, crate::error::Error> {
                let $answer: $message = crate::kv::decode(reply)?;
                Ok($body)
            }
        }
    };
}
pub(crate) use plain_request;
