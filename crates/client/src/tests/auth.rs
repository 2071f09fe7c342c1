//! What is never printed.

use crate::auth::{UserAdd, UserChangePassword};

#[test]
fn passwords_are_not_printed() {
    let requests = format!(
        "{:?} {:?} {:?} {:?}",
        UserAdd::new("ann", "hunter2"),
        UserAdd::new("ann", "hunter2").no_password(),
        UserChangePassword::new("ann", "hunter2"),
        UserChangePassword::hashed("ann", "hunter2"),
    );
    assert!(requests.contains("ann"), "{requests}");
    assert!(!requests.contains("hunter"), "{requests}");
}

#[test]
fn keys_of_permissions_are_not_printed() {
    use crate::auth::{Permission, RoleGrantPermission, RoleRevokePermission};
    let requests = format!(
        "{:?} {:?}",
        RoleGrantPermission::new("r", Permission::read("begin").range_end("finish")),
        RoleRevokePermission::new("r", "begin").range_end("finish"),
    );
    assert!(!requests.contains("begin"), "{requests}");
    assert!(!requests.contains("finish"), "{requests}");
}
