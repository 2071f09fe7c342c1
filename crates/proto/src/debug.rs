//! Redaction: `Debug` of the messages that carry data or secrets of the user.
//!
//! Bytes are shown as their length. Secrets are not shown at all.

use std::fmt;

use bytes::Bytes;

use crate::authpb::permission::Type;
use crate::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::etcdserverpb::watch_create_request::FilterType;

struct Length(usize);

impl fmt::Debug for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0)
    }
}

struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A value of an enum: its name, or its number if a newer server sends one without a name here.
struct Name<E>(Result<E, i32>);

impl<E: fmt::Debug> fmt::Debug for Name<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(known) => known.fmt(f),
            Err(unknown) => unknown.fmt(f),
        }
    }
}

fn plain<T>(field: &T) -> &T {
    field
}

fn length(field: &Bytes) -> Length {
    Length(field.len())
}

fn lengths(field: &[Bytes]) -> Vec<Length> {
    field.iter().map(length).collect()
}

fn secret(_: &str) -> Redacted {
    Redacted
}

fn secret_bytes(_: &Bytes) -> Redacted {
    Redacted
}

fn name<E: TryFrom<i32>>(field: &i32) -> Name<E> {
    Name(E::try_from(*field).map_err(|_| *field))
}

fn names<E: TryFrom<i32>>(field: &[i32]) -> Vec<Name<E>> {
    field.iter().map(name).collect()
}

macro_rules! debug {
    ($($package:ident::$message:ident { $($field:ident: $shown:path),* $(,)? })*) => {$(
        impl fmt::Debug for crate::$package::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The pattern is exhaustive: a new field does not compile before it is listed here.
                let Self { $($field),* } = self;
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &$shown($field)))*
                    .finish()
            }
        }
    )*};
}

debug! {
    mvccpb::KeyValue {
        key: length,
        create_revision: plain,
        mod_revision: plain,
        version: plain,
        value: length,
        lease: plain,
    }
    etcdserverpb::RangeRequest {
        key: length,
        range_end: length,
        limit: plain,
        revision: plain,
        sort_order: name::<SortOrder>,
        sort_target: name::<SortTarget>,
        serializable: plain,
        keys_only: plain,
        count_only: plain,
        min_mod_revision: plain,
        max_mod_revision: plain,
        min_create_revision: plain,
        max_create_revision: plain,
    }
    etcdserverpb::PutRequest {
        key: length,
        value: length,
        lease: plain,
        prev_kv: plain,
        ignore_value: plain,
        ignore_lease: plain,
    }
    etcdserverpb::DeleteRangeRequest { key: length, range_end: length, prev_kv: plain }
    etcdserverpb::Compare {
        result: name::<CompareResult>,
        target: name::<CompareTarget>,
        key: length,
        range_end: length,
        target_union: plain,
    }
    etcdserverpb::WatchCreateRequest {
        key: length,
        range_end: length,
        start_revision: plain,
        progress_notify: plain,
        filters: names::<FilterType>,
        prev_kv: plain,
        watch_id: plain,
        fragment: plain,
    }
    etcdserverpb::LeaseTimeToLiveResponse {
        header: plain,
        id: plain,
        ttl: plain,
        granted_ttl: plain,
        keys: lengths,
    }
    etcdserverpb::SnapshotResponse {
        header: plain,
        remaining_bytes: plain,
        blob: length,
        version: plain,
    }
    v3lockpb::LockRequest { name: length, lease: plain }
    v3lockpb::LockResponse { header: plain, key: length }
    v3lockpb::UnlockRequest { key: length }
    v3electionpb::CampaignRequest { name: length, lease: plain, value: length }
    v3electionpb::LeaderKey { name: length, key: length, rev: plain, lease: plain }
    v3electionpb::LeaderRequest { name: length }
    v3electionpb::ProclaimRequest { leader: plain, value: length }
}

debug! {
    authpb::User { name: length, password: secret_bytes, roles: plain, options: plain }
    authpb::Permission { perm_type: name::<Type>, key: length, range_end: length }
    authpb::Role { name: length, key_permission: plain }
    etcdserverpb::AuthenticateRequest { name: plain, password: secret }
    etcdserverpb::AuthenticateResponse { header: plain, token: secret }
    etcdserverpb::AuthUserAddRequest {
        name: plain,
        password: secret,
        options: plain,
        hashed_password: secret,
    }
    etcdserverpb::AuthUserChangePasswordRequest {
        name: plain,
        password: secret,
        hashed_password: secret,
    }
    etcdserverpb::AuthRoleRevokePermissionRequest { role: plain, key: length, range_end: length }
}

impl fmt::Debug for TargetUnion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number) = match self {
            Self::Version(number) => ("Version", number),
            Self::CreateRevision(number) => ("CreateRevision", number),
            Self::ModRevision(number) => ("ModRevision", number),
            Self::Lease(number) => ("Lease", number),
            Self::Value(value) => return f.debug_tuple("Value").field(&length(value)).finish(),
        };
        f.debug_tuple(name).field(number).finish()
    }
}
