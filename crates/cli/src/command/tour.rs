//! `tour`.

use crate::args::Global;
use crate::failure::Failure;
use crate::tour;

pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    // Without endpoints the tour starts a server, so the default endpoint does not count here.
    let endpoints = match global.endpoints.is_empty() {
        true => Vec::new(),
        false => global.endpoints(),
    };
    tour::run(endpoints, |endpoints| global.builder(endpoints)).await
}
