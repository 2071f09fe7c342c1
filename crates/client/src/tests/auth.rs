//! Secrets and keys that `Debug` must not print.

use crate::auth::{AddUser, ChangePassword};

#[test]
fn passwords_are_not_printed() {
    let requests = format!(
        "{:?} {:?} {:?} {:?}",
        AddUser::new("ann", "hunter2"),
        AddUser::new("ann", "hunter2").no_password(),
        ChangePassword::new("ann", "hunter2"),
        ChangePassword::hashed("ann", "hunter2"),
    );
    assert!(requests.contains("ann"), "{requests}");
    assert!(!requests.contains("hunter"), "{requests}");
}

#[test]
fn keys_of_permissions_are_not_printed() {
    use crate::auth::{GrantPermission, Permission, RevokePermission};
    let requests = format!(
        "{:?} {:?}",
        GrantPermission::new("r", Permission::read("begin").range_end("finish")),
        RevokePermission::new("r", "begin").range_end("finish"),
    );
    assert!(!requests.contains("begin"), "{requests}");
    assert!(!requests.contains("finish"), "{requests}");
}
