//! The requests about alarms.

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::alarm_request::AlarmAction;

use crate::kv::{ResponseHeader, header, plain_request};

/// The cause of an alarm.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmType {
    /// The database of a member is full (`--quota-backend-bytes`). All members refuse puts.
    NoSpace,
    /// The data of the member differs from that of other members.
    Corrupt,
    /// A cause of a newer server, with its number on the wire.
    Other(i32),
}

impl AlarmType {
    fn of(number: i32) -> Self {
        match pb::AlarmType::try_from(number) {
            Ok(pb::AlarmType::Nospace) => Self::NoSpace,
            Ok(pb::AlarmType::Corrupt) => Self::Corrupt,
            Ok(pb::AlarmType::None) | Err(_) => Self::Other(number),
        }
    }

    fn number(self) -> i32 {
        match self {
            Self::NoSpace => pb::AlarmType::Nospace as i32,
            Self::Corrupt => pb::AlarmType::Corrupt as i32,
            Self::Other(number) => number,
        }
    }
}

/// An alarm that is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Alarm {
    /// ID of the member for which the alarm is raised.
    pub member_id: u64,
    /// Cause of the alarm.
    pub alarm_type: AlarmType,
}

impl Alarm {
    /// Returns an alarm, for programs that fake a client in their tests.
    #[must_use]
    pub fn new(member_id: u64, alarm_type: AlarmType) -> Self {
        Self {
            member_id,
            alarm_type,
        }
    }
}

/// The reply to [`ListAlarms`], [`ActivateAlarm`] and [`DisarmAlarm`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AlarmResponse {
    /// Member that answered. Servers before 3.5 send no header, and all fields are 0.
    pub header: ResponseHeader,
    /// Raised alarms, or the alarm that was changed.
    pub alarms: Vec<Alarm>,
}

impl AlarmResponse {
    fn of(answer: pb::AlarmResponse) -> Self {
        let alarm = |alarm: pb::AlarmMember| Alarm {
            member_id: alarm.member_id,
            alarm_type: AlarmType::of(alarm.alarm),
        };
        Self {
            header: header(answer.header),
            alarms: answer.alarms.into_iter().map(alarm).collect(),
        }
    }
}

plain_request! {
    /// Lists the raised alarms of all members.
    pub struct ListAlarms(pb::AlarmRequest): Alarm, repeatable: true,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
}

impl ListAlarms {
    /// Returns the request.
    pub fn new() -> Self {
        Self {
            wire: pb::AlarmRequest {
                action: AlarmAction::Get as i32,
                ..pb::AlarmRequest::default()
            },
        }
    }
}

impl Default for ListAlarms {
    fn default() -> Self {
        Self::new()
    }
}

plain_request! {
    /// Raises an alarm, for tests, or to stop writes in an emergency.
    pub struct ActivateAlarm(pb::AlarmRequest): Alarm, repeatable: false,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
}

impl ActivateAlarm {
    /// Returns a request that raises an alarm for a member. etcd does not check that the member
    /// exists.
    pub fn new(member_id: u64, alarm_type: AlarmType) -> Self {
        Self {
            wire: pb::AlarmRequest {
                action: AlarmAction::Activate as i32,
                member_id,
                alarm: alarm_type.number(),
            },
        }
    }
}

// Not repeatable: the second request could disarm an alarm that was raised after the first one.
plain_request! {
    /// Disarms an alarm. Remove its cause first, or the member raises the alarm again.
    ///
    /// Disarming an alarm that is not raised is not an error. The reply then lists no alarm.
    pub struct DisarmAlarm(pb::AlarmRequest): Alarm, repeatable: false,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
}

impl DisarmAlarm {
    /// Returns a request that disarms an alarm that [`ListAlarms`] lists.
    pub fn new(member_id: u64, alarm_type: AlarmType) -> Self {
        Self {
            wire: pb::AlarmRequest {
                action: AlarmAction::Deactivate as i32,
                member_id,
                alarm: alarm_type.number(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_a_newer_server_is_kept() {
        for number in -1..6 {
            assert_eq!(AlarmType::of(number).number(), number);
        }
        assert_eq!(AlarmType::of(1), AlarmType::NoSpace);
    }
}
