//! The context of a call: the server, the client, and the token that came with the call.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::grpc::{Code, Status};
use crate::node::Node;
use crate::store::{Caller, Store};

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The user that its certificate names, if certificates name users.
    pub(crate) user: Option<Arc<str>>,
}

/// The context of a call.
#[derive(Clone)]
pub(crate) struct Context {
    node: Arc<Node>,
    /// The user that the client's certificate names.
    certificate_user: Option<Arc<str>>,
    token: Option<HeaderValue>,
    requires_leader: bool,
}

impl Context {
    pub(crate) fn new(node: Arc<Node>, peer: &Peer, headers: &HeaderMap) -> Self {
        // Source: etcd, `api/v3rpc/rpctypes/metadatafields.go`.
        let token = headers
            .get("token")
            .or_else(|| headers.get("authorization"));
        let requires_leader = headers
            .get("hasleader")
            .is_some_and(|value| value == "true");
        Self {
            node,
            certificate_user: peer.user.clone(),
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

    /// Returns the user of the call: that of the token, or of the client's certificate. `None` if there
    /// is neither, or the store asks for no users.
    ///
    /// # Errors
    /// The token is not valid.
    pub(crate) fn caller(&self, store: &Store) -> Result<Option<Caller>, Status> {
        if !store.is_auth_enabled() {
            return Ok(None);
        }
        let caller = |user| Caller {
            user,
            revision: store.auth_revision(),
        };
        let Some(token) = &self.token else {
            let user = self.certificate_user.as_deref();
            return Ok(user.map(|user| caller(user.into())));
        };
        let user = token.to_str().ok().and_then(|token| {
            let token = token.strip_prefix("Bearer ").unwrap_or(token);
            self.node.tokens().user(token, self.node.now())
        });
        match user {
            Some(user) => Ok(Some(caller(user))),
            None => {
                let text = "etcdserver: invalid auth token";
                Err(Status::new(Code::Unauthenticated, text))
            }
        }
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
