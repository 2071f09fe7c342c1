//! `del`.

use std::time::Duration;

use super::bytes;
use super::range::Reach;
use crate::args::{self, Global};
use crate::failure::{Failure, say};
use crate::output;

/// How long a range that may be a mistake can still be stopped.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

pub(crate) async fn run(global: &Global, del: args::Del) -> Result<(), Failure> {
    let render = output::DEL.choose(global.write_out)?;
    let reach = del.keys.reach()?;
    if let (Reach::End(_), Some(end), false) = (&reach, &del.keys.range_end, del.range) {
        say(
            "Warning",
            &format!(
                "all keys from {:?} up to {end:?} go in {} s, unless this is interrupted; \
                 --range leaves the wait out",
                del.keys.key,
                SECOND_THOUGHTS.as_secs()
            ),
        );
        tokio::time::sleep(SECOND_THOUGHTS).await;
    }
    let request = etcdex::Delete::new(bytes(del.keys.key));
    let mut request = match reach {
        Reach::Key => request,
        Reach::End(end) => request.range_end(end),
        Reach::Prefix => request.prefix(),
        Reach::FromKey => request.from_key(),
    };
    if del.prev_kv {
        request = request.prev_kv();
    }
    let reply = global.connect().await?.run(request).await?;
    output::write(|out| render(out, &reply, global.hex))
}
