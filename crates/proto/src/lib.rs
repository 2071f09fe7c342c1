//! The etcd v3 API as messages and method paths.
//!
//! This crate is a part of etcdex, and changes with it; other crates should not depend on it. The
//! modules have the names of the protobuf packages (`health` is `grpc.health.v1`), and [`method`]
//! has the path of every method.
//!
//! `cargo xtask gen` writes the code below `gen`, which is committed. The `Debug` of a message shows
//! no data of the user: no keys, values, passwords or tokens.

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
    /// Users, roles and permissions as etcd stores them.
    authpb,
    "authpb.rs"
);
package!(
    /// The services of etcd itself.
    etcdserverpb,
    "etcdserverpb.rs"
);
package!(
    /// The health service of gRPC.
    health,
    "grpc.health.v1.rs"
);
package!(
    /// The paths of all methods, one module for a service.
    method,
    "method.rs"
);
package!(
    /// Keys and events as etcd stores them.
    mvccpb,
    "mvccpb.rs"
);
package!(
    /// Elections on the server.
    v3electionpb,
    "v3electionpb.rs"
);
package!(
    /// Locks on the server.
    v3lockpb,
    "v3lockpb.rs"
);

mod debug;

#[cfg(test)]
mod tests;
