//! Replacing the credentials of a client that is in use.

use std::sync::Arc;

use super::{Client, warn_of_plain_text};
use crate::credentials::{Credentials, Secret, TokenProvider};

impl Client {
    /// Logs in with another user or password from now on, for all handles of the client.
    ///
    /// The client drops the token of the old credentials, and abandons a login that is in progress
    /// with them. Calls that wait for a token get one of the new credentials. A client whose old
    /// credentials were refused tries the new ones with the next call. Requests that were sent
    /// before are answered as requests of the old user. Watches continue on a new stream with the
    /// new token: a watch of keys that the new user may not read ends with
    /// [`PermissionDenied`](crate::WatchEnd::PermissionDenied).
    ///
    /// The method contacts no server. If the credentials are wrong, the next call fails with
    /// [`AuthenticationFailed`](crate::ErrorKind::AuthenticationFailed). Neither password nor token
    /// is ever printed.
    ///
    /// ```no_run
    /// # async fn example(client: etcdex::Client, password: String) -> Result<(), etcdex::Error> {
    /// // The password has been rotated.
    /// client.set_credentials("root", password);
    /// client.get("config").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_credentials(&self, user: impl Into<Arc<str>>, password: impl Into<Arc<str>>) {
        self.replace_credentials(Credentials::Password {
            user: user.into(),
            password: Secret::new(password),
        });
    }

    /// Takes tokens from another provider from now on, for all handles of the client: a
    /// [`Token`](crate::credentials::Token) that stays the same, or a function that makes tokens. Everything
    /// else is as with [`set_credentials`](Self::set_credentials).
    ///
    /// ```no_run
    /// # fn example(client: etcdex::Client, jwt: String) {
    /// client.set_token(etcdex::credentials::Token::new(jwt));
    /// # }
    /// ```
    pub fn set_token(&self, provider: impl TokenProvider) {
        self.replace_credentials(Credentials::Provider(Arc::new(provider)));
    }

    fn replace_credentials(&self, credentials: Credentials) {
        self.scope.core.set_credentials(credentials);
        warn_of_plain_text(&self.endpoints());
    }
}
