//! The raft log of a member, read from the files of its write-ahead log.
//!
//! A file is a sequence of records. Each one has its length in eight bytes, little endian, and is
//! padded to a multiple of eight; the upper byte of the length has the padding. Source:
//! `decodeRecord` in `server/storage/wal/decoder.go` (3.6; `server/wal/decoder.go` in 3.5, and
//! `wal/decoder.go` in 3.4). Checksums are not compared: an entry that cannot be read proves
//! nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::leases::{Leadership, Revocation};

/// The types of records that are read: an entry of the log, raft's state, and a snapshot.
const ENTRY: i64 = 2;
const STATE: i64 = 3;
const SNAPSHOT: i64 = 5;

/// The raft log of a member.
#[derive(Clone, Debug, Default)]
pub struct RaftLog {
    entries: BTreeMap<u64, Entry>,
    /// Index of the last committed entry.
    commit: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes = "bytes", tag = "4")]
    data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct HardState {
    #[prost(uint64, tag = "3")]
    commit: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
}

/// The fields of etcd's `InternalRaftRequest` that are read.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "9")]
    lease_revoke: Option<LeaseRevoke>,
    #[prost(message, optional, tag = "100")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    username: String,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseRevoke {
    #[prost(int64, tag = "1")]
    id: i64,
}

impl RaftLog {
    /// Reads the log of the member with this data folder, which may be running.
    pub fn read(data: &Path) -> io::Result<Self> {
        let folder = data.join("member/wal");
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "wal") {
                files.push(path);
            }
        }
        // Names begin with the number of the file.
        files.sort();
        let mut log = Self::default();
        for file in files {
            log.replay(fs::read(file)?.into());
        }
        Ok(log)
    }

    /// Takes the records of one file, up to the end of the written part.
    fn replay(&mut self, mut file: Bytes) {
        while let Some(record) = take_record(&mut file) {
            match record.kind {
                ENTRY => {
                    if let Ok(entry) = Entry::decode(record.data) {
                        // The entry replaces one that a deposed leader had written, if there is
                        // one. No such entry is left up to `commit`.
                        self.entries.insert(entry.index, entry);
                    }
                }
                STATE => {
                    if let Ok(state) = HardState::decode(record.data) {
                        self.commit = self.commit.max(state.commit);
                    }
                }
                SNAPSHOT => {
                    if let Ok(snapshot) = Snapshot::decode(record.data) {
                        self.restore(&snapshot);
                    }
                }
                _ => {}
            }
        }
    }

    /// A member records its own snapshots, and those that it got from the leader. After a snapshot
    /// of the leader the log begins anew: entries before it may be those of a deposed leader, and
    /// are never overwritten.
    fn restore(&mut self, snapshot: &Snapshot) {
        let last = self.entries.get(&snapshot.index);
        // INVARIANT: two logs with an entry of the same index and term are the same up to there.
        if last.is_none_or(|last| last.term != snapshot.term) {
            self.entries.clear();
        }
    }

    fn committed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(..=self.commit).map(|(_, entry)| entry)
    }
}

fn take_record(file: &mut Bytes) -> Option<Record> {
    let head = file.get(..8)?.try_into().ok()?;
    let head = u64::from_le_bytes(head);
    let length = usize::try_from(head & ((1 << 56) - 1)).ok()?;
    // Files are made at their full size, and are zero after the written part.
    if length == 0 {
        return None;
    }
    let is_padded = head >> 63 == 1;
    let padding = if is_padded { head >> 56 & 7 } else { 0 };
    let end = length.checked_add(8)?;
    let record = Record::decode(file.get(8..end)?).ok()?;
    let end = end + usize::try_from(padding).ok()?;
    *file = file.slice(end.min(file.len())..);
    Some(record)
}

/// Returns the requests to revoke a lease that were committed, in order. The log of a member that
/// got a snapshot lacks entries that others have.
pub fn revocations(logs: &[RaftLog]) -> Vec<Revocation> {
    let entries = logs.iter().flat_map(RaftLog::committed);
    let found = entries.filter_map(|entry| Some((entry.index, revocation(entry)?)));
    let by_index: BTreeMap<u64, Revocation> = found.collect();
    by_index.into_values().collect()
}

fn revocation(entry: &Entry) -> Option<Revocation> {
    // Entries of other kinds (configuration, the store of v2) do not decode, or have no header.
    let request = Request::decode(entry.data.clone()).ok()?;
    let header = request.header?;
    Some(Revocation {
        lease: request.lease_revoke?.id,
        index: entry.index,
        term: entry.term,
        // `NewGenerator` in `pkg/idutil/id.go`: the member, then the time, then a number.
        proposer: u16::try_from(header.id >> 48).ok()?,
        user: header.username,
    })
}

/// Finds the terms of a member as the leader in the text of its log, which needs the level `info`.
pub fn leaderships(log: &str) -> Vec<Leadership> {
    let lines = log.lines();
    lines.filter_map(leadership).collect()
}

/// A line has `"msg":"91e40443d7b41f23 became leader at term 2"`.
fn leadership(line: &str) -> Option<Leadership> {
    let (before, after) = line.split_once(" became leader at term ")?;
    let member = before.rsplit('"').next()?;
    let digits = after.find(|digit: char| !digit.is_ascii_digit());
    Some(Leadership {
        member: u64::from_str_radix(member, 16).ok()?,
        term: after[..digits.unwrap_or(after.len())].parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i64, data: &impl Message) -> Vec<u8> {
        let data = data.encode_to_vec().into();
        let record = Record { kind, data }.encode_to_vec();
        let length = u64::try_from(record.len()).unwrap();
        let padding = (8 - length % 8) % 8;
        let head = match padding {
            0 => length,
            _ => length | (0x80 | padding) << 56,
        };
        let mut bytes = head.to_le_bytes().to_vec();
        bytes.extend(record);
        bytes.extend(vec![0; usize::try_from(padding).unwrap()]);
        bytes
    }

    fn revoke(index: u64, term: u64, lease: i64, member: u64) -> Vec<u8> {
        let request = Request {
            lease_revoke: Some(LeaseRevoke { id: lease }),
            header: Some(Header {
                id: (member & 0xffff) << 48 | 0x1234_5678,
                username: "root".to_owned(),
            }),
        };
        let data = request.encode_to_vec().into();
        record(ENTRY, &Entry { term, index, data })
    }

    fn log(records: &[Vec<u8>]) -> RaftLog {
        let mut log = RaftLog::default();
        let mut file = records.concat();
        file.extend([0; 64]);
        log.replay(file.into());
        log
    }

    #[test]
    fn revocations_that_were_committed_are_found() {
        let commit = |commit| record(STATE, &HardState { commit });
        let empty = record(
            ENTRY,
            &Entry {
                term: 3,
                index: 4,
                data: Bytes::new(),
            },
        );
        let one = log(&[
            revoke(1, 2, 7, 0x91e4_0443_d7b4_1f23),
            revoke(2, 2, 8, 0x91e4_0443_d7b4_1f23),
            // The next leader has overwritten the second one.
            revoke(2, 3, 9, 0xce51_8d08_3a78_0221),
            revoke(3, 3, 7, 0xce51_8d08_3a78_0221),
            empty,
            revoke(5, 3, 10, 0xce51_8d08_3a78_0221),
            commit(4),
        ]);
        // The second log begins after a snapshot.
        let other = log(&[revoke(3, 3, 7, 0xce51_8d08_3a78_0221), commit(3)]);
        let found = revocations(&[other, one]);
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.index, one.term, one.lease, one.proposer))
            .collect();
        assert_eq!(
            found,
            [(1, 2, 7, 0x1f23), (2, 3, 9, 0x0221), (3, 3, 7, 0x0221)]
        );
    }

    #[test]
    fn entries_of_a_deposed_leader_do_not_outlive_a_snapshot_of_the_next_one() {
        let old = 0x91e4_0443_d7b4_1f23;
        let state = record(STATE, &HardState { commit: 3 });
        let read = |index, term| {
            let snapshot = record(SNAPSHOT, &Snapshot { index, term });
            let log = log(&[
                revoke(1, 2, 7, old),
                revoke(2, 2, 8, old),
                state.clone(),
                snapshot,
                revoke(3, 3, 9, old),
            ]);
            let found = revocations(&[log]).into_iter();
            found.map(|one| one.index).collect::<Vec<_>>()
        };
        // The member's own snapshot, and one from the leader.
        assert_eq!(read(2, 2), [1, 2, 3]);
        assert_eq!(read(2, 3), [3]);
        assert_eq!(read(9, 3), [3]);
    }

    #[test]
    fn a_file_that_was_cut_ends_where_it_was_cut() {
        let whole = [revoke(1, 2, 7, 1), record(STATE, &HardState { commit: 1 })].concat();
        for length in 0..whole.len() {
            let mut log = RaftLog::default();
            log.replay(Bytes::copy_from_slice(&whole[..length]));
            assert!(log.entries.len() <= 1);
        }
    }

    #[test]
    fn leaders_are_read_from_logs_of_servers() {
        // The formats of 3.4.23 and 3.5.35.
        let log = concat!(
            r#"{"level":"info","ts":"2026-11-26T03:30:01.922Z","caller":"raft/raft.go:765","msg":"8211f1d0f64f3269 became leader at term 2"}"#,
            "\n",
            r#"{"level":"info","ts":"2026-11-26T03:30:01.922Z","logger":"raft","caller":"etcdserver/zap_raft.go:77","msg":"ce518d083a780221 became leader at term 13"}"#,
            "\n",
            r#"{"level":"info","msg":"ce518d083a780221 became follower at term 14"}"#,
        );
        let leader = |term, member| Leadership { term, member };
        assert_eq!(
            leaderships(log),
            [
                leader(2, 0x8211_f1d0_f64f_3269),
                leader(13, 0xce51_8d08_3a78_0221)
            ]
        );
    }
}
