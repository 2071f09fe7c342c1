//! Random histories.

use etcdex_proto::authpb;
use etcdex_proto::etcdserverpb as pb;
use fastrand::Rng;

use super::call::{CURRENT, Call, NOW, Step, Unary, WatchCall};
use super::identity::{Identity, USERS};
use super::pair::STREAMS;
use super::requests::{self, one_in};

/// Names of users and roles that calls name. The last ones are never there.
const USER_NAMES: [&str; 5] = ["root", "ann", "bob", "eve", ""];
const ROLES: [&str; 5] = ["root", "reader", "writer", "guest", ""];
const PASSWORDS: [&str; 2] = ["one", "two"];

/// The stream of watches that no other user opens, so that a watch may be of a range without keys.
const OF_ROOT: usize = 0;

/// How often each kind of call comes. Each history has some of them more often than others, or not at all.
const WEIGHTS: [(Kind, u32); 16] = [
    (Kind::Range, 30),
    (Kind::Put, 30),
    (Kind::Delete, 8),
    (Kind::Txn, 20),
    (Kind::Compact, 2),
    (Kind::Lease, 16),
    (Kind::Users, 8),
    (Kind::Roles, 8),
    (Kind::Grants, 12),
    (Kind::Looks, 8),
    (Kind::Enable, 2),
    (Kind::Disable, 1),
    (Kind::Login, 8),
    (Kind::Alarm, 1),
    (Kind::Maintenance, 2),
    (Kind::Watch, 8),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Range,
    Put,
    Delete,
    Txn,
    Compact,
    Lease,
    Users,
    Roles,
    Grants,
    Looks,
    Enable,
    Disable,
    Login,
    Alarm,
    Maintenance,
    Watch,
}

/// Makes the history of a seed.
pub(crate) fn history(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = Rng::with_seed(seed);
    let factors = [0, 1, 1, 1, 2, 4];
    let weights = WEIGHTS.map(|(kind, weight)| (kind, weight * factors[random.usize(..6)]));
    let mut generator = Generator {
        random,
        // There is always something to ask for.
        weights: [&weights[..], &[(Kind::Range, 1), (Kind::Put, 1)]].concat(),
        steps: Vec::new(),
    };
    if generator.random.u8(..4) > 0 {
        generator.enable();
    }
    while generator.steps.len() < steps {
        generator.step();
    }
    generator.steps
}

struct Generator {
    random: Rng,
    weights: Vec<(Kind, u32)>,
    steps: Vec<Step>,
}

impl Generator {
    fn add(&mut self, identity: Identity, call: Unary) {
        let call = Call::Unary(call);
        self.steps.push(Step { identity, call });
    }

    /// Makes users and roles, and has the servers ask for users from now on.
    fn enable(&mut self) {
        let root = Identity::User("root");
        let role = |name: &str| pb::AuthRoleAddRequest { name: name.into() };
        let grant = |user: &str, role: &str| pb::AuthUserGrantRoleRequest {
            user: user.into(),
            role: role.into(),
        };
        for user in USERS {
            let add = pb::AuthUserAddRequest {
                name: user.into(),
                password: "one".into(),
                ..pb::AuthUserAddRequest::default()
            };
            self.add(root, Unary::UserAdd(add));
        }
        for name in ["root", "reader", "writer"] {
            self.add(root, Unary::RoleAdd(role(name)));
        }
        self.add(root, Unary::GrantRole(grant("root", "root")));
        self.add(root, Unary::GrantRole(grant("ann", "reader")));
        self.add(root, Unary::GrantRole(grant("bob", "writer")));
        for _ in 0..4 {
            let permission = self.permission();
            self.add(root, Unary::GrantPermission(permission));
        }
        self.add(root, Unary::Enable(pb::AuthEnableRequest {}));
        USERS.into_iter().for_each(|user| self.login(user, CURRENT));
    }

    fn login(&mut self, user: &str, password: &str) {
        let (name, password) = (user.into(), password.into());
        let login = pb::AuthenticateRequest { name, password };
        self.add(Identity::Nobody, Unary::Authenticate(login));
    }

    fn step(&mut self) {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut rest = self.random.u32(..total);
        let kind = self.weights.iter().find(|(_, weight)| {
            let is_chosen = rest < *weight;
            rest = rest.saturating_sub(*weight);
            is_chosen
        });
        let kind = kind.map_or(Kind::Range, |(kind, _)| *kind);
        if kind == Kind::Watch {
            return self.watch();
        }
        let call = match kind {
            Kind::Range if one_in(&mut self.random, 8) => {
                let mut range = requests::range(&mut self.random);
                if range.sort_order == 0 {
                    // With another target, etcd sorts the pairs, and takes the last one for the largest key.
                    range.sort_target = 0;
                }
                Unary::RangeStream(range)
            }
            Kind::Range | Kind::Watch => Unary::Range(requests::range(&mut self.random)),
            Kind::Put => Unary::Put(requests::put(&mut self.random)),
            Kind::Delete => Unary::Delete(requests::delete(&mut self.random)),
            Kind::Txn => Unary::Txn(requests::txn(&mut self.random)),
            Kind::Compact => Unary::Compact(pb::CompactionRequest {
                revision: requests::revision(&mut self.random),
                physical: one_in(&mut self.random, 20),
            }),
            Kind::Lease => self.lease(),
            Kind::Users => self.user(),
            Kind::Roles => self.role(),
            Kind::Grants => self.grant(),
            Kind::Looks => self.look(),
            Kind::Enable => Unary::Enable(pb::AuthEnableRequest {}),
            Kind::Disable => Unary::Disable(pb::AuthDisableRequest {}),
            Kind::Login => return self.any_login(),
            Kind::Alarm => self.alarm(),
            Kind::Maintenance => self.maintenance(),
        };
        let identity = self.identity(&call);
        let logs_in = matches!(call, Unary::Enable(_)) && self.random.bool();
        self.add(identity, call);
        if logs_in {
            USERS.into_iter().for_each(|user| self.login(user, CURRENT));
        }
    }

    /// Returns a caller. Whether a user may use a range that no key can be in follows from no rule in real
    /// etcd, so no user asks for one.
    fn identity(&mut self, call: &Unary) -> Identity {
        let is_empty = match call {
            Unary::Range(range) | Unary::RangeStream(range) => {
                requests::is_empty(&range.key, &range.range_end)
            }
            Unary::Delete(delete) => requests::is_empty(&delete.key, &delete.range_end),
            Unary::Txn(txn) => requests::has_empty_range(txn),
            _ => false,
        };
        match is_empty {
            true => [Identity::User("root"), Identity::Nobody][self.random.usize(..2)],
            false => Identity::random(&mut self.random),
        }
    }

    /// Returns the name of a user who is there mostly.
    fn user_name(&mut self) -> &'static str {
        let names = if one_in(&mut self.random, 15) { 5 } else { 3 };
        USER_NAMES[self.random.usize(..names)]
    }

    fn role_name(&mut self) -> &'static str {
        let names = if one_in(&mut self.random, 15) { 5 } else { 3 };
        ROLES[self.random.usize(..names)]
    }

    /// Returns a password. That of root is never one by which nobody could log in again.
    fn password(&mut self, user: &str) -> String {
        let others = ["", &"long".repeat(18), &"long".repeat(19)].map(str::to_owned);
        match user != "root" && one_in(&mut self.random, 10) {
            true => others[self.random.usize(..3)].clone(),
            false => PASSWORDS[self.random.usize(..2)].to_owned(),
        }
    }

    fn any_login(&mut self) {
        let user = self.user_name();
        let password = match self.random.u8(..8) {
            0 => self.password(user),
            _ => CURRENT.to_owned(),
        };
        self.login(user, &password);
    }

    fn user(&mut self) -> Unary {
        let name = self.user_name();
        let password = self.password(name);
        match self.random.u8(..8) {
            0..4 => Unary::UserAdd(pb::AuthUserAddRequest {
                name: name.into(),
                password,
                options: (name != "root" && one_in(&mut self.random, 4)).then(|| {
                    let no_password = self.random.bool();
                    authpb::UserAddOptions { no_password }
                }),
                hashed_password: String::new(),
            }),
            4 => Unary::UserDelete(pb::AuthUserDeleteRequest { name: name.into() }),
            _ => Unary::ChangePassword(pb::AuthUserChangePasswordRequest {
                name: name.into(),
                hashed_password: match password.as_str() {
                    "" => ["", "?", "YQ=="][self.random.usize(..3)].to_owned(),
                    _ => String::new(),
                },
                password,
            }),
        }
    }

    fn role(&mut self) -> Unary {
        let name = self.role_name().to_owned();
        match self.random.u8(..8) {
            0..4 => Unary::RoleAdd(pb::AuthRoleAddRequest { name }),
            4 => Unary::RoleDelete(pb::AuthRoleDeleteRequest { role: name }),
            5 => {
                let user = self.user_name().to_owned();
                Unary::RevokeRole(pb::AuthUserRevokeRoleRequest {
                    name: user,
                    role: name,
                })
            }
            _ => {
                let user = self.user_name().to_owned();
                Unary::GrantRole(pb::AuthUserGrantRoleRequest { user, role: name })
            }
        }
    }

    fn permission(&mut self) -> pb::AuthRoleGrantPermissionRequest {
        let perm_type = if one_in(&mut self.random, 60) {
            7
        } else {
            self.random.i32(0..3)
        };
        let permission = authpb::Permission {
            perm_type,
            key: requests::key(&mut self.random),
            range_end: requests::range_end(&mut self.random),
        };
        pb::AuthRoleGrantPermissionRequest {
            name: self.role_name().into(),
            perm: (!one_in(&mut self.random, 40)).then_some(permission),
        }
    }

    fn grant(&mut self) -> Unary {
        match self.random.u8(..3) {
            0 => Unary::RevokePermission(pb::AuthRoleRevokePermissionRequest {
                role: self.role_name().into(),
                key: requests::key(&mut self.random),
                range_end: requests::range_end(&mut self.random),
            }),
            _ => Unary::GrantPermission(self.permission()),
        }
    }

    /// Returns a look at users and roles.
    fn look(&mut self) -> Unary {
        match self.random.u8(..8) {
            0..2 => Unary::UserGet(pb::AuthUserGetRequest {
                name: self.user_name().into(),
            }),
            2..4 => Unary::RoleGet(pb::AuthRoleGetRequest {
                role: self.role_name().into(),
            }),
            4 => Unary::UserList(pb::AuthUserListRequest {}),
            5 => Unary::RoleList(pb::AuthRoleListRequest {}),
            _ => Unary::AuthStatus(pb::AuthStatusRequest {}),
        }
    }

    fn lease(&mut self) -> Unary {
        let id = requests::lease(&mut self.random);
        match self.random.u8(..16) {
            0..5 => Unary::Grant(pb::LeaseGrantRequest {
                id,
                // All the same: leases are listed by the time of their end.
                ttl: match one_in(&mut self.random, 30) {
                    true => [9_000_000_001, i64::MAX][self.random.usize(..2)],
                    false => 3_600,
                },
            }),
            5..8 => Unary::Revoke(pb::LeaseRevokeRequest { id }),
            8..12 => {
                let keys = self.random.bool();
                Unary::TimeToLive(pb::LeaseTimeToLiveRequest { id, keys })
            }
            12..14 => Unary::Leases(pb::LeaseLeasesRequest {}),
            _ => Unary::KeepAlive(pb::LeaseKeepAliveRequest { id }),
        }
    }

    fn alarm(&mut self) -> Unary {
        let action = match self.random.u8(..6) {
            0..2 => pb::alarm_request::AlarmAction::Get,
            2 => pb::alarm_request::AlarmAction::Activate,
            _ => pb::alarm_request::AlarmAction::Deactivate,
        };
        Unary::Alarm(pb::AlarmRequest {
            action: action.into(),
            member_id: 7,
            alarm: self.random.i32(0..3),
        })
    }

    /// Returns a call about the server. A call that would change the cluster names no member of it.
    fn maintenance(&mut self) -> Unary {
        const UNKNOWN: u64 = 1;
        match self.random.u8(..8) {
            0..2 => Unary::Status(pb::StatusRequest {}),
            2 => Unary::Hash(pb::HashRequest {}),
            3 => {
                // etcd repeats a negative one in its reply, and remembers hashes of compacted ones.
                let revision = [0, 0, NOW + 2, i64::MAX][self.random.usize(..4)];
                Unary::HashKv(pb::HashKvRequest { revision })
            }
            4 => Unary::MoveLeader(pb::MoveLeaderRequest { target_id: UNKNOWN }),
            5 => Unary::MemberList(pb::MemberListRequest {
                linearizable: self.random.bool(),
            }),
            6 => Unary::MemberRemove(pb::MemberRemoveRequest { id: UNKNOWN }),
            _ => Unary::MemberPromote(pb::MemberPromoteRequest { id: UNKNOWN }),
        }
    }

    fn watch(&mut self) {
        let slot = self.random.usize(..STREAMS);
        let call = match self.random.u8(..32) {
            0..2 => WatchCall::Open,
            2..8 => {
                let mut create = requests::watch(&mut self.random);
                if slot != OF_ROOT && requests::is_empty(&create.key, &create.range_end) {
                    create.range_end.clear();
                }
                WatchCall::Create(create)
            }
            8..12 => WatchCall::Cancel(self.random.i64(-1..8)),
            _ => WatchCall::Compare,
        };
        let identity = match slot {
            OF_ROOT => [Identity::User("root"), Identity::Nobody][self.random.usize(..2)],
            _ => Identity::random(&mut self.random),
        };
        let call = Call::Watch(slot, call);
        self.steps.push(Step { identity, call });
    }
}
