//! The context of a call: the server, and the token that came with the call.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::grpc::{Code, Status};
use crate::node::Node;
use crate::store::{Caller, Store};

/// The context of a call.
#[derive(Clone)]
pub(crate) struct Context {
    node: Arc<Node>,
    token: Option<HeaderValue>,
    requires_leader: bool,
}

impl Context {
    pub(crate) fn new(node: Arc<Node>, headers: &HeaderMap) -> Self {
        // Source: etcd, `api/v3rpc/rpctypes/metadatafields.go`.
        let token = headers
            .get("token")
            .or_else(|| headers.get("authorization"));
        let requires_leader = headers
            .get("hasleader")
            .is_some_and(|value| value == "true");
        Self {
            node,
            token: token.cloned(),
            requires_leader,
        }
    }

    /// Whether the client wants an error where there is no leader.
    pub(crate) fn requires_leader(&self) -> bool {
        self.requires_leader
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Returns the user of the call. `None` if there is no token, or the store asks for no users.
    ///
    /// # Errors
    /// The token is not valid.
    pub(crate) fn caller(&self, store: &Store) -> Result<Option<Caller>, Status> {
        let token = match &self.token {
            Some(token) if store.is_auth_enabled() => token,
            _ => return Ok(None),
        };
        let user = token.to_str().ok().and_then(|token| {
            let token = token.strip_prefix("Bearer ").unwrap_or(token);
            self.node.tokens().user(token, self.node.now())
        });
        let Some(user) = user else {
            let text = "etcdserver: invalid auth token";
            return Err(Status::new(Code::Unauthenticated, text));
        };
        Ok(Some(Caller {
            user,
            revision: store.auth_revision(),
        }))
    }

    /// Refuses a call without a user, if the store asks for users.
    pub(crate) fn require_user(&self, store: &Store) -> Result<(), Status> {
        let caller = self.caller(store)?;
        Ok(store.check_user(caller.as_ref())?)
    }

    /// Refuses a call of a user without the role `root`, if the store asks for users.
    pub(crate) fn require_admin(&self, store: &Store) -> Result<(), Status> {
        let caller = self.caller(store)?;
        Ok(store.check_admin(caller.as_ref())?)
    }
}
