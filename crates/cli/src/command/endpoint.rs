//! `endpoint`: queries each endpoint separately.

mod health;

use crate::args::{Endpoint, EndpointVerb, Global};
use crate::failure::Failure;

pub(crate) async fn run(global: &Global, endpoint: Endpoint) -> Result<(), Failure> {
    match endpoint.verb {
        EndpointVerb::Health => health::run(global).await,
    }
}
