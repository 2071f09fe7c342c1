//! `del`.

use std::time::Duration;

use super::bytes;
use super::range::Extent;
use crate::args::{self, Global};
use crate::failure::{Failure, say};
use crate::output;

/// Pause in which the user can still interrupt the deletion of a range.
const WARNING_PAUSE: Duration = Duration::from_secs(2);

pub(crate) async fn run(global: &Global, del: args::Del) -> Result<(), Failure> {
    let render = output::DEL.choose(global.write_out)?;
    let extent = del.keys.extent()?;
    if let (Extent::End(_), Some(end), false) = (&extent, &del.keys.range_end, del.range) {
        say(
            "Warning",
            &format!(
                "deleting all keys from {:?} up to {end:?} in {} s unless interrupted; \
                 --range skips the wait",
                del.keys.key,
                WARNING_PAUSE.as_secs()
            ),
        );
        tokio::time::sleep(WARNING_PAUSE).await;
    }
    let request = etcdex::Delete::new(bytes(del.keys.key));
    let mut request = match extent {
        Extent::Key => request,
        Extent::End(end) => request.range_end(end),
        Extent::Prefix => request.prefix(),
        Extent::FromKey => request.from_key(),
    };
    if del.prev_kv {
        request = request.prev_kv();
    }
    let reply = global.connect().await?.run(request).await?;
    output::write(|out| render(out, &reply, global.hex))
}
