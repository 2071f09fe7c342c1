//! Real etcd and the embedded server side by side. Both get the same calls.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use etcdex_proto::etcdserverpb as pb;
use etcdex_server::Server;
use etcdex_testkit::{Binary, Etcd};
use h2::client::SendRequest;
use prost::Message;
use tokio::time::timeout;

use super::call::{CURRENT, Call, Revisions, Step, Unary, WatchCall};
use super::identity::{Identity, Tokens};
use super::watch::Watches;
use crate::raw::{connect, exchange};

/// How long a server may take to answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The most permissions of a role. etcd sorts them by a method that exchanges equal ones of more than
/// these, and finds only the first one for a key later.
const SORTED: usize = 12;

/// Number of streams of watches.
pub(crate) const STREAMS: usize = 3;

/// A call to which the two servers answer differently.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The index of the step.
    pub(crate) step: usize,
    pub(crate) real: String,
    pub(crate) embedded: String,
}

impl Difference {
    /// Whether another difference is of the same kind: both servers refuse a call for the same reasons, or
    /// do not refuse it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let reason = |answer: &str| answer.starts_with(REFUSED).then(|| answer.to_owned());
        reason(&self.real) == reason(&other.real)
            && reason(&self.embedded) == reason(&other.embedded)
    }
}

/// The start of the answer to a call that is refused.
const REFUSED: &str = "status ";

/// The status and the text of a call that has failed.
type Failure = (String, String);

/// One of the servers.
pub(crate) struct Side {
    sender: SendRequest<Bytes>,
    tokens: Tokens,
}

/// Both servers, new ones.
pub(crate) struct Pair {
    real: Side,
    embedded: Side,
    streams: [Option<Watches>; STREAMS],
    /// How long watches may take until both servers have told the same.
    patience: Duration,
    pub(crate) revisions: Revisions,
    /// The passwords of the users, to log in by.
    passwords: HashMap<String, String>,
    /// Number of permissions that each role was granted.
    granted: HashMap<String, usize>,
    _etcd: Etcd,
    _server: Server,
}

impl Side {
    async fn connect(url: &str) -> Self {
        Self {
            sender: connect(url).await,
            tokens: Tokens::default(),
        }
    }

    async fn ask(
        &self,
        identity: Identity,
        path: &str,
        request: Vec<u8>,
    ) -> Result<Bytes, Failure> {
        let header = self.tokens.header(identity);
        let exchange = exchange(&self.sender, path, "application/grpc", header, request);
        let none = |text: String| ("no answer".to_owned(), text);
        let answer = timeout(DEADLINE, exchange).await;
        let answer = answer.map_err(|_| none(format!("in {DEADLINE:?}")))?;
        let answer = answer.map_err(|error| none(error.to_string()))?;
        match answer.code.as_str() {
            "0" => Ok(merged(answer.body)),
            _ => Err((answer.code, answer.text)),
        }
    }
}

/// Returns the messages without their prefixes. One after the other, they count as one merged message.
fn merged(body: Vec<u8>) -> Bytes {
    let mut body = Bytes::from(body);
    let first = body.first_chunk::<5>().map(length);
    if first.is_some_and(|first| body.len() == 5 + first) {
        return body.split_off(5);
    }
    let mut all = Vec::new();
    while let Some(prefix) = body.first_chunk::<5>() {
        let length = length(prefix);
        body.advance(5);
        all.extend_from_slice(&body.split_to(length));
    }
    all.into()
}

fn length([_, length @ ..]: &[u8; 5]) -> usize {
    u32::from_be_bytes(*length) as usize
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

impl Pair {
    /// Starts both. `patience`: how long watches may take until both have told the same.
    pub(crate) async fn start(binary: &Binary, patience: Duration) -> Self {
        // Logins are cheap, and refused calls are not written to the log.
        let arguments = ["--bcrypt-cost=4", "--log-level=panic"];
        let etcd = Etcd::builder().binary(binary).args(arguments);
        let etcd = etcd.start().await.unwrap();
        let server = Server::builder().start().await.unwrap();
        Self {
            real: Side::connect(&etcd.endpoint()).await,
            embedded: Side::connect(&server.client_url()).await,
            streams: [const { None }; STREAMS],
            patience,
            revisions: Revisions {
                now: 1,
                compacted: 0,
            },
            passwords: HashMap::new(),
            granted: HashMap::new(),
            _etcd: etcd,
            _server: server,
        }
    }

    /// Plays a history up to the first difference.
    pub(crate) async fn play(&mut self, history: &[Step]) -> Result<(), Difference> {
        for (step, call) in history.iter().enumerate() {
            let played = self.step(call).await;
            played.map_err(|(real, embedded)| Difference {
                step,
                real,
                embedded,
            })?;
        }
        let step = history.len();
        let compared = self.compare_all().await;
        compared.map_err(|(real, embedded)| Difference {
            step,
            real,
            embedded,
        })
    }

    /// Makes one call. Returns both answers if they differ.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<(), (String, String)> {
        match &step.call {
            Call::Unary(call) => {
                if matches!(call, Unary::Compact(_)) {
                    // A watch is told of the pair before a change only if that was not compacted before.
                    self.compare_all().await?;
                }
                let call = self.resolve(call);
                self.unary(step.identity, &call).await
            }
            Call::Watch(slot, WatchCall::Open) => {
                if let Some(watches) = &mut self.streams[*slot] {
                    watches.compare(self.revisions).await?;
                }
                let headers = [&self.real, &self.embedded]
                    .map(|side| (side.sender.clone(), side.tokens.header(step.identity)));
                self.streams[*slot] = Some(Watches::open(headers, *slot, self.patience).await);
                Ok(())
            }
            Call::Watch(slot, call) => {
                let Some(watches) = &mut self.streams[*slot] else {
                    return Ok(());
                };
                match call {
                    WatchCall::Open => Ok(()),
                    WatchCall::Create(create) => watches.create(create, self.revisions).await,
                    WatchCall::Cancel(id) => watches.cancel(*id, self.revisions).await,
                    WatchCall::Compare => watches.compare(self.revisions).await,
                }
            }
        }
    }

    async fn compare_all(&mut self) -> Result<(), (String, String)> {
        for watches in self.streams.iter_mut().flatten() {
            watches.compare(self.revisions).await?;
        }
        Ok(())
    }

    /// Returns the call as it is sent now.
    pub(crate) fn resolve(&self, call: &Unary) -> Unary {
        let mut call = call.resolve(self.revisions);
        match &mut call {
            Unary::Authenticate(login) if login.password == CURRENT => {
                let known = self.passwords.get(&login.name);
                login.password = known.cloned().unwrap_or_default();
            }
            Unary::GrantPermission(grant) if self.granted.get(&grant.name) >= Some(&SORTED) => {
                let role = grant.name.clone();
                call = Unary::RoleDelete(pb::AuthRoleDeleteRequest { role });
            }
            _ => {}
        }
        call
    }

    async fn unary(&mut self, identity: Identity, call: &Unary) -> Result<(), (String, String)> {
        let (path, request) = (call.path(), framed(call.encode()));
        let (real, embedded) = tokio::join!(
            self.real.ask(identity, path, request.clone()),
            self.embedded.ask(identity, path, request.clone()),
        );
        if let Unary::Authenticate(login) = call {
            keep_token(&mut self.real, &login.name, &real);
            keep_token(&mut self.embedded, &login.name, &embedded);
        }
        let real = real.map(|reply| call.normalise(reply));
        let embedded = embedded.map(|reply| call.normalise(reply));
        if real != embedded {
            let show = |reply: Result<(Vec<u8>, i64), Failure>| match reply {
                Ok((reply, _)) => call.show_reply(&reply),
                Err((code, text)) => format!("{REFUSED}{code}: {text}"),
            };
            return Err((show(real), show(embedded)));
        }
        if let Ok((_, revision)) = real {
            self.note(call, revision);
        }
        Ok(())
    }

    /// Notes what a call has changed.
    fn note(&mut self, call: &Unary, revision: i64) {
        self.revisions.now = self.revisions.now.max(revision);
        match call {
            Unary::Compact(compact) => self.revisions.compacted = compact.revision,
            Unary::UserAdd(pb::AuthUserAddRequest { name, password, .. })
            | Unary::ChangePassword(pb::AuthUserChangePasswordRequest { name, password, .. }) => {
                self.passwords.insert(name.clone(), password.clone());
            }
            Unary::GrantPermission(grant) => {
                *self.granted.entry(grant.name.clone()).or_default() += 1;
            }
            Unary::RoleDelete(delete) => _ = self.granted.remove(&delete.role),
            _ => {}
        }
    }
}

fn keep_token(side: &mut Side, user: &str, reply: &Result<Bytes, Failure>) {
    if let Ok(reply) = reply {
        let reply = pb::AuthenticateResponse::decode(reply.clone()).expect("a message of etcd");
        side.tokens.add(user, reply.token);
    }
}
