//! Looking after the cluster: alarms, status, space, hashes, leadership, versions, snapshots.
//!
//! [`Client::maintenance`](crate::Client::maintenance) gives the handle [`Maintenance`]. What
//! it asks of a member, it asks of the one that calls go to just now; to ask a certain one,
//! choose it first:
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! for endpoint in client.endpoints() {
//!     let member = client.member(endpoint.url())?;
//!     let status = member.maintenance().status().await?;
//!     println!("{endpoint}: etcd {}, {} bytes", status.version, status.db_size);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each request is also a value of its own, for [`Client::run`](crate::Client::run).

mod alarm;
#[cfg(feature = "snapshot")]
mod checksum;
mod defragment;
mod downgrade;
mod hash;
mod move_leader;
#[cfg(feature = "snapshot")]
mod save;
mod snapshot;
mod status;

use std::fmt;

use etcdex_proto::etcdserverpb as pb;

pub use self::alarm::{ActivateAlarm, Alarm, AlarmResponse, AlarmType, DisarmAlarm, ListAlarms};
pub use self::defragment::Defragment;
pub use self::downgrade::{Downgrade, DowngradeResponse};
pub use self::hash::{Hash, HashKv, HashKvResponse, HashResponse};
pub use self::move_leader::MoveLeader;
#[cfg(feature = "snapshot")]
pub use self::save::{SavedSnapshot, SnapshotProgress, SnapshotTo};
pub use self::snapshot::Snapshot;
pub use self::status::{DowngradeInfo, Status, StatusResponse};
use crate::call::{Call, Scope};
use crate::error::Error;
use crate::kv::{ResponseHeader, header};

/// The client's handle to the upkeep of the cluster; made by
/// [`Client::maintenance`](crate::Client::maintenance).
///
/// # Retries
/// What only reads is sent again when a server is unavailable: at the chosen member, or at
/// another endpoint when none was chosen. A change is sent again only when it provably reached
/// no server.
#[derive(Clone)]
pub struct Maintenance {
    scope: Scope,
}

impl Maintenance {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// Lists the alarms that are raised in the cluster: see [`ListAlarms`].
    pub fn list_alarms(&self) -> Call<ListAlarms> {
        self.call(ListAlarms::new())
    }

    /// Raises an alarm: see [`ActivateAlarm`].
    pub fn activate_alarm(&self, member_id: u64, alarm_type: AlarmType) -> Call<ActivateAlarm> {
        self.call(ActivateAlarm::new(member_id, alarm_type))
    }

    /// Puts an alarm out: see [`DisarmAlarm`].
    pub fn disarm_alarm(&self, member_id: u64, alarm_type: AlarmType) -> Call<DisarmAlarm> {
        self.call(DisarmAlarm::new(member_id, alarm_type))
    }

    /// Puts out all alarms that are raised now, one after another, and tells which.
    ///
    /// # Errors
    /// Those of [`list_alarms`](Self::list_alarms) and [`disarm_alarm`](Self::disarm_alarm); alarms
    /// before the one that failed are out.
    pub async fn disarm_all_alarms(&self) -> Result<Vec<Alarm>, Error> {
        let alarms = self.list_alarms().await?.alarms;
        for alarm in &alarms {
            self.disarm_alarm(alarm.member_id, alarm.alarm_type).await?;
        }
        Ok(alarms)
    }

    /// Asks a member how it is: see [`Status`].
    pub fn status(&self) -> Call<Status> {
        self.call(Status::new())
    }

    /// Gives free space in a member's database back to the file system: see [`Defragment`].
    pub fn defragment(&self) -> Call<Defragment> {
        self.call(Defragment::new())
    }

    /// Hashes a member's whole database: see [`struct@Hash`].
    pub fn hash(&self) -> Call<Hash> {
        self.call(Hash::new())
    }

    /// Hashes a member's keys up to a revision, for comparing members: see [`HashKv`].
    pub fn hash_kv(&self, revision: i64) -> Call<HashKv> {
        self.call(HashKv::new(revision))
    }

    /// Makes another member the leader; the present leader has to be asked: see [`MoveLeader`].
    pub fn move_leader(&self, target_id: u64) -> Call<MoveLeader> {
        self.call(MoveLeader::new(target_id))
    }

    /// Asks whether the cluster could go back to a version: see [`Downgrade::validate`].
    pub fn validate_downgrade(&self, version: impl Into<String>) -> Call<Downgrade> {
        self.call(Downgrade::validate(version))
    }

    /// Lets the cluster go back to a version: see [`Downgrade::enable`].
    pub fn enable_downgrade(&self, version: impl Into<String>) -> Call<Downgrade> {
        self.call(Downgrade::enable(version))
    }

    /// Ends what [`enable_downgrade`](Self::enable_downgrade) began: see [`Downgrade::cancel`].
    pub fn cancel_downgrade(&self) -> Call<Downgrade> {
        self.call(Downgrade::cancel())
    }

    /// A copy of a member's database, as a stream of chunks: see [`Snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.scope.clone())
    }

    /// Writes a copy of a member's database to a file: see [`SnapshotTo`].
    #[cfg(feature = "snapshot")]
    pub fn snapshot_to(&self, path: impl Into<std::path::PathBuf>) -> SnapshotTo {
        SnapshotTo::new(self.snapshot(), path.into())
    }

    fn call<R: crate::Request>(&self, request: R) -> Call<R> {
        Call::new(&self.scope, request)
    }
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").finish_non_exhaustive()
    }
}

/// The reply to a [`Defragment`] and a [`MoveLeader`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MaintenanceResponse {
    /// Who answered. etcd leaves it out of these replies: all of it is 0.
    pub header: ResponseHeader,
}

impl MaintenanceResponse {
    fn of(answered: Option<pb::ResponseHeader>) -> Self {
        Self {
            header: header(answered),
        }
    }
}
