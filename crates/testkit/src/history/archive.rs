//! Histories and recordings in files, as JSON lines.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Compaction, Event, EventKind, History, Message, Moment, Op, Query, Recording};

/// A fault of a server or a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it began, in microseconds since the start.
    pub at: u64,
    /// The kind of fault.
    pub kind: String,
    /// The server or connection, and details.
    pub what: String,
}

/// A folder with a recorded run:
///
/// * `history.jsonl`: every change of the store, one a line, in order;
/// * `moments.jsonl`: the time of each revision;
/// * `compactions.jsonl`: requested compactions;
/// * `faults.jsonl`: faults of servers and connections;
/// * further files of a workload, see [`write`](Archive::write);
/// * `watches.jsonl`, `wire.jsonl`, `lists.jsonl` and `owners.jsonl`: for each recording a line
///   with its query, then a line for each message. Watches are the messages of the client, the wire
///   has the messages of servers, lists are watched lists, and owners are the messages about all
///   watches of one watcher.
#[derive(Clone, Debug)]
pub struct Archive {
    folder: PathBuf,
}

/// A line of a file of recordings.
#[derive(Serialize, Deserialize)]
enum Line {
    Watch { name: String, query: Query },
    Message(Message),
}

impl Archive {
    /// Opens a folder for a run, which is made if it does not exist.
    pub fn at(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Returns the path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the changes of a store, and its compactions.
    pub fn write_history(&self, history: &History) -> io::Result<()> {
        self.write("history.jsonl", history.events())?;
        self.write("moments.jsonl", history.moments())?;
        self.write("compactions.jsonl", history.compactions())
    }

    /// Writes the faults.
    pub fn write_faults(&self, faults: &[Incident]) -> io::Result<()> {
        self.write("faults.jsonl", faults)
    }

    /// Reads the faults.
    pub fn read_faults(&self) -> io::Result<Vec<Incident>> {
        self.read("faults.jsonl")
    }

    /// Writes the recordings of watches.
    pub fn write_watches(&self, recordings: &[Recording]) -> io::Result<()> {
        self.write_recordings("watches.jsonl", recordings)
    }

    /// Writes the recordings of watched lists.
    pub fn write_lists(&self, recordings: &[Recording]) -> io::Result<()> {
        self.write_recordings("lists.jsonl", recordings)
    }

    /// Writes the messages about all watches of a watcher.
    pub fn write_owners(&self, recordings: &[Recording]) -> io::Result<()> {
        self.write_recordings("owners.jsonl", recordings)
    }

    /// Writes the recordings of servers' messages.
    pub fn write_wire(&self, recordings: &[Recording]) -> io::Result<()> {
        self.write_recordings("wire.jsonl", recordings)
    }

    /// Reads the changes of a store, and its compactions.
    ///
    /// Revisions without a change are empty in it.
    pub fn read_history(&self) -> io::Result<History> {
        let mut history = History::since(1);
        let mut ops = Vec::new();
        for event in self.lines::<Event>("history.jsonl")? {
            let event = event?;
            while event.revision() > history.revision() + 1 {
                history.append(std::mem::take(&mut ops));
            }
            ops.push(match event.kind {
                EventKind::Put => Op::Put(event.key, event.pair.value),
                EventKind::Delete => Op::Delete(event.key),
            });
        }
        history.append(ops);
        for compaction in self.lines::<Compaction>("compactions.jsonl")? {
            history.compact(compaction?);
        }
        for moment in self.lines::<Moment>("moments.jsonl")? {
            history.date(moment?);
        }
        Ok(history)
    }

    /// Reads the recordings of watches.
    pub fn read_watches(&self) -> io::Result<Vec<Recording>> {
        self.read_recordings("watches.jsonl")
    }

    /// Reads the recordings of watched lists.
    pub fn read_lists(&self) -> io::Result<Vec<Recording>> {
        self.read_recordings("lists.jsonl")
    }

    /// Reads the messages about all watches of a watcher.
    pub fn read_owners(&self) -> io::Result<Vec<Recording>> {
        self.read_recordings("owners.jsonl")
    }

    /// Reads the recordings of servers' messages.
    pub fn read_wire(&self) -> io::Result<Vec<Recording>> {
        self.read_recordings("wire.jsonl")
    }

    fn write_recordings(&self, file: &str, recordings: &[Recording]) -> io::Result<()> {
        let lines = recordings.iter().flat_map(|recording| {
            let head = Line::Watch {
                name: recording.name.clone(),
                query: recording.query.clone(),
            };
            let messages = recording.messages.iter().cloned().map(Line::Message);
            std::iter::once(head).chain(messages)
        });
        self.write(file, lines)
    }

    fn read_recordings(&self, file: &str) -> io::Result<Vec<Recording>> {
        let mut recordings: Vec<Recording> = Vec::new();
        for line in self.lines(file)? {
            match (line?, recordings.last_mut()) {
                (Line::Watch { name, query }, _) => recordings.push(Recording {
                    name,
                    query,
                    messages: Vec::new(),
                }),
                (Line::Message(message), Some(recording)) => recording.messages.push(message),
                (Line::Message(_), None) => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{file} begins with a message without a watch"),
                    ));
                }
            }
        }
        Ok(recordings)
    }

    /// Writes one line for each value to a file of the folder.
    pub fn write<T: Serialize>(
        &self,
        file: &str,
        lines: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        let mut writer = BufWriter::new(File::create(self.folder.join(file))?);
        for line in lines {
            serde_json::to_writer(&mut writer, &line)?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    }

    /// Reads a file of the folder with one value in each line.
    pub fn read<T: DeserializeOwned>(&self, file: &str) -> io::Result<Vec<T>> {
        self.lines(file)?.collect()
    }

    fn lines<T: DeserializeOwned>(
        &self,
        file: &str,
    ) -> io::Result<impl Iterator<Item = io::Result<T>>> {
        let reader = BufReader::new(File::open(self.folder.join(file))?);
        Ok(reader.lines().map(|line| Ok(serde_json::from_str(&line?)?)))
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{Body, End, Pair, hash};

    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let mut history = History::since(1);
        history.append([Op::Put("a".into(), 7), Op::Put("b".into(), hash(b"x"))]);
        history.append([]);
        history.append([Op::Delete("a".into())]);
        history.compact(Compaction { at: 5, revision: 2 });
        history.date(Moment {
            revision: 2,
            began: Some(3),
            known: 4,
        });
        let events = history.events().to_vec();
        let pair = Pair {
            create_revision: 1,
            mod_revision: 2,
            version: 3,
            value: u64::MAX,
        };
        let mut odd = events[0].clone();
        odd.prev = Some(Box::new(pair));
        let bodies = [
            Body::Asked { revision: 0 },
            Body::Answered {
                revision: 3,
                binding: false,
            },
            Body::Cancelled,
            Body::Requested,
            Body::Synced { revision: 3 },
            Body::Resync(End::Compacted { revision: 3 }),
            Body::Created { revision: 2 },
            Body::Batch {
                header: 4,
                revision: 4,
                events,
            },
            Body::Progress { revision: 4 },
            Body::Disconnected,
            Body::Resumed,
            Body::Ended(End::Compacted { revision: 2 }),
            Body::Ended(End::Other("because".to_owned())),
            Body::Drained { revision: 4 },
        ];
        let messages = (0..).zip(bodies);
        let recording = |name: &str| Recording {
            name: name.to_owned(),
            query: Query::key("a", 2),
            messages: messages
                .clone()
                .map(|(at, body)| Message { at, body })
                .collect(),
        };
        let recordings = vec![recording("one"), recording("two")];

        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::at(folder.path().join("run")).unwrap();
        archive.write_history(&history).unwrap();
        archive.write_watches(&recordings).unwrap();
        archive.write_wire(&[]).unwrap();
        let read = archive.read_history().unwrap();
        assert_eq!(read.events(), history.events());
        assert_eq!(read.compactions(), history.compactions());
        assert_eq!(read.moments(), history.moments());
        assert_eq!(read.revision(), 4);
        assert_eq!(archive.read_watches().unwrap(), recordings);
        assert_eq!(archive.read_wire().unwrap(), []);
    }
}
