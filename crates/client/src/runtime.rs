//! The tokio runtime that a client works on.
//!
//! A client outlives runtimes. What works for it in the background ends with its runtime and is
//! started again on that of the next caller.

use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};

/// The runtime of the caller.
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
