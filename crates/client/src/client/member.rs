//! Handles of one member, by its ID.

use std::collections::HashMap;
use std::sync::MutexGuard;

use crate::Client;
use crate::cluster::MembersResponse;
use crate::discovery::usable;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::mutex::Mutex;
use crate::transport::{EndpointTarget, Origin};

/// The members as of the last reply that listed them.
#[derive(Debug, Default)]
pub(crate) struct MemberCache {
    cached: Mutex<CachedMembers>,
}

#[derive(Debug, Default)]
struct CachedMembers {
    /// ID of the cluster that the members belong to.
    cluster: u64,
    /// The URLs that each member advertises, by the member's ID.
    urls: HashMap<u64, Vec<String>>,
}

impl MemberCache {
    fn cached(&self) -> MutexGuard<'_, CachedMembers> {
        self.cached.lock()
    }

    /// Returns the URLs that the member advertises, if known, and the cluster that told them.
    fn urls(&self, id: u64) -> Option<(u64, Vec<String>)> {
        let cached = self.cached();
        Some((cached.cluster, cached.urls.get(&id)?.clone()))
    }

    fn replace(&self, members: MembersResponse) {
        let urls = members.members.into_iter();
        *self.cached() = CachedMembers {
            cluster: members.header.cluster_id,
            urls: urls.map(|member| (member.id, member.client_urls)).collect(),
        };
    }
}

impl Client {
    /// Returns a handle whose calls go to the member with this ID and to no other. If none of the
    /// client's endpoints leads to the member, the client connects to a URL that the member
    /// advertises.
    ///
    /// The IDs are those of [`list_members`](Self::list_members), and of the headers of replies.
    /// The client remembers the URLs of the members, and lists the members again for an ID that it
    /// does not know. The member is not added to the client's [`endpoints`](Self::endpoints). A
    /// server at that URL that belongs to another cluster gets no call and no token; calls then
    /// fail with [`ErrorKind::ClusterMismatch`]. Members can swap their URLs: the client asks on
    /// each connection for the ID of the member before it uses the connection. When a connection
    /// leads to another member, calls fail with [`ErrorKind::MemberNotFound`] and
    /// [`Outcome::NotSent`](crate::Outcome::NotSent), and the next `member` lists the
    /// members again. From etcd 3.6 on, a learner of a cluster with users does not report its ID;
    /// the client then relies on the list of members.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// let leader = client.maintenance().status().await?.leader;
    /// let leader = client.member(leader).await?;
    /// leader.get("jobs/1").serializable().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::MemberNotFound`] when the cluster has no such member.
    /// - [`ErrorKind::Unavailable`] when the member advertises no URL, as it has not started yet.
    /// - [`ErrorKind::Config`] when all URLs of the member are ones that this client does not use:
    ///   a client with an https endpoint uses only https, and one without cannot use https.
    /// - The errors of [`list_members`](Self::list_members), if the client has to list the members.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn member(&self, id: u64) -> Result<Self, Error> {
        let known = self.members.urls(id).filter(|(_, urls)| !urls.is_empty());
        if let Some((cluster, urls)) = known {
            if let Some(member) = self.attach(id, cluster, &urls)? {
                return Ok(self.with(|scope| scope.member = Some(member)));
            }
        }
        self.members.replace(self.list_members().await?);
        let (cluster, urls) = self.members.urls(id).ok_or_else(|| unknown(id))?;
        // A mismatch that was found before the members were asked for says nothing of the new list.
        let member = match self.attach(id, cluster, &urls)? {
            None => self.attach(id, cluster, &urls)?,
            found => found,
        };
        let member = member.ok_or_else(|| moving(id))?;
        Ok(self.with(|scope| scope.member = Some(member)))
    }

    /// Finds the endpoint of the member, or adds one at a URL that the member advertises. Returns
    /// `None` if another member was found there.
    fn attach(
        &self,
        id: u64,
        cluster: u64,
        urls: &[String],
    ) -> Result<Option<EndpointTarget>, Error> {
        let in_use = self.endpoints();
        let secure = in_use.iter().any(Endpoint::is_secure);
        let usable = usable(urls, secure);
        let known = usable.iter().find(|one| in_use.contains(one));
        let Some(endpoint) = known.or(usable.first()) else {
            return Err(unusable(id, urls));
        };
        let pool = &self.scope.core.pool;
        pool.attach_member(endpoint, Origin::Cluster(cluster), id)
    }
}

fn moving(id: u64) -> Error {
    let message = format!("another member answers at a URL that member {id:x} advertises");
    Error::new(ErrorKind::Unavailable, message)
}

fn unknown(id: u64) -> Error {
    let message = format!("the cluster has no member {id:x}");
    Error::new(ErrorKind::MemberNotFound, message)
}

fn unusable(id: u64, urls: &[String]) -> Error {
    if urls.is_empty() {
        let message = format!("member {id:x} advertises no client URL; it has not started yet");
        return Error::new(ErrorKind::Unavailable, message);
    }
    let message = format!(
        "member {id:x} advertises only {}, which this client does not use (a client uses either https or http)",
        urls.join(", ")
    );
    Error::new(ErrorKind::Config, message)
}
