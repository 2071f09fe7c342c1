//! The endpoints of a client that is in use: listed, added, removed, replaced, learned.

use super::{Client, warn_of_plain_text};
use crate::endpoint::{Endpoint, IntoEndpoints};
use crate::error::Error;
use crate::transport::Origin;

impl Client {
    /// Returns the endpoints that are in use, in the order in which they were given.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.scope.core.pool.endpoints()
    }

    /// Uses one more endpoint from now on. Returns whether the endpoint is new.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the URL is not valid, or is https and
    /// the client was made without an https endpoint.
    pub fn add_endpoint(&self, url: impl AsRef<str>) -> Result<bool, Error> {
        let endpoint: Endpoint = url.as_ref().parse()?;
        crate::config::check(&endpoint)?;
        let new = self.scope.core.pool.add(&endpoint, Origin::User)?;
        self.warn_of_plain_text(std::slice::from_ref(&endpoint));
        Ok(new)
    }

    /// Stops using an endpoint; calls in progress there continue. Returns whether the endpoint was
    /// in use and has been removed. The last endpoint cannot be removed.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when the URL is not valid.
    pub fn remove_endpoint(&self, url: impl AsRef<str>) -> Result<bool, Error> {
        Ok(self.scope.core.pool.remove(&url.as_ref().parse()?))
    }

    /// Uses these endpoints from now on and no others.
    ///
    /// The argument is as for [`connect`](Self::connect). Connections to endpoints that stay are
    /// kept. Endpoints that were added or learned and are not among these are removed. Calls,
    /// watches and renewals in progress at a removed endpoint continue until their connection ends.
    ///
    /// With [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval), these endpoints
    /// replace the endpoints that the client was given: the client learns from them, and returns to
    /// them. A sync that is in progress changes nothing any more. The client does not look up the
    /// records of [`ClientBuilder::srv`](crate::ClientBuilder) again.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is no endpoint, when a URL is not
    /// valid, or when one is https and the client was made without an https endpoint. Then nothing
    /// has changed.
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

    /// Asks the cluster for its members now, and uses the URLs that they advertise. Returns the
    /// endpoints that are then in use.
    ///
    /// The rule is that of [`auto_sync_interval`](crate::ClientBuilder::auto_sync_interval), which
    /// need not be set: the client uses an advertised URL once a member of the same cluster has
    /// answered there, and gives up an endpoint that no member advertises only if an advertised one
    /// has answered. An unchanged list is therefore no error. From then on, the client also returns
    /// to the endpoints that it was given when none in use can be reached.
    ///
    /// Several syncs run one after the other. The client asks for the members within the handle's
    /// time-out, and tries the advertised URLs for up to twice
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
