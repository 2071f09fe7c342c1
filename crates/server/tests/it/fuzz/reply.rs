//! Replies without what differs on each server: IDs, terms, tokens, sizes, times.

use etcdex_proto::etcdserverpb as pb;

/// IDs above this one are those that a server has chosen.
pub(crate) const CHOSEN: i64 = 100;

/// A reply.
pub(crate) trait Reply {
    /// Replaces what differs on each server. A number that has to be there becomes 1.
    fn normalise(&mut self);

    /// Returns the revision of the header.
    fn revision(&self) -> i64;
}

pub(crate) fn normalise_header(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        header.cluster_id = header.cluster_id.min(1);
        header.member_id = header.member_id.min(1);
        header.raft_term = header.raft_term.min(1);
    }
}

/// Defines replies: what has to be replaced beside the header.
macro_rules! replies {
    ($($name:ident $(|$reply:ident| $change:block)?;)*) => {
        $(impl Reply for pb::$name {
            fn normalise(&mut self) {
                normalise_header(&mut self.header);
                $({
                    let $reply = self;
                    $change
                })?
            }

            fn revision(&self) -> i64 {
                self.header.as_ref().map_or(0, |header| header.revision)
            }
        })*
    };
}

/// Defines replies without a header.
macro_rules! bare_replies {
    ($($name:ident)*) => {
        $(impl Reply for pb::$name {
            fn normalise(&mut self) {}

            fn revision(&self) -> i64 {
                0
            }
        })*
    };
}

bare_replies!(MoveLeaderResponse);

replies! {
    RangeResponse;
    PutResponse;
    DeleteRangeResponse;
    TxnResponse;
    CompactionResponse;
    LeaseGrantResponse |reply| { normalise_id(&mut reply.id); };
    LeaseRevokeResponse;
    LeaseTimeToLiveResponse |reply| {
        // No lease expires during a history.
        reply.ttl = reply.ttl.min(1);
        // etcd tells them in no order.
        reply.keys.sort();
    };
    LeaseLeasesResponse |reply| {
        for lease in &mut reply.leases {
            normalise_id(&mut lease.id);
        }
    };
    LeaseKeepAliveResponse;
    AuthEnableResponse;
    AuthDisableResponse;
    AuthStatusResponse;
    AuthenticateResponse |reply| {
        if !reply.token.is_empty() {
            reply.token = "a token".to_owned();
        }
    };
    AuthUserAddResponse;
    AuthUserGetResponse;
    AuthUserListResponse;
    AuthUserDeleteResponse;
    AuthUserChangePasswordResponse;
    AuthUserGrantRoleResponse;
    AuthUserRevokeRoleResponse;
    AuthRoleAddResponse;
    AuthRoleGetResponse;
    AuthRoleListResponse;
    AuthRoleDeleteResponse;
    AuthRoleGrantPermissionResponse;
    AuthRoleRevokePermissionResponse;
    // etcd tells alarms in no order.
    AlarmResponse |reply| { reply.alarms.sort_by_key(|alarm| (alarm.member_id, alarm.alarm)); };
    StatusResponse |reply| {
        reply.leader = reply.leader.min(1);
        reply.raft_term = reply.raft_term.min(1);
        reply.raft_index = reply.raft_index.min(1);
        reply.raft_applied_index = reply.raft_applied_index.min(1);
        reply.db_size = reply.db_size.min(1);
        reply.db_size_in_use = reply.db_size_in_use.min(1);
        for error in &mut reply.errors {
            // Go writes one space or two, so that nobody relies on the text.
            *error = error.replace("  ", " ");
        }
        reply.errors.sort();
        // A new cluster gets it some time after its start.
        reply.storage_version.clear();
    };
    HashResponse |reply| { reply.hash = 0; };
    HashKvResponse |reply| { reply.hash = 0; };
    MemberListResponse |reply| { reply.members.iter_mut().for_each(normalise_member); };
    MemberUpdateResponse |reply| { reply.members.iter_mut().for_each(normalise_member); };
    MemberRemoveResponse |reply| { reply.members.iter_mut().for_each(normalise_member); };
    MemberPromoteResponse |reply| { reply.members.iter_mut().for_each(normalise_member); };
    WatchResponse;
}

impl Reply for pb::RangeStreamResponse {
    fn normalise(&mut self) {
        if let Some(range) = &mut self.range_response {
            range.normalise();
        }
    }

    fn revision(&self) -> i64 {
        self.range_response.as_ref().map_or(0, Reply::revision)
    }
}

fn normalise_id(id: &mut i64) {
    *id = (*id).min(CHOSEN);
}

fn normalise_member(member: &mut pb::Member) {
    member.id = member.id.min(1);
    member.name.clear();
    member.peer_ur_ls.clear();
    member.client_ur_ls.truncate(1);
    for url in &mut member.client_ur_ls {
        url.clear();
    }
}
