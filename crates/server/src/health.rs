//! The health service of gRPC.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use bytes::Bytes;
use etcdex_proto::health as pb;
use etcdex_proto::health::health_check_response::ServingStatus;

use crate::context::Context;
use crate::grpc::{Code, Status, decode};
use crate::reply::Reply;
use crate::request::{Ended, Request};
use crate::service::Progress;

pub(crate) fn check(_context: &Context, message: Bytes) -> Result<Progress, Status> {
    let request: pb::HealthCheckRequest = decode(message)?;
    match is_known(&request.service) {
        true => Progress::answer(&response(ServingStatus::Serving)),
        false => Err(Status::new(Code::NotFound, "unknown service")),
    }
}

/// Tells the state, which does not change.
pub(crate) async fn watch(
    _context: &Context,
    mut request: Request,
    reply: &mut Reply,
) -> Result<(), Ended> {
    let request: pb::HealthCheckRequest = decode(request.only().await?)?;
    let status = match is_known(&request.service) {
        true => ServingStatus::Serving,
        false => ServingStatus::ServiceUnknown,
    };
    reply.send(&response(status)).await?;
    reply.given_up().await;
    Err(Ended::ByClient)
}

/// Only the server as a whole has a state, as in etcd.
fn is_known(service: &str) -> bool {
    service.is_empty()
}

fn response(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse {
        status: status.into(),
    }
}
