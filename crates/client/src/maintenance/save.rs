//! Writing a snapshot to a file that is whole or not there.

use std::fmt;
use std::fs::{self, File};
use std::future::{Future, IntoFuture};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::checksum::Checksum;
use super::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Outcome};
use crate::kv::refuse;

/// How many chunks wait for the disk at most; etcd's have 32 KiB.
const AHEAD: usize = 16;

/// Writes a copy of a member's database to a file; made by
/// [`Maintenance::snapshot_to`](super::Maintenance::snapshot_to).
///
/// Awaiting it writes. The bytes go to a temporary file beside the target, which only its
/// owner may read (mode 0600 on unix). When all are there and their SHA-256 is right, they are
/// synced to the disk, and the file takes the target's name, in place of a file that was there.
/// Until then the target is as it was; a transfer that fails leaves nothing behind, one that
/// is dropped leaves nothing for long, and one that is killed leaves `.<name>.<random>.part`.
///
/// Only a regular file is replaced: a target that is a folder, a device, a socket or a pipe is
/// refused before anything is transferred. A symbolic link to a file is replaced by the new file,
/// and the file that it points to stays.
///
/// `etcdutl snapshot restore` takes the file.
///
/// # Errors
/// Those of [`Snapshot::try_next`], [`Corrupt`](ErrorKind::Corrupt) when the SHA-256 is wrong, and
/// [`File`](ErrorKind::File) when the file cannot be written, with the cause in the text and as
/// the source. After an error, the target is as it was.
///
/// # Cancel safety
/// Dropping the future ends the transfer, and the target is as it was; unless the last byte has
/// come: then the file may still be put in place, whole and checked.
///
/// # Retries
/// Those of [`Snapshot::try_next`].
///
/// ```no_run
/// # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
/// let saved = client.maintenance().snapshot_to("/backup/etcd.db").await?;
/// println!("{} bytes", saved.size);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is written until it is awaited"]
pub struct SnapshotTo {
    snapshot: Snapshot,
    path: PathBuf,
    progress: Option<Box<dyn FnMut(SnapshotProgress) + Send>>,
}

/// How far a [`SnapshotTo`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotProgress {
    /// How many bytes have come.
    pub received: u64,
    /// How many bytes of the database are still to come.
    pub remaining: u64,
}

/// What a [`SnapshotTo`] has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSnapshot {
    /// The size of the file in bytes, the checksum's 32 included.
    pub size: u64,
    /// The version of the format that the database is in, as in `3.6.0`; told by etcd 3.6 and
    /// later.
    pub version: Option<String>,
    /// Whether the folder was synced to the disk, too. When it was not, which some network file
    /// systems refuse, the file is in place with all its bytes, and a crash of the machine soon
    /// after can still bring back what the folder had before.
    pub folder_synced: bool,
}

impl SnapshotTo {
    pub(super) fn new(snapshot: Snapshot, path: PathBuf) -> Self {
        Self {
            snapshot,
            path,
            progress: None,
        }
    }

    /// Calls this after each chunk (some 32 KiB); it is to return soon.
    pub fn on_progress(mut self, progress: impl FnMut(SnapshotProgress) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    async fn run(mut self) -> Result<SavedSnapshot, Error> {
        let partial = PartialFile::beside(&self.path).map_err(|error| self.snapshot.end(error))?;
        let target = self.path.clone();
        let checked = tokio::task::spawn_blocking(move || check_target(&target)).await;
        checked
            .unwrap_or_else(|cause| Err(failed("the check of the target has ended", cause)))
            .map_err(|error| self.snapshot.end(error))?;
        let (pieces, writer) = mpsc::channel(AHEAD);
        let writer = tokio::task::spawn_blocking(move || partial.write(writer));
        let received = self.receive(&pieces).await;
        if matches!(received, Ok(true)) {
            // A writer that takes no more has failed, and says why below.
            let _ = pieces.send(Piece::End).await;
        }
        drop(pieces);
        // Also after an error: the partial is gone before the caller hears of it.
        let written = writer
            .await
            .unwrap_or_else(|cause| Err(failed("the writer of the file has ended", cause)));
        received?;
        let folder_synced = written.map_err(|error| self.snapshot.end(error))?;
        Ok(SavedSnapshot {
            folder_synced,
            size: self.snapshot.received(),
            version: self.snapshot.version().map(str::to_owned),
        })
    }

    /// Whether all chunks have come and gone to the writer.
    async fn receive(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<bool, Error> {
        while let Some(chunk) = self.snapshot.try_next().await? {
            if pieces.send(Piece::Chunk(chunk)).await.is_err() {
                return Ok(false);
            }
            if let Some(progress) = &mut self.progress {
                progress(SnapshotProgress {
                    received: self.snapshot.received(),
                    remaining: self.snapshot.remaining().unwrap_or_default(),
                });
            }
        }
        Ok(true)
    }
}

impl IntoFuture for SnapshotTo {
    type Output = Result<SavedSnapshot, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for SnapshotTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotTo")
            .field("snapshot", &self.snapshot)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What the writer gets. Without an `End`, the transfer was given up.
enum Piece {
    Chunk(Bytes),
    End,
}

/// A file to be, under another name; gone when it is dropped without having become one.
struct PartialFile {
    target: PathBuf,
    path: PathBuf,
    exists: bool,
}

impl PartialFile {
    fn beside(target: &Path) -> Result<Self, Error> {
        let Some(name) = target.file_name() else {
            return Err(refuse("the path of the snapshot does not name a file").error);
        };
        let mut name_of_partial = std::ffi::OsString::from(".");
        name_of_partial.push(name);
        name_of_partial.push(format!(".{:016x}.part", fastrand::u64(..)));
        Ok(Self {
            path: target.with_file_name(name_of_partial),
            target: target.to_owned(),
            exists: false,
        })
    }

    /// Runs on a thread that may block, until the sender ends or is dropped. Returns whether the
    /// folder was synced.
    fn write(mut self, mut pieces: mpsc::Receiver<Piece>) -> Result<bool, Error> {
        let mut file = self.create().map_err(unwritten)?;
        self.exists = true;
        let mut checksum = Checksum::new();
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Piece::Chunk(chunk) => {
                    file.write_all(&chunk).map_err(unwritten)?;
                    checksum.update(&chunk);
                }
                Piece::End if checksum.holds() => return self.finish(&file).map_err(unwritten),
                Piece::End => return Err(corrupt()),
            }
        }
        Ok(false)
    }

    fn create(&self) -> io::Result<File> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.path)
    }

    /// Puts the file in its place so that a crash of the machine leaves the old one or the new.
    /// Returns whether the folder was synced: from the rename on, the file is in place, and
    /// nothing that fails afterwards is a failure of the whole.
    fn finish(&mut self, file: &File) -> io::Result<bool> {
        file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.exists = false;
        Ok(sync_folder(&self.target))
    }
}

/// Syncs the folder of a file, so that its entry survives a crash. Only unix can open a folder.
fn sync_folder(target: &Path) -> bool {
    let folder = target.parent().filter(|path| !path.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let synced = !cfg!(unix)
        || File::open(folder)
            .and_then(|folder| folder.sync_all())
            .is_ok();
    if !synced {
        tracing::warn!(
            target: "etcdex",
            "the snapshot is in place, but its folder could not be synced to the disk"
        );
    }
    synced
}

/// Refuses a target that is there and is no file: to replace a device or a folder by a snapshot
/// is never what was meant.
fn check_target(target: &Path) -> Result<(), Error> {
    match fs::metadata(target) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) => {
            let (what, cause) = if found.is_dir() {
                let what = "a folder: name the file in it";
                (what, io::ErrorKind::IsADirectory)
            } else {
                let what = "a device, a socket or a pipe, which is not replaced";
                (what, io::ErrorKind::InvalidInput)
            };
            let message = format!("the path of the snapshot is {what}");
            Err(Error::new(ErrorKind::File, message).with_source(io::Error::from(cause)))
        }
        // A missing folder, or one that may not be written to, shows when the file is made.
        Err(_) => Ok(()),
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.exists {
            // What cannot be removed is at least not under the name of a snapshot.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the snapshot's bytes do not have the SHA-256 that the server sent",
    )
    .with_outcome(Outcome::Unknown)
}

fn unwritten(cause: io::Error) -> Error {
    failed("the snapshot's file cannot be written", cause)
}

fn failed(message: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::File, format!("{message}: {cause}"))
        .with_outcome(Outcome::Unknown)
        .with_source(cause)
}
