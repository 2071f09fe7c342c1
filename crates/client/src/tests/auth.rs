//! Logging in, and what is never printed.

use etcdex_proto::etcdserverpb as pb;
use prost::Message;

use super::peer::{Peers, framed, serve};
use crate::auth::{Authenticate, Token, UserAdd, UserChangePassword};
use crate::{ErrorKind, Outcome};

#[tokio::test]
async fn a_name_and_a_password_become_a_token() {
    let peers = Peers::one(|_, stream| {
        serve(stream, |asked| async move {
            assert_eq!(asked.path, "/etcdserverpb.Auth/Authenticate");
            let message = pb::AuthenticateRequest::decode(&asked.message[..]);
            let message = message.expect("it is one");
            if (message.name.as_str(), message.password.as_str()) != ("ann", "hunter2") {
                let text = "etcdserver: authentication failed, invalid user ID or password";
                return asked.fail("3", text);
            }
            asked.answer(framed(&pb::AuthenticateResponse {
                token: "a-token.17".to_owned(),
                ..pb::AuthenticateResponse::default()
            }));
        })
    });
    let client = peers.client().await;
    let login = client.run(Authenticate::new("ann", "hunter2"));
    assert!(!format!("{login:?}").contains("hunter2"));
    let token: Token = login.await.expect("the password is right");
    assert_eq!(token.as_str(), "a-token.17");
    assert_eq!(format!("{token:?}"), "Token([redacted])");

    let login = client.run(Authenticate::new("ann", "hunter3"));
    let error = login.await.expect_err("the password is wrong");
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    assert!(!format!("{error} {error:?}").contains("hunter3"));

    let error = client.run(Authenticate::new("", "hunter2")).await;
    let error = error.expect_err("nobody has an empty name");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[test]
fn passwords_are_not_printed() {
    let requests = format!(
        "{:?} {:?} {:?}",
        UserAdd::new("ann", "hunter2"),
        UserAdd::new("ann", "hunter2").no_password(),
        UserChangePassword::new("ann", "hunter2"),
    );
    assert!(requests.contains("ann"), "{requests}");
    assert!(!requests.contains("hunter"), "{requests}");
}

#[test]
fn keys_of_permissions_are_not_printed() {
    use crate::auth::{PermissionType, RoleGrantPermission, RoleRevokePermission};
    let requests = format!(
        "{:?} {:?}",
        RoleGrantPermission::new("r", PermissionType::Read, "begin").range_end("finish"),
        RoleRevokePermission::new("r", "begin").range_end("finish"),
    );
    assert!(!requests.contains("begin"), "{requests}");
    assert!(!requests.contains("finish"), "{requests}");
}
