//! Other credentials for a client that is in use.

use std::sync::Arc;

use super::{Client, warn_of_plain_text};
use crate::credentials::{Credentials, Secret, TokenProvider};

impl Client {
    /// Logs in with another user or password from now on, for all handles of the client.
    ///
    /// The token of the old credentials is dropped, and a login that is under way with them is
    /// given up. Calls that wait for a token get one of the new credentials. A client whose old
    /// credentials were refused tries the new ones with the next call. Requests that were sent
    /// before are answered as those of the old user. Watches go on with a new stream, which brings
    /// the new token: a watch of keys that the new user may not read ends as
    /// [`PermissionDenied`](crate::WatchEnd::PermissionDenied).
    ///
    /// It asks no server. Wrong credentials show with the next call, as
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
    /// [`Token`](crate::Token) that stays the same, or a function that makes tokens. The rest is
    /// as with [`set_credentials`](Self::set_credentials).
    ///
    /// ```no_run
    /// # fn example(client: etcdex::Client, jwt: String) {
    /// client.set_token(etcdex::Token::new(jwt));
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
