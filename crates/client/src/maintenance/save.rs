//! Writing a snapshot to a file, so that the file is complete or does not exist.

use std::fs::{self, File};
use std::future::{Future, IntoFuture};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::checksum::Checksum;
use super::snapshot::Snapshot;
use crate::debug::debug_fields;
use crate::error::{Error, ErrorKind, Outcome};
use crate::kv::refuse;

/// Number of chunks that may wait for the disk. etcd's chunks have 32 KiB.
const AHEAD: usize = 16;

/// Writes a copy of a member's database to a file; returned by
/// [`Maintenance::snapshot_to`](super::Maintenance::snapshot_to).
///
/// Awaiting it starts the transfer. The bytes are written to a temporary file beside the target,
/// which only its owner may read (mode 0600 on unix). When all bytes are there and their SHA-256 is
/// right, the file is synced to the disk and renamed to the target, replacing an older file. Until
/// then the target stays as it was. A transfer that fails removes the temporary file before it
/// returns, and a dropped one soon after; a process that is killed leaves
/// `.<name>.<random>.part`.
///
/// Only a regular file is replaced. If the target is a folder, a device, a socket or a pipe, the
/// call fails before the transfer. A symbolic link to a file is replaced by the new file, and the
/// file that the link points to stays.
///
/// `etcdutl snapshot restore` accepts the file.
///
/// # Errors
/// The errors of [`Snapshot::try_next`], [`Corrupt`](ErrorKind::Corrupt) when the SHA-256 is wrong,
/// and [`File`](ErrorKind::File) when the file cannot be written, with the cause in the text and as
/// the source. After an error, the target is as it was.
///
/// # Cancel safety
/// Dropping the future ends the transfer, and the target stays as it was. If the last byte was
/// received before, the file may still be put in place, complete and checked.
///
/// # Retries
/// As for [`Snapshot::try_next`].
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

/// The progress of a [`SnapshotTo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotProgress {
    /// Number of bytes received.
    pub received: u64,
    /// Number of bytes of the database that are not received yet.
    pub remaining: u64,
}

/// The result of a [`SnapshotTo`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSnapshot {
    /// Size of the file in bytes, including the 32 bytes of the checksum.
    pub size: u64,
    /// Version of the data format (`3.6.0`); `None` before etcd 3.6.
    pub version: Option<String>,
    /// Whether the folder was synced to the disk, too. Some network file systems refuse to. The file
    /// is then in place with all its bytes, but a crash of the machine soon after may restore the
    /// folder's previous content.
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

    /// Calls `progress` after each chunk (some 32 KiB). The function must return soon.
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
            // If the writer is gone, its error is returned below.
            let _ = pieces.send(Piece::End).await;
        }
        drop(pieces);
        // Also after an error: the partial file is removed before the caller gets the error.
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

    /// Passes the chunks to the writer. Returns whether the writer has accepted all of them.
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

debug_fields! { SnapshotTo |to| { snapshot: to.snapshot, path: to.path, .. } }

/// A message to the writer. If the channel closes without an `End`, the transfer has failed.
enum Piece {
    Chunk(Bytes),
    End,
}

/// A file under a temporary name. `Drop` removes it unless it was renamed to its target.
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

    /// Writes until an `End` or until the channel closes. Blocks the thread. Returns whether the
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

    /// Renames the file to its target, so that a crash of the machine leaves the old file or the
    /// new one. Returns whether the folder was synced: a failure after the rename is no failure of
    /// the whole, because the file is in place.
    fn finish(&mut self, file: &File) -> io::Result<bool> {
        file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.exists = false;
        Ok(sync_folder(&self.target))
    }
}

/// Syncs the folder of a file, so that the entry of the file survives a crash. Only unix can open a
/// folder.
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

/// Returns an error if the target exists and is not a regular file: no caller means to replace a
/// device or a folder by a snapshot.
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
        // Creating the file reports a missing folder, or one that is not writable.
        Err(_) => Ok(()),
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.exists {
            // A file that cannot be removed stays under its temporary name.
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
