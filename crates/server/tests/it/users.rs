//! A random history of changes of users and roles on real etcd and on the store, and the permissions
//! that follow from it.

use bytes::Bytes;
use etcdex::auth::{Permission as EtcdPermission, PermissionType};
use etcdex::{Client, Error};
use etcdex_server::store::{
    Caller, Limits, PasswordHash, Permission, PermissionKind, Store, StoreError,
};
use etcdex_testkit::Etcd;
use fastrand::Rng;

use crate::history::{Span, span};
use crate::number;
use crate::real::Real;

const USERS: [&str; 4] = ["root", "ann", "bob", "eve"];
const ROLES: [&str; 4] = ["root", "reader", "writer", "guest"];
const PASSWORD: &str = "a password";

/// Number of changes between two times at which users are asked for.
const CHANGES: usize = 60;

/// A change of users and roles, or a look at them.
#[derive(Clone, Debug)]
enum Step {
    AddUser(&'static str),
    DeleteUser(&'static str),
    GetUser(&'static str),
    ListUsers,
    NewPassword(&'static str),
    GrantRole(&'static str, &'static str),
    RevokeRole(&'static str, &'static str),
    AddRole(&'static str),
    DeleteRole(&'static str),
    GetRole(&'static str),
    ListRoles,
    GrantPermission(&'static str, Span, PermissionKind),
    RevokePermission(&'static str, Span),
    Enable,
}

fn hash() -> PasswordHash {
    PasswordHash(Bytes::from_static(PASSWORD.as_bytes()))
}

/// Returns the end of a range as requests have it.
fn range_end(span: &Span) -> Bytes {
    match span {
        Span::Single(_) => Bytes::new(),
        Span::Below(_, end) => end.clone(),
        Span::From(_) => Bytes::from_static(b"\0"),
    }
}

fn permission(span: &Span, kind: PermissionKind) -> Permission {
    Permission {
        key: span.first(),
        range_end: range_end(span),
        kind,
    }
}

fn etcd_permission(span: &Span, kind: PermissionKind) -> EtcdPermission {
    let kind = match kind {
        PermissionKind::Read => PermissionType::Read,
        PermissionKind::Write => PermissionType::Write,
        PermissionKind::ReadWrite => PermissionType::ReadWrite,
        PermissionKind::Unknown(_) => unreachable!("no history has it"),
    };
    let permission = EtcdPermission::new(kind, span.first());
    match span {
        Span::Single(_) => permission,
        Span::Below(_, end) => permission.range_end(end.clone()),
        Span::From(_) => permission.from_key(),
    }
}

impl Step {
    fn random(random: &mut Rng) -> Self {
        let user = USERS[random.usize(..USERS.len())];
        let role = ROLES[random.usize(..ROLES.len())];
        let kinds = [
            PermissionKind::Read,
            PermissionKind::Write,
            PermissionKind::ReadWrite,
        ];
        match random.u8(..20) {
            0..3 => Self::AddUser(user),
            3 => Self::DeleteUser(user),
            4 => Self::GetUser(user),
            5 => Self::ListUsers,
            6 => Self::NewPassword(user),
            7..10 => Self::GrantRole(user, role),
            10 => Self::RevokeRole(user, role),
            11..13 => Self::AddRole(role),
            13 => Self::DeleteRole(role),
            14 => Self::GetRole(role),
            15 => Self::ListRoles,
            16..18 => Self::GrantPermission(role, span(random), kinds[random.usize(..3)]),
            18 => Self::RevokePermission(role, span(random)),
            _ => Self::Enable,
        }
    }

    fn to_store(&self, store: &mut Store) -> Result<String, StoreError> {
        match self {
            Self::AddUser(user) => store.add_user(user, Some(hash()))?,
            Self::DeleteUser(user) => store.delete_user(user)?,
            Self::GetUser(user) => {
                return Ok(format!("{:?}", store.user_roles(user)?.collect::<Vec<_>>()));
            }
            Self::ListUsers => return Ok(format!("{:?}", store.users().collect::<Vec<_>>())),
            Self::NewPassword(user) => store.change_password(user, hash())?,
            Self::GrantRole(user, role) => store.grant_role(user, role)?,
            Self::RevokeRole(user, role) => store.revoke_role(user, role)?,
            Self::AddRole(role) => store.add_role(role)?,
            Self::DeleteRole(role) => store.delete_role(role)?,
            Self::GetRole(role) => {
                let all = store.role_permissions(role)?;
                let all = all.iter().map(|one| {
                    let kind = format!("{:?}", one.kind);
                    (one.key.clone(), one.range_end.clone(), kind)
                });
                return Ok(format!("{:?}", all.collect::<Vec<_>>()));
            }
            Self::ListRoles => return Ok(format!("{:?}", store.roles().collect::<Vec<_>>())),
            Self::GrantPermission(role, span, kind) => {
                store.grant_permission(role, permission(span, *kind))?;
            }
            Self::RevokePermission(role, span) => {
                store.revoke_permission(role, &span.first(), &range_end(span))?;
            }
            // It is undone by the caller.
            Self::Enable => store.enable_auth()?,
        }
        Ok(String::new())
    }

    async fn to_etcd(&self, client: &Client) -> Result<String, Error> {
        let auth = client.auth();
        match self {
            Self::AddUser(user) => _ = auth.add_user(*user, PASSWORD).await?,
            Self::DeleteUser(user) => _ = auth.delete_user(*user).await?,
            Self::GetUser(user) => return Ok(format!("{:?}", auth.get_user(*user).await?.roles)),
            Self::ListUsers => return Ok(format!("{:?}", auth.list_users().await?.users)),
            Self::NewPassword(user) => _ = auth.change_password(*user, PASSWORD).await?,
            Self::GrantRole(user, role) => _ = auth.grant_role(*user, *role).await?,
            Self::RevokeRole(user, role) => _ = auth.revoke_role(*user, *role).await?,
            Self::AddRole(role) => _ = auth.add_role(*role).await?,
            Self::DeleteRole(role) => _ = auth.delete_role(*role).await?,
            Self::GetRole(role) => {
                let all = auth.get_role(*role).await?.permissions.into_iter();
                let all = all.map(|one| {
                    let kind = format!("{:?}", one.permission_type);
                    (one.key, one.range_end, kind)
                });
                return Ok(format!("{:?}", all.collect::<Vec<_>>()));
            }
            Self::ListRoles => return Ok(format!("{:?}", auth.list_roles().await?.roles)),
            Self::GrantPermission(role, span, kind) => {
                let permission = etcd_permission(span, *kind);
                _ = auth.grant_permission(*role, permission).await?;
            }
            Self::RevokePermission(role, span) => {
                let revoke = auth.revoke_permission(*role, span.first());
                let revoke = match span {
                    Span::Single(_) => revoke,
                    Span::Below(_, end) => revoke.range_end(end.clone()),
                    Span::From(_) => revoke.from_key(),
                };
                _ = revoke.await?;
            }
            Self::Enable => _ = auth.enable().await?,
        }
        Ok(String::new())
    }
}

/// Asks for users on both, and compares the permissions of all users.
async fn compare_permissions(random: &mut Rng, store: &mut Store, etcd: &Etcd, open: &Client) {
    for change in [
        Step::AddUser("root"),
        Step::AddRole("root"),
        Step::GrantRole("root", "root"),
        Step::Enable,
    ] {
        let expected = change
            .to_etcd(open)
            .await
            .map_err(|error| error.message().to_owned());
        let found = change.to_store(store).map_err(|error| error.to_string());
        assert_eq!(found, expected, "{change:?}");
    }
    let users: Vec<String> = store.users().map(str::to_owned).collect();
    for user in users {
        let builder = Client::builder().endpoint(etcd.endpoint());
        let client = builder
            .credentials(&*user, PASSWORD)
            .connect()
            .await
            .unwrap();
        let caller = Caller {
            user,
            revision: store.auth_revision(),
        };
        for _ in 0..12 {
            let span = loop {
                match span(random) {
                    // A range without keys: real etcd's answer follows from no rule.
                    Span::Below(key, end) if end <= key => {}
                    span => break span,
                }
            };
            let is_write = random.bool();
            let expected = if is_write {
                let delete = etcdex::Delete::new(span.first());
                client
                    .run(match &span {
                        Span::Single(_) => delete,
                        Span::Below(_, end) => delete.range_end(end.clone()),
                        Span::From(_) => delete.from_key(),
                    })
                    .await
                    .map(drop)
            } else {
                let get = etcdex::Get::new(span.first());
                client
                    .run(match &span {
                        Span::Single(_) => get,
                        Span::Below(_, end) => get.range_end(end.clone()),
                        Span::From(_) => get.from_key(),
                    })
                    .await
                    .map(drop)
            };
            let expected = expected.map_err(|error| error.message().to_owned());
            let found = store.check_permission(Some(&caller), &span.to_range(), is_write);
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found, expected, "{caller:?} {span:?} write: {is_write}");
        }
        if caller.user == "root" {
            client.auth().disable().await.unwrap();
            store.disable_auth();
            // The others log in no more.
            break;
        }
    }
}

/// `ETCDEX_SEED` plays the same history again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_permissions_are_those_of_real_etcd() {
    let Some(Real { etcd, client, seed }) = Real::start(&["--bcrypt-cost=4"]).await else {
        return;
    };
    let mut random = Rng::with_seed(seed);
    let mut store = Store::new(Limits::default());
    let rounds = number("ETCDEX_STEPS").map_or(8, |steps| steps / 100);
    for round in 0..rounds {
        for step in 0..CHANGES {
            let change = Step::random(&mut random);
            if matches!(change, Step::Enable) && store.users().any(|user| user == "root") {
                // It would succeed, or lock this client out.
                continue;
            }
            let expected = change.to_etcd(&client).await;
            let expected = expected.map_err(|error| error.message().to_owned());
            let found = change
                .to_store(&mut store)
                .map_err(|error| error.to_string());
            assert_eq!(found, expected, "round {round}, step {step}: {change:?}");
            let status = client.auth().status().await.unwrap();
            assert_eq!(store.auth_revision(), status.auth_revision, "{change:?}");
        }
        compare_permissions(&mut random, &mut store, &etcd, &client).await;
    }
}
