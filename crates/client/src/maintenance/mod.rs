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
use crate::call::{Scope, calls};
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

    calls! {
        /// Lists the raised alarms of all members: see [`ListAlarms`].
        fn list_alarms() -> ListAlarms::new;

        /// Raises an alarm: see [`ActivateAlarm`].
        fn activate_alarm(member_id: u64, alarm_type: AlarmType) -> ActivateAlarm::new;

        /// Disarms an alarm: see [`DisarmAlarm`].
        fn disarm_alarm(member_id: u64, alarm_type: AlarmType) -> DisarmAlarm::new;
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

    calls! {
        /// Returns the status of a member: see [`Status`].
        fn status() -> Status::new;

        /// Returns the free space in a member's database to the file system: see [`Defragment`].
        fn defragment() -> Defragment::new;

        /// Returns a hash of the whole database of a member: see [`struct@Hash`].
        fn hash() -> Hash::new;

        /// Returns a hash of the keys of a member up to a revision: see [`HashKv`].
        fn hash_kv(revision: i64) -> HashKv::new;

        /// Moves the leadership to another member. Send it to the present leader: see [`MoveLeader`].
        fn move_leader(target_id: u64) -> MoveLeader::new;

        /// Checks whether the cluster can go back to a version: see [`Downgrade::validate`].
        fn validate_downgrade(version: impl Into<String>) -> Downgrade::validate;

        /// Enables a downgrade to a version: see [`Downgrade::enable`].
        fn enable_downgrade(version: impl Into<String>) -> Downgrade::enable;

        /// Cancels an enabled downgrade: see [`Downgrade::cancel`].
        fn cancel_downgrade() -> Downgrade::cancel;
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
