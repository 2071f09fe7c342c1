//! The format `simple`, for people: keys and values, each on its own line.

use std::io::{self, Write};

use etcdex::KeyValue;
use etcdex::kv::{DeleteResponse, GetResponse, PutResponse};

use super::Health;
use crate::duration::Go;

pub(super) fn put(out: &mut dyn Write, reply: &PutResponse, hex: bool) -> io::Result<()> {
    writeln!(out, "OK")?;
    reply.prev_kv.iter().try_for_each(|kv| pair(out, kv, hex))
}

pub(super) fn get(out: &mut dyn Write, reply: &GetResponse, hex: bool) -> io::Result<()> {
    reply.kvs.iter().try_for_each(|kv| pair(out, kv, hex))
}

/// Writes only the values.
pub(crate) fn values(out: &mut dyn Write, reply: &GetResponse, hex: bool) -> io::Result<()> {
    let mut kvs = reply.kvs.iter();
    kvs.try_for_each(|kv| line(out, &kv.value, hex))
}

pub(super) fn del(out: &mut dyn Write, reply: &DeleteResponse, hex: bool) -> io::Result<()> {
    writeln!(out, "{}", reply.deleted)?;
    reply.prev_kvs.iter().try_for_each(|kv| pair(out, kv, hex))
}

/// Writes unhealthy endpoints to standard error, as etcdctl does.
pub(super) fn health(out: &mut dyn Write, reply: &[Health], _hex: bool) -> io::Result<()> {
    for health in reply {
        let (endpoint, took) = (&health.endpoint, Go(health.took));
        match &health.error {
            None => writeln!(
                out,
                "{endpoint} is healthy: successfully committed proposal: took = {took}"
            )?,
            Some(error) => {
                // ORDER: flush first, so that a terminal shows the lines in the order of endpoints.
                out.flush()?;
                writeln!(
                    io::stderr(),
                    "{endpoint} is unhealthy: failed to commit proposal: {error}"
                )?;
            }
        }
    }
    Ok(())
}

fn pair(out: &mut dyn Write, kv: &KeyValue, hex: bool) -> io::Result<()> {
    line(out, &kv.key, hex)?;
    line(out, &kv.value, hex)
}

fn line(out: &mut dyn Write, bytes: &[u8], hex: bool) -> io::Result<()> {
    if hex {
        bytes
            .iter()
            .try_for_each(|byte| write!(out, "\\x{byte:02x}"))?;
    } else {
        out.write_all(bytes)?;
    }
    out.write_all(b"\n")
}
