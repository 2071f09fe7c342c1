//! Users, roles and permissions, by etcd's documentation:
//! <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/>.

use etcdex::auth::{Auth, ChangePassword, Permission, PermissionType};
use etcdex::{Client, Error, ErrorKind, Outcome};
use etcdex_testkit::Etcd;
use serde_json::Value;

use crate::ctl::{base64, json, texts};
use crate::stage::{DEADLINE, assert_refused, connect, each_alone};

#[track_caller]
fn assert_rejected<T>(reply: Result<T, Error>, kind: ErrorKind) {
    let error = reply.err().expect("the server refuses");
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
}

#[tokio::test]
async fn users() {
    each_alone(&[], |etcd| async move {
        let auth = connect(&etcd).await.auth();
        assert!(auth.list_users().await.unwrap().users.is_empty());
        auth.add_user("ann", "hush-pw").await.unwrap();
        auth.add_user("bob", "").no_password().await.unwrap();
        assert_rejected(auth.add_user("ann", "other").await, ErrorKind::UserExists);
        let users = auth.list_users().await.unwrap().users;
        assert_eq!(users, ["ann", "bob"]);
        assert_eq!(users, texts(&json(&etcd, &["user", "list"]).await["users"]));

        assert!(auth.get_user("ann").await.unwrap().roles.is_empty());
        auth.add_role("reader").await.unwrap();
        auth.add_role("writer").await.unwrap();
        for role in ["writer", "reader", "reader"] {
            auth.grant_role("ann", role).await.unwrap();
        }
        let roles = auth.get_user("ann").await.unwrap().roles;
        assert_eq!(roles, ["reader", "writer"]);
        let told = json(&etcd, &["user", "get", "ann"]).await;
        assert_eq!(roles, texts(&told["roles"]));
        auth.revoke_role("ann", "writer").await.unwrap();
        let revoke = auth.revoke_role("ann", "writer").await;
        assert_rejected(revoke, ErrorKind::AuthRefused);
        assert_eq!(auth.get_user("ann").await.unwrap().roles, ["reader"]);

        // Deleting a role revokes it from all users.
        auth.delete_role("reader").await.unwrap();
        assert!(auth.get_user("ann").await.unwrap().roles.is_empty());

        auth.delete_user("bob").await.unwrap();
        assert_eq!(auth.list_users().await.unwrap().users, ["ann"]);
        absent(&auth).await;
        nonsense(&auth).await;
    })
    .await;
}

async fn absent(auth: &Auth) {
    use ErrorKind::{RoleNotFound, UserNotFound};
    assert_rejected(auth.delete_user("bob").await, UserNotFound);
    assert_rejected(auth.get_user("bob").await, UserNotFound);
    assert_rejected(auth.change_password("bob", "hush-pw").await, UserNotFound);
    assert_rejected(auth.grant_role("bob", "writer").await, UserNotFound);
    assert_rejected(auth.revoke_role("bob", "writer").await, UserNotFound);
    assert_rejected(auth.grant_role("ann", "none").await, RoleNotFound);
    assert_rejected(auth.delete_role("none").await, RoleNotFound);
    assert_rejected(auth.get_role("none").await, RoleNotFound);
    let grant = auth.grant_permission("none", Permission::read("k"));
    assert_rejected(grant.await, RoleNotFound);
    assert_rejected(auth.revoke_permission("none", "k").await, RoleNotFound);
    assert_rejected(auth.add_role("writer").await, ErrorKind::RoleExists);
}

async fn nonsense(auth: &Auth) {
    assert_refused(auth.add_user("", "hush-pw").await);
    assert_refused(auth.add_user("carl", "hush-pw").no_password().await);
    assert_refused(auth.delete_user("").await);
    assert_refused(auth.get_user("").await);
    assert_refused(auth.change_password("", "hush-pw").await);
    assert_refused(auth.grant_role("ann", "").await);
    assert_refused(auth.revoke_role("", "writer").await);
    assert_refused(auth.add_role("").await);
    assert_refused(auth.delete_role("").await);
    assert_refused(auth.get_role("").await);
    let nothing = auth.grant_permission("writer", Permission::read(""));
    assert_refused(nothing.await);
    let revoke = |key: &str| auth.revoke_permission("writer", key);
    assert_refused(revoke("k").prefix().from_key().await);
    assert_refused(revoke("k").range_end("").await);
    assert_refused(auth.revoke_permission("", "k").await);
    assert_refused(auth.revoke_permission("writer", "").await);
}

/// The output of `etcdctl role get`.
async fn listed(etcd: &Etcd) -> Vec<(u64, String, String)> {
    let told = json(etcd, &["role", "get", "r"]).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let permission = |permission: &Value| {
        (
            permission["permType"].as_u64().unwrap_or(0),
            text(&permission["key"]),
            text(&permission["range_end"]),
        )
    };
    let list = told["perm"].as_array().map(Vec::as_slice);
    list.unwrap_or_default().iter().map(permission).collect()
}

fn told(permissions: &[Permission]) -> Vec<(u64, String, String)> {
    let permission = |permission: &Permission| {
        let number = match permission.permission_type {
            PermissionType::Read => 0,
            PermissionType::Write => 1,
            PermissionType::ReadWrite => 2,
            other => panic!("{other:?}"),
        };
        (
            number,
            base64(&permission.key),
            base64(&permission.range_end),
        )
    };
    permissions.iter().map(permission).collect()
}

async fn permissions(auth: &Auth) -> Vec<Permission> {
    auth.get_role("r").await.unwrap().permissions
}

/// Each form of a range is stored byte for byte, and the same options revoke it.
#[tokio::test]
async fn permissions_of_each_form() {
    use PermissionType::{Read, ReadWrite, Write};
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        // A namespace is not applied: permissions are about the keys of the whole store.
        let auth = client.namespace("inside/").auth();
        auth.add_role("r").await.unwrap();
        assert!(permissions(&auth).await.is_empty());

        let grant = |permission| auth.grant_permission("r", permission);
        for permission in [
            Permission::read(b"\0\xff"),
            Permission::write("p/").prefix(),
            Permission::read_write(b"\xff\xff").prefix(),
            Permission::read("f").from_key(),
            Permission::write("g").range_end(b"h\xfe"),
            Permission::read_write("").all_keys(),
        ] {
            grant(permission.clone()).await.unwrap();
            assert!(permissions(&auth).await.contains(&permission));
        }

        let all = permissions(&auth).await;
        let mut found: Vec<_> = all
            .iter()
            .map(|one| (one.permission_type, &one.key[..], &one.range_end[..]))
            .collect();
        found.sort_by_key(|one| one.1);
        let expected: [(_, &[u8], &[u8]); 6] = [
            (ReadWrite, b"\0", b"\0"),
            (Read, b"\0\xff", b""),
            (Read, b"f", b"\0"),
            (Write, b"g", b"h\xfe"),
            (Write, b"p/", b"p0"),
            (ReadWrite, b"\xff\xff", b"\0"),
        ];
        assert_eq!(found, expected);
        assert_eq!(told(&all), listed(&etcd).await);

        // Another type for the same range replaces the first.
        grant(Permission::read_write(b"\0\xff")).await.unwrap();
        assert_eq!(permissions(&auth).await.len(), 6);
        assert_eq!(told(&permissions(&auth).await), listed(&etcd).await);
        revoke(&auth).await;
        assert!(listed(&etcd).await.is_empty());
    })
    .await;
}

async fn revoke(auth: &Auth) {
    let revoke = |key: &'static [u8]| auth.revoke_permission("r", key);
    // A part of a range cannot be revoked.
    assert_rejected(revoke(b"p/").await, ErrorKind::AuthRefused);
    revoke(b"\0\xff").await.unwrap();
    revoke(b"p/").prefix().await.unwrap();
    revoke(b"\xff\xff").prefix().await.unwrap();
    revoke(b"f").from_key().await.unwrap();
    revoke(b"g").range_end(b"h\xfe").await.unwrap();
    revoke(b"").all_keys().await.unwrap();
    assert!(permissions(auth).await.is_empty());
}

#[tokio::test]
async fn permissions_granted_by_etcdctl_are_returned() {
    each_alone(&[], |etcd| async move {
        let auth = connect(&etcd).await.auth();
        for arguments in [
            &["role", "add", "r"][..],
            &["role", "grant-permission", "r", "readwrite", "", "--prefix"],
            &["role", "grant-permission", "r", "read", "a/", "--prefix"],
            &["role", "grant-permission", "r", "write", "k", "--from-key"],
            &["role", "grant-permission", "r", "read", "x", "y"],
            &["role", "grant-permission", "r", "write", "z"],
        ] {
            etcd.etcdctl(arguments).await.unwrap();
        }
        assert_eq!(auth.list_roles().await.unwrap().roles, ["r"]);
        let all = permissions(&auth).await;
        assert_eq!(all.len(), 5);
        assert_eq!(told(&all), listed(&etcd).await);
    })
    .await;
}

/// Once authentication is enabled, calls without a token are refused.
#[tokio::test]
async fn authentication_is_enabled_and_disabled() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        let auth = client.auth();
        let modern = etcd.version().is_at_least(3, 5);
        assert_status(&client, modern, false).await;
        // Without a user root, no user could disable authentication.
        assert_rejected(auth.enable().await, ErrorKind::AuthRefused);
        auth.add_user("root", "hush-old").await.unwrap();
        assert_rejected(auth.enable().await, ErrorKind::AuthRefused);
        // Some versions have a role of that name from the start.
        let role = auth.add_role("root").await;
        if let Err(error) = role {
            assert_eq!(error.kind(), ErrorKind::RoleExists);
        }
        auth.grant_role("root", "root").await.unwrap();
        auth.change_password("root", "hush-secret").await.unwrap();
        auth.add_user("ann", "hush-pw").await.unwrap();
        auth.add_role("r").await.unwrap();
        let grant = auth.grant_permission("r", Permission::read("k"));
        grant.await.unwrap();
        auth.grant_role("ann", "r").await.unwrap();
        client.put("k", "v").await.unwrap();

        auth.enable().await.unwrap();
        assert_rejected(client.get("k").await, ErrorKind::TokenMissing);
        assert_rejected(client.put("k", "w").await, ErrorKind::TokenMissing);
        assert_rejected(auth.list_users().await, ErrorKind::TokenMissing);
        assert_rejected(auth.disable().await, ErrorKind::TokenMissing);
        let told = etcd
            .etcdctl(["--user=ann:hush-pw", "get", "k"])
            .await
            .unwrap();
        assert_eq!(told, "k\nv\n");
        let put = etcd.etcdctl(["--user=ann:hush-pw", "put", "k", "w"]).await;
        assert!(put.unwrap_err().to_string().contains("permission denied"));
        let old = etcd.etcdctl(["--user=root:hush-old", "get", "k"]).await;
        assert!(
            old.unwrap_err()
                .to_string()
                .contains("authentication failed")
        );

        as_root(&etcd, modern).await;
        assert_eq!(client.get("k").string().await.unwrap().unwrap(), "v");
        assert_eq!(etcd.etcdctl(["get", "k"]).await.unwrap(), "k\nv\n");
        assert_status(&client, modern, false).await;
        // Authentication is disabled already.
        auth.disable().await.unwrap();
    })
    .await;
}

/// Requests that only root may send, and permissions of other users.
async fn as_root(etcd: &Etcd, modern: bool) {
    let login = async |name: &str, password: &str| {
        let builder = Client::builder().endpoint(etcd.endpoint());
        let builder = builder.credentials(name, password).timeout(DEADLINE);
        builder.connect().await.unwrap()
    };
    let ann = login("ann", "hush-pw").await;
    assert_eq!(ann.get("k").string().await.unwrap().unwrap(), "v");
    assert_rejected(ann.put("k", "w").await, ErrorKind::PermissionDenied);
    assert_rejected(ann.auth().list_users().await, ErrorKind::PermissionDenied);
    assert_rejected(ann.auth().disable().await, ErrorKind::PermissionDenied);
    assert_eq!(ann.auth().get_user("ann").await.unwrap().roles, ["r"]);
    assert_maintenance_refused(&ann, ErrorKind::PermissionDenied).await;
    assert_maintenance_refused(&connect(etcd).await, ErrorKind::TokenMissing).await;

    let root = login("root", "hush-secret").await;
    assert_status(&root, modern, true).await;
    assert_eq!(
        root.auth().list_users().await.unwrap().users,
        ["ann", "root"]
    );
    let mut snapshot = root.maintenance().snapshot();
    while snapshot.try_next().await.unwrap().is_some() {}
    assert_eq!(snapshot.remaining(), Some(0));
    root.auth().disable().await.unwrap();
}

/// Checks that maintenance requests are refused with this kind. Before 3.6, etcd answers them with
/// another text and another code.
async fn assert_maintenance_refused(client: &Client, kind: ErrorKind) {
    let maintenance = client.maintenance();
    assert_rejected(maintenance.snapshot().try_next().await, kind);
    assert_rejected(maintenance.defragment().await, kind);
    assert_rejected(maintenance.hash().await, kind);
    assert_rejected(maintenance.hash_kv(0).await, kind);
}

async fn assert_status(client: &Client, modern: bool, enabled: bool) {
    let status = client.auth().status().await;
    if !modern {
        assert_rejected(status, ErrorKind::Unimplemented);
        return;
    }
    let status = status.unwrap();
    assert_eq!(status.enabled, enabled);
    assert_ne!(status.auth_revision, 0);
}

/// A user logs in with the password of a hash, on servers that support hashes.
#[tokio::test]
async fn a_password_is_changed_by_its_hash() {
    // Made by crypt(3), `$2a$04$`, of "hush-hashed".
    const HASH: &str =
        "JDJhJDA0JGFiY2RlZmdoaWprbG1ub3BxcnN0dXVQLk1EMXMvWmkxeGJWSHZJUzk1aEhweHpDb0IwWXZl";
    each_alone(&[], |etcd| async move {
        if !etcd.version().is_at_least(3, 5) {
            return;
        }
        let client = connect(&etcd).await;
        let auth = client.auth();
        // Some versions have the role from the start.
        let _ = auth.add_role("root").await;
        auth.add_user("root", "hush-old").await.unwrap();
        auth.grant_role("root", "root").await.unwrap();
        let change = ChangePassword::hashed("root", HASH);
        client.run(change).await.unwrap();
        auth.enable().await.unwrap();
        let login = |password: &str| {
            let builder = Client::builder().endpoint(etcd.endpoint());
            builder.credentials("root", password).connect()
        };
        let new = login("hush-hashed").await.unwrap();
        new.put("k", "v").await.unwrap();
        for wrong in ["hush-old", ""] {
            let error = login(wrong).await.unwrap_err();
            assert_ne!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
        new.auth().disable().await.unwrap();
    })
    .await;
}
