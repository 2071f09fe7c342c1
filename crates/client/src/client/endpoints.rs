//! The endpoints of a client that is in use: listed, added, removed, replaced, learned.

use super::{Client, warn_of_plain_text};
use crate::endpoint::{Endpoint, IntoEndpoints};
use crate::error::Error;
use crate::transport::Origin;

impl Client {
    /// Returns the endpoints that are in use, in the order in which they were given.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.scope.core.transport.endpoints()
    }

    /// Uses one more endpoint from now on. Returns whether it is new.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the URL is none, or is https and the client was made without
    /// an https endpoint.
    pub fn add_endpoint(&self, url: impl AsRef<str>) -> Result<bool, Error> {
        let endpoint: Endpoint = url.as_ref().parse()?;
        crate::config::check(&endpoint)?;
        let new = self.scope.core.transport.add(&endpoint, Origin::User)?;
        self.warn_of_plain_text(std::slice::from_ref(&endpoint));
        Ok(new)
    }

    /// Uses an endpoint no more; calls that are under way there go on. Returns whether it was in
    /// use; the last one stays.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the URL is none.
    pub fn remove_endpoint(&self, url: impl AsRef<str>) -> Result<bool, Error> {
        Ok(self.scope.core.transport.remove(&url.as_ref().parse()?))
    }

    /// Uses these endpoints from now on and no others.
    ///
    /// It takes what [`connect`](Self::connect) takes. Connections to endpoints that stay are kept.
    /// Endpoints that were added or learned and are not among these are removed. Calls, watches
    /// and renewals that are under way at a removed endpoint go on until their connection ends.
    ///
    /// With [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval), these are the endpoints that
    /// the client was given: it learns from them on, and comes back to them. A sync that is under
    /// way changes nothing any more. [`ClientBuilder::srv`](crate::ClientBuilder) is not asked again.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is no endpoint, when a URL is none, or when one is https and
    /// the client was made without an https endpoint. Then nothing has changed.
    ///
    /// ```no_run
    /// # fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// client.set_endpoints(["http://10.0.0.4:2379", "http://10.0.0.5:2379"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_endpoints(&self, endpoints: impl IntoEndpoints) -> Result<(), Error> {
        let mut parsed: Vec<Endpoint> = Vec::new();
        for url in endpoints.into_endpoints() {
            let endpoint: Endpoint = url.parse()?;
            if !parsed.contains(&endpoint) {
                parsed.push(endpoint);
            }
        }
        let core = &self.scope.core;
        crate::config::check_all(&core.options, &parsed)?;
        self.warn_of_plain_text(&parsed);
        self.discovery.replace(core, parsed)
    }

    /// Asks the cluster for its members now, and uses what they advertise. Returns the endpoints
    /// that are then in use.
    ///
    /// The rule is that of [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval), which need not
    /// be set: an advertised URL is used once a member of the same cluster has answered there, and
    /// an endpoint that no member advertises is given up only if one that is advertised has
    /// answered. So an unchanged list is no error. From then on, the endpoints that the client was
    /// given are back when none in use can be reached.
    ///
    /// Of several syncs at once, each waits for the one before. The members are asked for within the
    /// handle's time-out, and what they advertise is tried for up to twice
    /// [`connect_timeout`](crate::ClientBuilder::connect_timeout).
    ///
    /// # Errors
    /// The errors of [`list_members`](Self::list_members). Then nothing has changed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the endpoints as they are.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
    /// for endpoint in client.sync_endpoints().await? {
    ///     println!("{endpoint}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync_endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        self.discovery
            .sync_now(&self.scope, self.list_members())
            .await
    }

    fn warn_of_plain_text(&self, endpoints: &[Endpoint]) {
        if self.scope.core.authentication.get().is_some() {
            warn_of_plain_text(endpoints);
        }
    }
}
