//! Requests for operators: alarms, status, defragmentation, hashes, leadership, downgrades and
//! snapshots.
//!
//! [`Client::maintenance`](crate::Client::maintenance) returns the handle [`Maintenance`]. A request
//! about a member goes to the member that other calls go to. To ask a certain member, choose it
//! first:
//!
//! ```no_run
//! # async fn example(client: etcdex::Client) -> Result<(), etcdex::Error> {
//! for endpoint in client.endpoints() {
//!     let member = client.with_endpoint(endpoint.url())?;
//!     let status = member.maintenance().status().await?;
//!     println!("{endpoint}: etcd {}, {} bytes", status.version, status.db_size);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each request is also a value, which [`Client::run`](crate::Client::run) sends.

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
use crate::debug::debug_fields;
use crate::error::Error;
use crate::kv::{ResponseHeader, header};

/// A handle for the requests of this module; returned by
/// [`Client::maintenance`](crate::Client::maintenance).
///
/// # Retries
/// A request that only reads is sent again when a server is unavailable: to the chosen member, or
/// to another endpoint when none was chosen. A change is sent again only when it provably was not
/// applied.
#[derive(Clone)]
pub struct Maintenance {
    scope: Scope,
}

impl Maintenance {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// Lists the raised alarms of all members: see [`ListAlarms`].
    pub fn list_alarms(&self) -> Call<ListAlarms> {
        self.call(ListAlarms::new())
    }

    /// Raises an alarm: see [`ActivateAlarm`].
    pub fn activate_alarm(&self, member_id: u64, alarm_type: AlarmType) -> Call<ActivateAlarm> {
        self.call(ActivateAlarm::new(member_id, alarm_type))
    }

    /// Disarms an alarm: see [`DisarmAlarm`].
    pub fn disarm_alarm(&self, member_id: u64, alarm_type: AlarmType) -> Call<DisarmAlarm> {
        self.call(DisarmAlarm::new(member_id, alarm_type))
    }

    /// Disarms all raised alarms, one after another, and returns them.
    ///
    /// # Errors
    /// The errors of [`list_alarms`](Self::list_alarms) and [`disarm_alarm`](Self::disarm_alarm).
    /// Alarms before the one that failed are disarmed.
    pub async fn disarm_all_alarms(&self) -> Result<Vec<Alarm>, Error> {
        let alarms = self.list_alarms().await?.alarms;
        for alarm in &alarms {
            self.disarm_alarm(alarm.member_id, alarm.alarm_type).await?;
        }
        Ok(alarms)
    }

    /// Returns the status of a member: see [`Status`].
    pub fn status(&self) -> Call<Status> {
        self.call(Status::new())
    }

    /// Returns the free space in a member's database to the file system: see [`Defragment`].
    pub fn defragment(&self) -> Call<Defragment> {
        self.call(Defragment::new())
    }

    /// Returns a hash of the whole database of a member: see [`struct@Hash`].
    pub fn hash(&self) -> Call<Hash> {
        self.call(Hash::new())
    }

    /// Returns a hash of the keys of a member up to a revision: see [`HashKv`].
    pub fn hash_kv(&self, revision: i64) -> Call<HashKv> {
        self.call(HashKv::new(revision))
    }

    /// Moves the leadership to another member. Send it to the present leader: see [`MoveLeader`].
    pub fn move_leader(&self, target_id: u64) -> Call<MoveLeader> {
        self.call(MoveLeader::new(target_id))
    }

    /// Checks whether the cluster can go back to a version: see [`Downgrade::validate`].
    pub fn validate_downgrade(&self, version: impl Into<String>) -> Call<Downgrade> {
        self.call(Downgrade::validate(version))
    }

    /// Enables a downgrade to a version: see [`Downgrade::enable`].
    pub fn enable_downgrade(&self, version: impl Into<String>) -> Call<Downgrade> {
        self.call(Downgrade::enable(version))
    }

    /// Cancels an enabled downgrade: see [`Downgrade::cancel`].
    pub fn cancel_downgrade(&self) -> Call<Downgrade> {
        self.call(Downgrade::cancel())
    }

    /// Returns a copy of a member's database as a stream of chunks: see [`Snapshot`].
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

debug_fields! { Maintenance |_maintenance| { .. } }

/// The reply to a [`Defragment`] and a [`MoveLeader`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MaintenanceResponse {
    /// Empty header: etcd sends none in these replies, and all fields are 0.
    pub header: ResponseHeader,
}

impl MaintenanceResponse {
    fn of(answered: Option<pb::ResponseHeader>) -> Self {
        Self {
            header: header(answered),
        }
    }
}
