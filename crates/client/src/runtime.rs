//! The tokio runtime of a caller.
//!
//! A client outlives runtimes. A task of the client ends with its runtime, and is started again on
//! the runtime of the next caller.

use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};

/// Returns the runtime of the caller.
///
/// # Errors
/// [`ErrorKind::Config`] outside of a tokio runtime.
pub(crate) fn present() -> Result<Handle, Error> {
    Handle::try_current().map_err(|cause| {
        let message = "there is no tokio runtime here: poll it in a task of a runtime, or in its \
                       block_on";
        Error::new(ErrorKind::Config, message).with_source(cause)
    })
}
