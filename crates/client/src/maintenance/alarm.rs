//! What members raise when something is wrong.

use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::etcdserverpb::alarm_request::AlarmAction;

use crate::kv::{ResponseHeader, header, plain_request};

/// What an alarm is about.
///
/// Source: <https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmType {
    /// The database is full (`--quota-backend-bytes`): puts are refused in the whole cluster.
    NoSpace,
    /// The member's data differs from that of others.
    Corrupt,
    /// What a newer server calls by this number.
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
    /// The member that it was raised for.
    pub member_id: u64,
    /// What it is about.
    pub alarm_type: AlarmType,
}

impl Alarm {
    /// Makes an alarm, for a program's own fake of a client.
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
    /// Who answered; servers before 3.5 leave it out, and all of it is 0.
    pub header: ResponseHeader,
    /// The alarms that are raised, or the one that was changed.
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

/// Lists the alarms that are raised in the cluster, of all members and types.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ListAlarms {
    wire: pb::AlarmRequest,
}

impl ListAlarms {
    /// Lists them.
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
    ListAlarms: Alarm, repeatable: true,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
}

/// Raises an alarm, as members do by themselves: for tests, and to stop writes in an emergency.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ActivateAlarm {
    wire: pb::AlarmRequest,
}

impl ActivateAlarm {
    /// Raises it for a member. etcd does not ask whether there is a member with that ID.
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

plain_request! {
    ActivateAlarm: Alarm, repeatable: false,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
}

/// Puts an alarm out. Do away with its cause first, or it is raised again.
///
/// An alarm that is not raised is no error; the reply then lists none.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct DisarmAlarm {
    wire: pb::AlarmRequest,
}

impl DisarmAlarm {
    /// Puts out the alarm of one member and one type, as [`ListAlarms`] lists it.
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

// Sent again, it could put out an alarm that was raised after the first one was carried out.
plain_request! {
    DisarmAlarm: Alarm, repeatable: false,
    |answer: pb::AlarmResponse| -> AlarmResponse { AlarmResponse::of(answer) }
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
