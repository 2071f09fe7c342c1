//! `put`.

use std::io::Read as _;

use etcdex::LeaseId;

use super::bytes;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(global: &Global, put: args::Put) -> Result<(), Failure> {
    let render = output::PUT.choose(global.write_out)?;
    let value = value(put.value.map(bytes), put.ignore_value)?;
    let mut request = etcdex::Put::new(bytes(put.key), value);
    if let Some(lease) = LeaseId::new(put.lease) {
        request = request.lease(lease);
    }
    if put.prev_kv {
        request = request.prev_kv();
    }
    if put.ignore_value {
        request = request.ignore_value();
    }
    if put.ignore_lease {
        request = request.ignore_lease();
    }
    let reply = global.connect().await?.run(request).await?;
    output::write(|out| render(out, &reply, global.hex))
}

/// Returns the value of the command line, or else reads standard input.
fn value(given: Option<Vec<u8>>, ignore: bool) -> Result<Vec<u8>, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    match given {
        Some(_) if ignore => {
            usage("--ignore-value keeps the current value; drop the flag or the value")
        }
        Some(value) => Ok(value),
        None if ignore => Ok(Vec::new()),
        None => {
            let mut value = Vec::new();
            std::io::stdin()
                .read_to_end(&mut value)
                .map_err(Failure::System)?;
            if value.is_empty() {
                return usage("put needs a value, as an argument or on standard input");
            }
            Ok(value)
        }
    }
}
