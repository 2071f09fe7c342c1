//! Refusals of real servers, with the kind, code, outcome and text of etcd's list
//! (`api/v3rpc/rpctypes/error.go`).

use etcdex::{Call, Client, Code, Error, ErrorKind, Get, LeaseId, Outcome, Put, Request, Txn};
use etcdex_testkit::Etcd;

use crate::stage::{DEADLINE, assert_refused, connect, each, each_alone};

/// Sends a request, and checks all fields of its error.
async fn assert_rejected<R: Request>(
    call: Call<R>,
    etcd: &Etcd,
    kind: ErrorKind,
    code: Code,
    message: &str,
) {
    let error = call.await.err().expect(message);
    assert_eq!(error.message(), message, "{error:?}");
    check(&error, etcd, kind, code);
}

fn check(error: &Error, etcd: &Etcd, kind: ErrorKind, code: Code) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.code(), Some(code), "{error}");
    assert_eq!(error.outcome(), Outcome::Rejected, "{error}");
    let endpoint = error.endpoint().map(|endpoint| endpoint.url().to_owned());
    assert_eq!(endpoint, Some(etcd.endpoint()), "{error}");
    assert_eq!(error.attempts(), 1, "{error}");
}

#[tokio::test]
async fn keys_and_transactions() {
    each(|stage| async move {
        use Code::{InvalidArgument, NotFound, OutOfRange};
        let (etcd, inside) = (stage.etcd, stage.inside());
        let lease = LeaseId::new(77).unwrap();
        let kind = ErrorKind::LeaseNotFound;
        let message = "etcdserver: requested lease not found";
        let put = inside.put("k", "v").lease(lease);
        assert_rejected(put, etcd, kind, NotFound, message).await;

        let message = "etcdserver: key not found";
        let kind = ErrorKind::KeyNotFound;
        let put = inside.put("k", "").ignore_value();
        assert_rejected(put, etcd, kind, InvalidArgument, message).await;
        let put = inside.put("k", "v").ignore_lease();
        assert_rejected(put, etcd, kind, InvalidArgument, message).await;

        let kind = ErrorKind::FutureRevision;
        let message = "etcdserver: mvcc: required revision is a future revision";
        let get = inside.get("k").revision(1 << 40);
        assert_rejected(get, etcd, kind, OutOfRange, message).await;
        let compact = inside.compact(1 << 40);
        assert_rejected(compact, etcd, kind, OutOfRange, message).await;

        let message = "etcdserver: duplicate key given in txn request";
        let kind = ErrorKind::DuplicateKey;
        let twice = inside.txn().then(Put::new("k", "")).then(Put::new("k", ""));
        assert_rejected(twice, etcd, kind, InvalidArgument, message).await;

        let message = "etcdserver: too many operations in txn request";
        let kind = ErrorKind::TooManyOperations;
        let many = (0..129).fold(Txn::new(), |txn, _| txn.then(Get::new("k")));
        assert_rejected(inside.run(many), etcd, kind, InvalidArgument, message).await;
        assert_eq!(inside.get("k").await.unwrap().count, 0);
    })
    .await;
}

#[tokio::test]
async fn requests_that_are_too_large() {
    each(|stage| async move {
        let inside = stage.inside();
        // The server accepts 1.5 MiB, and the client sends up to 2 MiB.
        let kind = ErrorKind::RequestTooLarge;
        let put = inside.put("k", vec![b'x'; 1_700_000]);
        let message = "etcdserver: request is too large";
        assert_rejected(put, stage.etcd, kind, Code::InvalidArgument, message).await;

        let error = inside.put("k", vec![0; 3 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert_eq!((error.code(), error.attempts()), (None, 0));

        // A client that sends more reaches the limit of the server's gRPC library.
        let client = Client::builder()
            .endpoint(stage.etcd.endpoint())
            .namespace(stage.prefix.as_str())
            .max_send_size(8 << 20)
            .timeout(DEADLINE)
            .connect()
            .await
            .unwrap();
        let error = client.put("k", vec![0; 3 << 20]).await.unwrap_err();
        check(&error, stage.etcd, kind, Code::ResourceExhausted);
        let text = "grpc: received message larger than max";
        assert!(error.message().starts_with(text), "{error}");
        assert_eq!(client.get("k").await.unwrap().count, 0);
        client.put("k", vec![0; 1_500_000]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_full_database() {
    each_alone(&["--quota-backend-bytes=2000000"], |etcd| async move {
        let client = connect(&etcd).await;
        let value = vec![b'x'; 100_000];
        client.put("first", "kept").await.unwrap();
        let mut number = 0;
        let error = loop {
            let put = client.put(format!("k{number}"), value.clone());
            match put.await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
            // Far over the quota: the server checks the size of its database only ten times a
            // second.
            assert!(number < 5_000, "the quota holds less than that");
        };
        let (kind, code) = (ErrorKind::NoSpace, Code::ResourceExhausted);
        let message = "etcdserver: mvcc: database space exceeded";
        assert_eq!(error.message(), message);
        check(&error, &etcd, kind, code);
        // Later puts are refused, and so is a transaction that puts.
        let put = client.put("k", vec![b'x'; 100_000]);
        assert_rejected(put, &etcd, kind, code, message).await;
        let txn = client.txn().then(Put::new("k", value.clone()));
        assert_rejected(txn, &etcd, kind, code, message).await;

        // Reading and deleting go on.
        let get = client.get("first").string().await.unwrap();
        assert_eq!(get.as_deref(), Some("kept"));
        assert_eq!(client.get("k").await.unwrap().count, 0);
        assert_eq!(client.delete("k0").await.unwrap().deleted, 1);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_requires_a_user() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        for arguments in [
            &["user", "add", "root:secret"][..],
            &["role", "add", "root"],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            let told = etcd.etcdctl(arguments).await;
            // Newer servers create the role root by themselves.
            assert!(told.is_ok() || arguments[0] == "role", "{told:?}");
        }
        let (kind, code) = (ErrorKind::TokenMissing, Code::InvalidArgument);
        let message = "etcdserver: user name is empty";
        assert_rejected(client.put("k", "v"), &etcd, kind, code, message).await;
        assert_rejected(client.get("k"), &etcd, kind, code, message).await;
        assert_rejected(client.delete("k"), &etcd, kind, code, message).await;
        let txn = client.txn().then(Get::new("k"));
        assert_rejected(txn, &etcd, kind, code, message).await;
    })
    .await;
}

/// The client refuses invalid requests without a server.
#[tokio::test]
async fn invalid_requests_without_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::builder().endpoint(nobody).connect_lazy().unwrap();
    let put = client
        .put("", "v")
        .timeout(std::time::Duration::from_secs(1));
    assert_refused(put.await);
}
