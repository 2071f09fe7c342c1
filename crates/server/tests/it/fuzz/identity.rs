//! The identity of a caller: the token that goes with a call.

use std::collections::HashMap;

use fastrand::Rng;

/// The users that histories have. The history creates, changes and deletes them.
pub(crate) const USERS: [&str; 3] = ["root", "ann", "bob"];

/// Tokens that no server has given. A server waits for the entry of its log with the number behind the
/// dot, so that number has to be small.
const FORGED: [&str; 4] = ["nonsense", "abcdefghijklmnop.1", "a.b.c", ""];

/// The identity of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// There is no token.
    Nobody,
    /// The last token of a user.
    User(&'static str),
    /// The last token of a user, in the header that the HTTP gateway of etcd uses.
    Bearer(&'static str),
    /// An earlier token of a user.
    Stale(&'static str, usize),
    /// A token that no server has given.
    Forged(&'static str),
}

impl Identity {
    /// Returns a random identity. Half of them are root, so that users change.
    pub(crate) fn random(random: &mut Rng) -> Self {
        let user = USERS[random.usize(..USERS.len())];
        match random.u8(..40) {
            0..18 => Self::User("root"),
            18..32 => Self::User(user),
            32 => Self::Bearer(user),
            33..35 => Self::Stale(user, random.usize(..4)),
            35 => Self::Forged(FORGED[random.usize(..FORGED.len())]),
            _ => Self::Nobody,
        }
    }
}

/// The tokens that a server has given.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<String, Vec<String>>);

impl Tokens {
    pub(crate) fn add(&mut self, user: &str, token: String) {
        self.0.entry(user.to_owned()).or_default().push(token);
    }

    /// Returns the header of an identity; `None` if it has no token.
    pub(crate) fn header(&self, identity: Identity) -> Option<(&'static str, String)> {
        let of_user = |user| self.0.get(user).map_or(&[][..], Vec::as_slice);
        let token = match identity {
            Identity::Nobody => return None,
            Identity::User(user) => of_user(user).last()?.clone(),
            Identity::Bearer(user) => {
                let token = of_user(user).last()?;
                return Some(("authorization", format!("Bearer {token}")));
            }
            Identity::Stale(user, age) => {
                let (_, earlier) = of_user(user).split_last()?;
                earlier.iter().rev().nth(age)?.clone()
            }
            Identity::Forged(token) => token.to_owned(),
        };
        Some(("token", token))
    }
}
