//! Conversion of requests to operations, and operations as requests of their own.

use bytes::Bytes;

use super::{Operation, OperationResponse, Txn};
use crate::call::Request;
use crate::error::Error;
use crate::key::Namespace;
use crate::kv::{Delete, Get, Put};
use crate::method::Method;
use crate::transport::Failure;

/// A request that can be an operation of a transaction: [`Get`], [`Put`], [`Delete`], [`Txn`],
/// or an [`Operation`] that holds one of these.
///
/// The methods of a [`Client`](crate::Client) return calls, which are sent by themselves and are
/// not operations:
///
/// ```compile_fail,E0277
/// # fn example(client: etcdex::Client) {
/// let call = client.txn().then(client.put("key", "value"));
/// # }
/// ```
///
/// ```
/// # fn example(client: etcdex::Client) {
/// let call = client.txn().then(etcdex::Put::new("key", "value"));
/// # drop(call);
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operation of a transaction",
    label = "expected a request value",
    note = "write `Put::new(key, value)`, `Get::new(key)`, `Delete::new(key)` or `Txn::new()`; \
            `client.put(..)` and its like make a call, which is sent by itself"
)]
pub trait IntoOperation {
    /// Returns the operation.
    fn into_operation(self) -> Operation;
}

impl IntoOperation for Operation {
    fn into_operation(self) -> Operation {
        self
    }
}

macro_rules! operations {
    ($($request:ident)*) => {
        $(
            impl IntoOperation for $request {
                fn into_operation(self) -> Operation {
                    Operation::$request(self)
                }
            }

            impl From<$request> for Operation {
                fn from(request: $request) -> Self {
                    Self::$request(request)
                }
            }
        )*

        // Each method forwards to the request that the operation holds.
        impl Request for Operation {
            type Reply = OperationResponse;

            fn method(&self) -> Method {
                match self {
                    $(Self::$request(request) => request.method(),)*
                }
            }

            fn is_repeatable(&self) -> bool {
                match self {
                    $(Self::$request(request) => request.is_repeatable(),)*
                }
            }

            fn encode(
                &self,
                namespace: Option<&Namespace>,
                limit: usize,
            ) -> Result<Bytes, Failure> {
                match self {
                    $(Self::$request(request) => request.encode(namespace, limit),)*
                }
            }

            fn decode(
                &self,
                reply: Bytes,
                namespace: Option<&Namespace>,
            ) -> Result<OperationResponse, Error> {
                Ok(match self {
                    $(Self::$request(request) => {
                        OperationResponse::$request(request.decode(reply, namespace)?)
                    })*
                })
            }
        }
    };
}

// A macro, because the four differ only in their names.
operations! { Get Put Delete Txn }
