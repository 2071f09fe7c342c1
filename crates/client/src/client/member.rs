//! Handles of one member, by its ID.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Client;
use crate::cluster::MembersResponse;
use crate::discovery::usable;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::transport::{Member, Origin};

/// The members when they were last asked for.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The cluster that has told them.
    cluster: u64,
    /// The URLs that each member advertises, by its ID.
    urls: HashMap<u64, Vec<String>>,
}

impl Roster {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the URLs that the member advertises, if known, and the cluster that told them.
    fn of(&self, id: u64) -> Option<(u64, Vec<String>)> {
        let known = self.known();
        Some((known.cluster, known.urls.get(&id)?.clone()))
    }

    fn note(&self, members: MembersResponse) {
        let urls = members.members.into_iter();
        *self.known() = Known {
            cluster: members.header.cluster_id,
            urls: urls.map(|member| (member.id, member.client_urls)).collect(),
        };
    }
}

impl Client {
    /// A handle whose calls go to the member with this ID and to no other, also when none of the
    /// client's endpoints leads there: it is then reached where it says that clients find it.
    ///
    /// The IDs are those of [`list_members`](Self::list_members), and of the headers of replies.
    /// The client remembers where members are, and asks again for one that it does not know. It is
    /// not added to the client's [`endpoints`](Self::endpoints). A server there that belongs to
    /// another cluster gets no call and no token; calls then fail with
    /// [`ErrorKind::ClusterMismatch`]. Members can swap their URLs: each connection is asked for its
    /// member before it is used. When it leads to another one, calls fail with
    /// [`ErrorKind::MemberNotFound`] and [`Outcome::NotSent`](crate::Outcome::NotSent), and the next
    /// `member_with_id` asks where the member is now. From etcd 3.6 on, a learner of a cluster with
    /// users does not tell its ID; it is taken at the word of the member list.
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
        let known = self.roster.of(id).filter(|(_, urls)| !urls.is_empty());
        if let Some((cluster, urls)) = known {
            if let Some(member) = self.attach(id, cluster, &urls)? {
                return Ok(self.with(|scope| scope.member = Some(member)));
            }
        }
        self.roster.note(self.list_members().await?);
        let (cluster, urls) = self.roster.of(id).ok_or_else(|| unknown(id))?;
        // A mismatch that was found before the members were asked for says nothing of the new list.
        let member = match self.attach(id, cluster, &urls)? {
            None => self.attach(id, cluster, &urls)?,
            found => found,
        };
        let member = member.ok_or_else(|| moving(id))?;
        Ok(self.with(|scope| scope.member = Some(member)))
    }

    /// Gives the member a place where it says that clients find it. `None` if another member was
    /// found there.
    fn attach(&self, id: u64, cluster: u64, urls: &[String]) -> Result<Option<Member>, Error> {
        let in_use = self.endpoints();
        let secure = in_use.iter().any(Endpoint::is_secure);
        let usable = usable(urls, secure);
        let known = usable.iter().find(|one| in_use.contains(one));
        let Some(endpoint) = known.or(usable.first()) else {
            return Err(unusable(id, urls));
        };
        let transport = &self.scope.core.transport;
        transport.attach_member(endpoint, Origin::Cluster(cluster), id)
    }
}

fn moving(id: u64) -> Error {
    let message = format!("another member was found where member {id:x} says that clients find it");
    Error::new(ErrorKind::Unavailable, message)
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
