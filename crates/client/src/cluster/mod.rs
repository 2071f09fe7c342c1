//! The members of the cluster, and changes of the membership.
//!
//! [`Client::list_members`](crate::Client::list_members) and other methods of the client send
//! these requests. Each request is also a value, which [`Client::run`](crate::Client::run) sends.
//!
//! A change of membership needs a majority of the members, and etcd carries out one change at a
//! time. The procedure: <https://etcd.io/docs/v3.6/op-guide/runtime-configuration/>.

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
    /// ID of the member; never 0.
    pub id: u64,
    /// Name of the member (`--name`); empty until the member has started for the first time.
    pub name: String,
    /// URLs at which the member serves the other members.
    pub peer_urls: Vec<String>,
    /// URLs at which the member serves clients; empty until the member has started.
    pub client_urls: Vec<String>,
    /// Whether the member is a learner, which has no vote and refuses most requests.
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

/// The list of members: the reply to most requests of this module.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MembersResponse {
    /// Member that answered. The revision is 0: the store of keys does not hold the members.
    pub header: ResponseHeader,
    /// Members of the cluster, after the change.
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
    /// Member that answered. The revision is 0: the store of keys does not hold the members.
    pub header: ResponseHeader,
    /// New member. Its name is empty until the member has started.
    pub member: Member,
    /// Members of the cluster, including the new one.
    pub members: Vec<Member>,
}

plain_request! {
    /// Lists the members of the cluster.
    pub struct ListMembers(pb::MemberListRequest): MemberList, repeatable: true,
    |answer: pb::MemberListResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

impl ListMembers {
    /// Returns a request for the members that a majority agrees on.
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
    /// Lets the member answer from its own state, which may be stale. It then answers even when
    /// the cluster has no leader. Servers before 3.5 always answer in this way.
    fn serializable(mut self) {
        self.wire.linearizable = false;
    }
} }

plain_request! {
    /// Adds a member. Start its server afterwards with `--initial-cluster-state=existing`.
    ///
    /// The new member counts for the majority at once, before its server runs. A
    /// [learner](Self::learner) does not count.
    pub struct AddMember(pb::MemberAddRequest): MemberAdd, repeatable: false,
    check: |wire| check_peer_urls(&wire.peer_ur_ls),
    |answer: pb::MemberAddResponse| -> AddMemberResponse {
        AddMemberResponse {
            header: header(answer.header),
            member: member(answer.member.unwrap_or_default()),
            members: answer.members.into_iter().map(member).collect(),
        }
    }
}

impl AddMember {
    /// Returns a request that adds a member with these peer URLs. A URL has a scheme (`http`,
    /// `https`, `unix` or `unixs`), a host and a port, and no path: `http://10.0.0.4:2380`.
    pub fn new(peer_urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            wire: pb::MemberAddRequest {
                peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
                is_learner: false,
            },
        }
    }
}

options! { AddMember {
    /// Adds the member as a learner, which receives all data and has no vote until it is
    /// [promoted](crate::Client::promote_member).
    ///
    /// Source: <https://etcd.io/docs/v3.6/learning/design-learner/>.
    fn learner(mut self) {
        self.wire.is_learner = true;
    }
} }

plain_request! {
    /// Removes a member. The member stops serving, and cannot rejoin with its old data.
    pub struct RemoveMember(pb::MemberRemoveRequest): MemberRemove, repeatable: false,
    check: |wire| check_id(wire.id),
    |answer: pb::MemberRemoveResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

impl RemoveMember {
    /// Returns a request that removes the member with this ID.
    pub fn new(id: u64) -> Self {
        Self {
            wire: pb::MemberRemoveRequest { id },
        }
    }
}

plain_request! {
    /// Changes the peer URLs of a member.
    pub struct UpdateMember(pb::MemberUpdateRequest): MemberUpdate, repeatable: false,
    check: |wire| {
        check_id(wire.id)?;
        check_peer_urls(&wire.peer_ur_ls)
    },
    |answer: pb::MemberUpdateResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

impl UpdateMember {
    /// Returns a request that sets the peer URLs of the member with this ID. Their form is that
    /// of [`AddMember::new`].
    pub fn new(id: u64, peer_urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            wire: pb::MemberUpdateRequest {
                id,
                peer_ur_ls: peer_urls.into_iter().map(Into::into).collect(),
            },
        }
    }
}

plain_request! {
    /// Promotes a learner to a member with a vote.
    pub struct PromoteMember(pb::MemberPromoteRequest): MemberPromote, repeatable: false,
    check: |wire| check_id(wire.id),
    |answer: pb::MemberPromoteResponse| -> MembersResponse {
        MembersResponse::of(answer.header, answer.members)
    }
}

impl PromoteMember {
    /// Returns a request that promotes the learner with this ID.
    pub fn new(id: u64) -> Self {
        Self {
            wire: pb::MemberPromoteRequest { id },
        }
    }
}

fn check_id(id: u64) -> Result<(), Failure> {
    if id == 0 {
        return Err(refuse("no member has the ID 0"));
    }
    Ok(())
}
