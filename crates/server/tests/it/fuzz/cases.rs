//! Short histories to which the servers once gave different answers.

use bytes::Bytes;
use etcdex_proto::authpb;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::request_op::Request as Operation;

use super::call::{CURRENT, Call, Step, Unary};
use super::identity::Identity;

const ROOT: Identity = Identity::User("root");
const ANN: Identity = Identity::User("ann");

/// Returns all cases, with their names.
pub(crate) fn all() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("calls without a token", without_a_token()),
        ("passwords", passwords()),
        ("a permission of an unknown kind", unknown_permission()),
        ("comparisons of an unknown kind", unknown_comparisons()),
        ("the order of checks", order_of_checks()),
        ("alarms", alarms()),
    ]
}

fn step(identity: Identity, call: Unary) -> Step {
    let call = Call::Unary(call);
    Step { identity, call }
}

fn user(name: &str, password: &str) -> Step {
    let add = pb::AuthUserAddRequest {
        name: name.into(),
        password: password.into(),
        ..pb::AuthUserAddRequest::default()
    };
    step(ROOT, Unary::UserAdd(add))
}

fn login(name: &str, password: &str) -> Step {
    let (name, password) = (name.into(), password.into());
    let login = pb::AuthenticateRequest { name, password };
    step(Identity::Nobody, Unary::Authenticate(login))
}

fn password(name: &str, password: &str, hashed_password: &str) -> Step {
    let change = pb::AuthUserChangePasswordRequest {
        name: name.into(),
        password: password.into(),
        hashed_password: hashed_password.into(),
    };
    step(ROOT, Unary::ChangePassword(change))
}

/// Makes the users root and ann, and has the servers ask for users.
fn enabled() -> Vec<Step> {
    let (user_name, role) = ("root".to_owned(), "root".to_owned());
    let grant = pb::AuthUserGrantRoleRequest {
        user: user_name,
        role,
    };
    vec![
        user("root", "one"),
        user("ann", "one"),
        step(ROOT, Unary::GrantRole(grant)),
        step(ROOT, Unary::Enable(pb::AuthEnableRequest {})),
        login("root", CURRENT),
        login("ann", CURRENT),
    ]
}

fn put(key: &'static str, length: usize) -> pb::PutRequest {
    pb::PutRequest {
        key: key.into(),
        value: vec![b'x'; length].into(),
        ..pb::PutRequest::default()
    }
}

fn puts(all: impl IntoIterator<Item = pb::PutRequest>) -> Unary {
    let success = all.into_iter().map(|put| pb::RequestOp {
        request: Some(Operation::RequestPut(put)),
    });
    Unary::Txn(pb::TxnRequest {
        success: success.collect(),
        ..pb::TxnRequest::default()
    })
}

fn without_a_token() -> Vec<Step> {
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 3_600 };
    let calls = [
        Unary::Revoke(pb::LeaseRevokeRequest { id: 7 }),
        Unary::MemberList(pb::MemberListRequest::default()),
        Unary::UserGet(pb::AuthUserGetRequest::default()),
    ];
    let mut steps = enabled();
    steps.push(step(ROOT, Unary::Grant(grant)));
    steps.extend(calls.map(|call| step(Identity::Nobody, call)));
    steps.push(step(ROOT, Unary::Leases(pb::LeaseLeasesRequest {})));
    steps
}

fn passwords() -> Vec<Step> {
    let (longest, too_long) = ("long".repeat(18), "long".repeat(19));
    let mut steps = enabled();
    steps.extend([
        user("eve", &too_long),
        password("nobody", &too_long, ""),
        user("bob", &longest),
        login("bob", &longest),
        login("bob", &too_long),
        password("ann", "", ""),
        login("ann", ""),
        password("ann", "", "?"),
        password("nobody", "", "?"),
        password("ann", "two", ""),
        step(ANN, Unary::AuthStatus(pb::AuthStatusRequest {})),
        login("ann", "two"),
        step(ANN, Unary::AuthStatus(pb::AuthStatusRequest {})),
    ]);
    steps
}

fn unknown_permission() -> Vec<Step> {
    let (user, role) = ("ann".to_owned(), "reader".to_owned());
    let permission = authpb::Permission {
        perm_type: 7,
        key: "k".into(),
        range_end: Bytes::new(),
    };
    let range = pb::RangeRequest {
        key: "k".into(),
        ..pb::RangeRequest::default()
    };
    let mut steps = enabled();
    steps.extend([
        step(
            ROOT,
            Unary::RoleAdd(pb::AuthRoleAddRequest { name: role.clone() }),
        ),
        step(
            ROOT,
            Unary::GrantPermission(pb::AuthRoleGrantPermissionRequest {
                name: role.clone(),
                perm: Some(permission),
            }),
        ),
        step(
            ROOT,
            Unary::GrantRole(pb::AuthUserGrantRoleRequest {
                user,
                role: role.clone(),
            }),
        ),
        step(ROOT, Unary::RoleGet(pb::AuthRoleGetRequest { role })),
        step(ANN, Unary::Range(range)),
        step(ANN, Unary::Put(put("k", 1))),
    ]);
    steps
}

/// Each unknown target with each result, and each target with an unknown result.
fn unknown_comparisons() -> Vec<Step> {
    let targets = (0..5).map(|target| (target, 9));
    let results = (0..4).map(|result| (9, result));
    let all = targets.chain(results).chain([(9, 9)]);
    let compare = |(target, result), key: &'static str| pb::Compare {
        target,
        result,
        key: key.into(),
        ..pb::Compare::default()
    };
    let txn = |compare| {
        let txn = pb::TxnRequest {
            compare: vec![compare],
            ..pb::TxnRequest::default()
        };
        step(Identity::Nobody, Unary::Txn(txn))
    };
    let mut steps = vec![step(Identity::Nobody, Unary::Put(put("k", 1)))];
    for kinds in all {
        steps.extend(["k", "missing"].map(|key| txn(compare(kinds, key))));
    }
    steps
}

fn order_of_checks() -> Vec<Step> {
    const TOO_LARGE: usize = 1_600_000;
    let forged = Identity::Forged("nonsense");
    let unsorted = pb::RangeRequest {
        key: "k".into(),
        sort_target: 9,
        ..pb::RangeRequest::default()
    };
    let operations = [
        Operation::RequestPut(put("", 0)),
        Operation::RequestRange(unsorted),
    ];
    let mixed = pb::TxnRequest {
        success: operations
            .map(|operation| pb::RequestOp {
                request: Some(operation),
            })
            .into(),
        ..pb::TxnRequest::default()
    };
    let calls = [
        Unary::Put(put("", TOO_LARGE)),
        Unary::Put(put("k", TOO_LARGE)),
        Unary::Delete(pb::DeleteRangeRequest::default()),
        puts([put("k", TOO_LARGE), put("k", 0)]),
        puts([put("k", TOO_LARGE)]),
        Unary::Txn(mixed),
    ];
    let by = |identity| calls.iter().map(move |call| step(identity, call.clone()));
    let mut steps: Vec<Step> = by(Identity::Nobody).collect();
    steps.extend(enabled());
    steps.extend([forged, Identity::Nobody, ANN].into_iter().flat_map(by));
    steps
}

/// Calls of a user who may do nothing, with each alarm.
fn alarms() -> Vec<Step> {
    let mut steps = enabled();
    let mut lease_put = put("k", 1);
    lease_put.lease = 7;
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 3_600 };
    steps.push(step(ROOT, Unary::Grant(grant)));
    steps.push(step(ROOT, Unary::Put(lease_put)));
    for kind in [pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        for member_id in [0, 7] {
            let alarm = |action: pb::alarm_request::AlarmAction| {
                let request = pb::AlarmRequest {
                    action: action.into(),
                    member_id,
                    alarm: kind.into(),
                };
                step(ROOT, Unary::Alarm(request))
            };
            steps.push(alarm(pb::alarm_request::AlarmAction::Activate));
            let calls = [
                Unary::Status(pb::StatusRequest {}),
                Unary::Put(put("k", 1)),
                puts([put("k", 1)]),
                Unary::Delete(pb::DeleteRangeRequest {
                    key: "k".into(),
                    ..pb::DeleteRangeRequest::default()
                }),
                Unary::Revoke(pb::LeaseRevokeRequest { id: 7 }),
            ];
            steps.extend(calls.map(|call| step(ANN, call)));
            steps.push(alarm(pb::alarm_request::AlarmAction::Deactivate));
        }
    }
    steps
}
