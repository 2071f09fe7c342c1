//! Handles of one member, by its ID.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Client;
use crate::cluster::Member;
use crate::discovery::usable;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};

/// Where the members were when they were last asked for, by their IDs.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    urls: Mutex<HashMap<u64, Vec<String>>>,
}

impl Roster {
    fn urls(&self) -> MutexGuard<'_, HashMap<u64, Vec<String>>> {
        // Nothing panics while it is held.
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the member advertises, if it is known and anything.
    fn of(&self, id: u64) -> Option<Vec<String>> {
        let urls = self.urls().get(&id).cloned();
        urls.filter(|urls| !urls.is_empty())
    }

    fn note(&self, members: Vec<Member>) {
        let known = members.into_iter();
        *self.urls() = known
            .map(|member| (member.id, member.client_urls))
            .collect();
    }
}

impl Client {
    /// A handle whose calls go to the member with this ID and to no other, also when none of the
    /// client's endpoints leads there: it is then reached where it says that clients find it.
    ///
    /// The IDs are those of [`list_members`](Self::list_members), and of the headers of replies.
    /// The client remembers where members are, and asks again for one that it does not know. It is
    /// not added to the client's [`endpoints`](Self::endpoints).
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// let leader = client.maintenance().status().await?.leader;
    /// let leader = client.member_with_id(leader).await?;
    /// leader.get("jobs/1").serializable().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::MemberNotFound`] when the cluster has no such member.
    /// - [`ErrorKind::Unavailable`] when the member has not said where clients find it: it has
    ///   not started yet.
    /// - [`ErrorKind::Config`] when it is found only at URLs that this client does not use: a
    ///   client with an https endpoint never leaves https, and one without cannot speak it.
    /// - Those of [`list_members`](Self::list_members), if that has to be asked.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn member_with_id(&self, id: u64) -> Result<Self, Error> {
        let urls = match self.roster.of(id) {
            Some(urls) => urls,
            None => {
                self.roster.note(self.list_members().await?.members);
                let known = self.roster.urls().get(&id).cloned();
                known.ok_or_else(|| unknown(id))?
            }
        };
        let in_use = self.endpoints();
        let secure = in_use.iter().any(Endpoint::is_secure);
        let usable = usable(&urls, secure);
        let known = usable.iter().find(|one| in_use.contains(one));
        let Some(endpoint) = known.or(usable.first()) else {
            return Err(unusable(id, &urls));
        };
        let place = self.scope.core.transport.attach(endpoint)?;
        Ok(self.with(|scope| scope.member = Some(place)))
    }
}

fn unknown(id: u64) -> Error {
    let message = format!("the cluster has no member {id:x}");
    Error::new(ErrorKind::MemberNotFound, message)
}

fn unusable(id: u64, urls: &[String]) -> Error {
    if urls.is_empty() {
        let message = format!("member {id:x} has not said where clients find it");
        return Error::new(ErrorKind::Unavailable, message);
    }
    let message = format!(
        "member {id:x} is at {}, which this client does not use (a client speaks either https or not)",
        urls.join(", ")
    );
    Error::new(ErrorKind::Config, message)
}
