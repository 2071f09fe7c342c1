//! The format `fields`: every field on its own line, `"Name" : value`, with strings quoted as in Go.

use std::io::{self, Write};

use etcdex::kv::{DeleteResponse, GetResponse, PutResponse};
use etcdex::{KeyValue, LeaseId, ResponseHeader};

use super::Health;
use super::quote::Quoted;
use crate::duration::Go;

pub(super) fn put(out: &mut dyn Write, reply: &PutResponse, hex: bool) -> io::Result<()> {
    header(out, reply.header, hex)?;
    let mut kvs = reply.prev_kv.iter();
    kvs.try_for_each(|kv| key_value(out, "Prev", kv, hex))
}

pub(super) fn get(out: &mut dyn Write, reply: &GetResponse, hex: bool) -> io::Result<()> {
    header(out, reply.header, hex)?;
    let mut kvs = reply.kvs.iter();
    kvs.try_for_each(|kv| key_value(out, "", kv, hex))?;
    writeln!(out, "\"More\" : {}", reply.more)?;
    writeln!(out, "\"Count\" : {}", reply.count)
}

pub(super) fn del(out: &mut dyn Write, reply: &DeleteResponse, hex: bool) -> io::Result<()> {
    header(out, reply.header, hex)?;
    writeln!(out, "\"Deleted\" : {}", reply.deleted)?;
    let mut kvs = reply.prev_kvs.iter();
    kvs.try_for_each(|kv| key_value(out, "Prev", kv, hex))
}

pub(super) fn health(out: &mut dyn Write, reply: &[Health], _hex: bool) -> io::Result<()> {
    for health in reply {
        let error = health.error.as_deref().unwrap_or_default();
        let endpoint = Quoted(health.endpoint.as_bytes());
        writeln!(out, "\"Endpoint\" : {endpoint}")?;
        writeln!(out, "\"Health\" : {}", health.error.is_none())?;
        writeln!(out, "\"Took\" : {}", Go(health.took))?;
        writeln!(out, "\"Error\" : {error}\n")?;
    }
    Ok(())
}

fn header(out: &mut dyn Write, header: ResponseHeader, hex: bool) -> io::Result<()> {
    let (cluster, member) = (header.cluster_id, header.member_id);
    if hex {
        writeln!(out, "\"ClusterID\" : {cluster:x}")?;
        writeln!(out, "\"MemberID\" : {member:x}")?;
    } else {
        writeln!(out, "\"ClusterID\" : {cluster}")?;
        writeln!(out, "\"MemberID\" : {member}")?;
    }
    writeln!(out, "\"Revision\" : {}", header.revision)?;
    writeln!(out, "\"RaftTerm\" : {}", header.raft_term)
}

fn key_value(out: &mut dyn Write, prefix: &str, kv: &KeyValue, hex: bool) -> io::Result<()> {
    let lease = kv.lease.map_or(0, LeaseId::as_i64);
    writeln!(out, "\"{prefix}Key\" : {}", Quoted(&kv.key))?;
    writeln!(out, "\"{prefix}CreateRevision\" : {}", kv.create_revision)?;
    writeln!(out, "\"{prefix}ModRevision\" : {}", kv.mod_revision)?;
    writeln!(out, "\"{prefix}Version\" : {}", kv.version)?;
    writeln!(out, "\"{prefix}Value\" : {}", Quoted(&kv.value))?;
    if hex {
        writeln!(out, "\"{prefix}Lease\" : {lease:016x}")
    } else {
        writeln!(out, "\"{prefix}Lease\" : {lease}")
    }
}
