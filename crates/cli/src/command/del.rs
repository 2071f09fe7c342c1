//! `del`.

use std::time::Duration;

use super::{bytes, check_range};
use crate::args::{self, Global};
use crate::failure::{Failure, say};
use crate::output;

/// How long a range that may be a mistake can still be stopped.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

pub(crate) async fn run(global: &Global, del: args::Del) -> Result<(), Failure> {
    let render = output::DEL.choose(global.write_out)?;
    check_range(del.range_end.as_ref(), del.prefix, del.from_key)?;
    let end = del.range_end.filter(|end| !end.is_empty());
    if let (Some(end), false) = (&end, del.range) {
        say(
            "Warning",
            &format!(
                "all keys from {:?} up to {end:?} go in {} s, unless this is interrupted; \
                 --range leaves the wait out",
                del.key,
                SECOND_THOUGHTS.as_secs()
            ),
        );
        tokio::time::sleep(SECOND_THOUGHTS).await;
    }
    let mut request = etcdex::Delete::new(bytes(del.key));
    if let Some(end) = end {
        request = request.range_end(bytes(end));
    }
    if del.prefix {
        request = request.prefix();
    }
    if del.from_key {
        request = request.from_key();
    }
    if del.prev_kv {
        request = request.prev_kv();
    }
    let reply = global.connect().await?.run(request).await?;
    output::write(|out| render(out, &reply, global.hex))
}
