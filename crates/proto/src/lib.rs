//! The etcd v3 API as messages and method paths.
//!
//! A part of etcdex and not for others to depend on: it changes whenever etcdex needs it to. The
//! modules are named after the protobuf packages, `health` being `grpc.health.v1`; [`method`]
//! has the path of every method.
//!
//! The code below `gen` is written by `cargo xtask gen` and committed. What a message carries of
//! the user's (keys, values, passwords, tokens) stays out of its `Debug`.

macro_rules! package {
    ($(#[$attribute:meta])* $module:ident, $file:literal) => {
        $(#[$attribute])*
        #[allow(missing_docs, clippy::all)]
        pub mod $module {
            include!(concat!("gen/", $file));
        }
    };
}

package!(
    /// Users, roles and permissions as the store keeps them.
    authpb,
    "authpb.rs"
);
package!(
    /// The services of etcd itself.
    etcdserverpb,
    "etcdserverpb.rs"
);
package!(
    /// gRPC's own health service.
    health,
    "grpc.health.v1.rs"
);
package!(
    /// The paths of all methods, a module a service.
    method,
    "method.rs"
);
package!(
    /// Keys and events as the store keeps them.
    mvccpb,
    "mvccpb.rs"
);
package!(
    /// Elections that the server keeps.
    v3electionpb,
    "v3electionpb.rs"
);
package!(
    /// Locks that the server keeps.
    v3lockpb,
    "v3lockpb.rs"
);

mod debug;

#[cfg(test)]
mod tests;
