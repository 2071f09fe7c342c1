//! The members of the cluster: who belongs to it, and changes of that.
//!
//! The methods are those of the client: [`Client::list_members`](crate::Client::list_members)
//! and so on. Each request is also a value of its own, for
//! [`Client::run`](crate::Client::run).
//!
//! A change of membership needs a majority of the members, and etcd makes one at a time. How
//! to go about it: <https://etcd.io/docs/v3.6/op-guide/runtime-configuration/>.

mod peer_url;

use etcdex_proto::etcdserverpb as pb;

use self::peer_url::check_peer_urls;
use crate::call::options;
use crate::kv::{ResponseHeader, header, plain_request, refuse};
use crate::transport::Failure;

/// A member of the cluster.
///
/// Source: <https://etcd.io/docs/v3.6/dev-guide/api_reference_v3/> (message `Member`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member {
    /// Its ID; never 0.
    pub id: u64,
    /// Its name (`--name`); empty until the member has started for the first time.
    pub name: String,
    /// Where the other members find it, as URLs.
    pub peer_urls: Vec<String>,
    /// Where clients find it, as URLs; empty until the member has started.
    pub client_urls: Vec<String>,
    /// Whether it only follows: it has no vote, and serves little.
    pub is_learner: bool,
}

fn member(member: pb::Member) -> Member {
    Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        is_learner: member.is_learner,
    }
}

/// All members: the reply to most requests of this module.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MembersResponse {
    /// Who answered. Its revision is 0: members are not kept in the store of keys.
    pub header: ResponseHeader,
    /// The members of the cluster, after the change if there was one.
    pub members: Vec<Member>,
}

impl MembersResponse {
    fn of(answered: Option<pb::ResponseHeader>, members: Vec<pb::Member>) -> Self {
        Self {
            header: header(answered),
            members: members.into_iter().map(member).collect(),
        }
    }
}

/// The reply to an [`AddMember`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AddMemberResponse {
    /// Who answered. Its revision is 0: members are not kept in the store of keys.
    pub header: ResponseHeader,
    /// The new member: with an ID, and without a name until it has started.
    pub member: Member,
    /// The members of the cluster, the new one included.
    pub members: Vec<Member>,
}

/// Lists the members.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListMembers {
    wire: pb::MemberListRequest,
}

impl ListMembers {
    /// Lists the members that the cluster agrees on now.
    pub fn new() -> Self {
        Self {
            wire: pb::MemberListRequest { linearizable: true },
        }
    }
}

impl Default for ListMembers {
    fn default() -> Self {
        Self::new()
    }
}

options! { ListMembers {
    /// Asks for what the member that answers knows, which may be behind, and which it tells
    /// also when the cluster has no leader. Servers before 3.5 always answer so.
    fn serializable(mut self) {
        self.wire.linearizable = false;
    }
} }

plain_request! {
    ListMembers: MemberList, repeatable: true,
    |answer: pb::MemberListResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

/// Adds a member, which is to be started afterwards with `--initial-cluster-state=existing`.
///
/// From then on it counts for the majority, although it does not run yet: a
/// [learner](Self::learner) does not.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct AddMember {
    wire: pb::MemberAddRequest,
}

impl AddMember {
    /// Adds a member that the others find at these URLs: `http://10.0.0.4:2380`, with a scheme
    /// (`http`, `https`, `unix` or `unixs`) and a port, without a path.
    pub fn new(peer_urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            wire: pb::MemberAddRequest {
                peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
                is_learner: false,
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_peer_urls(&self.wire.peer_ur_ls)
    }
}

options! { AddMember {
    /// Adds it as a learner: it gets all data and has no vote until it is
    /// [promoted](crate::Client::promote_member).
    ///
    /// Source: <https://etcd.io/docs/v3.6/learning/design-learner/>.
    fn learner(mut self) {
        self.wire.is_learner = true;
    }
} }

plain_request! {
    AddMember: MemberAdd, repeatable: false, check: Self::check,
    |answer: pb::MemberAddResponse| -> AddMemberResponse {
        AddMemberResponse {
            header: header(answer.header),
            member: member(answer.member.unwrap_or_default()),
            members: answer.members.into_iter().map(member).collect(),
        }
    }
}

/// Removes a member: it stops serving, and cannot come back with its old data.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RemoveMember {
    wire: pb::MemberRemoveRequest,
}

impl RemoveMember {
    /// Removes the member with this ID.
    pub fn new(id: u64) -> Self {
        Self {
            wire: pb::MemberRemoveRequest { id },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_id(self.wire.id)
    }
}

plain_request! {
    RemoveMember: MemberRemove, repeatable: false, check: Self::check,
    |answer: pb::MemberRemoveResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

/// Changes where the others find a member.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct UpdateMember {
    wire: pb::MemberUpdateRequest,
}

impl UpdateMember {
    /// Says that the member with this ID is at these URLs from now on; their shape is that of
    /// [`AddMember::new`].
    pub fn new(id: u64, peer_urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            wire: pb::MemberUpdateRequest {
                id,
                peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
            },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_id(self.wire.id)?;
        check_peer_urls(&self.wire.peer_ur_ls)
    }
}

plain_request! {
    UpdateMember: MemberUpdate, repeatable: false, check: Self::check,
    |answer: pb::MemberUpdateResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

/// Makes a learner a member with a vote.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct PromoteMember {
    wire: pb::MemberPromoteRequest,
}

impl PromoteMember {
    /// Promotes the learner with this ID.
    pub fn new(id: u64) -> Self {
        Self {
            wire: pb::MemberPromoteRequest { id },
        }
    }

    fn check(&self) -> Result<(), Failure> {
        check_id(self.wire.id)
    }
}

plain_request! {
    PromoteMember: MemberPromote, repeatable: false, check: Self::check,
    |answer: pb::MemberPromoteResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

fn check_id(id: u64) -> Result<(), Failure> {
    if id == 0 {
        return Err(refuse("no member has the ID 0"));
    }
    Ok(())
}
