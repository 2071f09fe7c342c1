use etcdex_proto::etcdserverpb::{
    ResponseHeader, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
};
use etcdex_proto::mvccpb;

use super::*;

struct Line(Wire);

impl Line {
    fn new() -> Self {
        Self(Wire::new("test".to_owned(), Clock::start(), false))
    }

    fn hear(&mut self, direction: Direction, message: Option<Vec<u8>>) {
        self.0.hear(&Passage {
            at: Instant::now(),
            link: 1,
            stream: 1,
            direction,
            delivered: Delivery::default(),
            message: message.map(Into::into),
        });
    }

    fn ask(&mut self, watch_id: i64, start_revision: i64) {
        let create = WatchCreateRequest {
            key: "key".into(),
            start_revision,
            watch_id,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        self.hear(Direction::ToServer, Some(request.encode_to_vec()));
    }

    fn cancel(&mut self, watch_id: i64) {
        let request = WatchRequest {
            request_union: Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })),
        };
        self.hear(Direction::ToServer, Some(request.encode_to_vec()));
    }

    fn request_progress(&mut self) {
        let request = WatchRequest {
            request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
        };
        self.hear(Direction::ToServer, Some(request.encode_to_vec()));
    }

    fn answer(&mut self, revision: i64, response: WatchResponse) {
        let header = ResponseHeader {
            revision,
            ..ResponseHeader::default()
        };
        let response = WatchResponse {
            header: Some(header),
            ..response
        };
        self.hear(Direction::ToClient, Some(response.encode_to_vec()));
    }

    fn bodies(&self, number: usize) -> Vec<&Body> {
        let messages = self.0.stretches[number].recording.messages.iter();
        messages.map(|message| &message.body).collect()
    }
}

fn of(watch_id: i64) -> WatchResponse {
    WatchResponse {
        watch_id,
        ..WatchResponse::default()
    }
}

fn created(watch_id: i64) -> WatchResponse {
    WatchResponse {
        created: true,
        ..of(watch_id)
    }
}

fn events(watch_id: i64, revision: i64, fragment: bool) -> WatchResponse {
    let kv = mvccpb::KeyValue {
        key: "key".into(),
        mod_revision: revision,
        ..mvccpb::KeyValue::default()
    };
    WatchResponse {
        events: vec![mvccpb::Event {
            kv: Some(kv),
            ..mvccpb::Event::default()
        }],
        fragment,
        ..of(watch_id)
    }
}

#[test]
fn interleaved_fragments_of_watches_are_joined_separately() {
    let mut line = Line::new();
    line.ask(7, 5);
    line.ask(8, 6);
    line.answer(9, created(7));
    line.answer(9, created(8));
    line.answer(9, events(7, 6, true));
    line.answer(9, events(8, 7, false));
    line.answer(9, events(7, 6, false));
    line.answer(10, of(8));
    assert_eq!(line.bodies(0).len(), 3);
    let Body::Batch {
        events, revision, ..
    } = line.bodies(0)[2]
    else {
        panic!("{:?}", line.bodies(0));
    };
    assert_eq!((events.len(), *revision), (2, 6));
    assert_eq!(line.bodies(1)[3], &Body::Progress { revision: 10 });
    assert_eq!(line.0.stretches[1].recording.query.start_revision, 6);
    assert_eq!(line.0.fragments, 1);
}

#[test]
fn progress_of_a_stream_covers_all_its_watches_and_a_refusal_none() {
    let mut line = Line::new();
    line.ask(1, 0);
    line.ask(2, 3);
    line.ask(3, 4);
    line.answer(9, created(1));
    let refused = WatchResponse {
        canceled: true,
        cancel_reason: "no".to_owned(),
        ..created(-1)
    };
    line.answer(9, refused);
    line.answer(9, created(3));
    line.answer(11, of(-1));
    let answered = Body::Answered {
        revision: 11,
        binding: false,
    };
    let asked = |revision| Body::Asked { revision };
    let in_force = |revision| Body::Created { revision };
    let first = [&asked(0), &in_force(10), &answered];
    assert_eq!(line.bodies(0), first);
    assert_eq!(line.bodies(1), [&asked(3)], "refused");
    assert_eq!(line.bodies(2), [&asked(4), &in_force(4), &answered]);
    assert_eq!(line.0.refusals.len(), 1);
}

/// A client leaves a stream whose token was refused, and does not read what comes after.
#[test]
fn messages_after_a_refused_token_are_no_grounds() {
    let mut line = Line::new();
    line.ask(1, 0);
    line.ask(2, 3);
    line.answer(9, created(1));
    line.answer(10, of(1));
    assert_eq!(line.0.stretches[0].grounds.len(), 1);
    let refused = WatchResponse {
        canceled: true,
        cancel_reason: format!("rpc error: desc = {INVALID_TOKEN}"),
        ..created(-1)
    };
    line.answer(10, refused);
    line.answer(11, of(1));
    line.answer(12, events(1, 12, false));
    assert_eq!(line.0.stretches[0].grounds.len(), 1);
    assert_eq!(line.bodies(0).len(), 5, "they are recorded");
}

/// The answer to a request from before a watch does not cover the watch.
#[test]
fn an_answer_covers_the_watches_from_before_its_request() {
    let mut line = Line::new();
    line.0.binding = true;
    line.ask(1, 2);
    line.answer(9, created(1));
    line.request_progress();
    line.ask(2, 2);
    line.answer(9, created(2));
    line.answer(9, of(-1));
    line.request_progress();
    line.answer(9, of(-1));
    line.ask(3, 2);
    line.answer(9, created(3));
    line.answer(10, of(-1));
    let answers = |number| {
        let bodies = line.bodies(number).into_iter();
        let answers = bodies.filter_map(|body| match body {
            Body::Answered { binding, .. } => Some(*binding),
            _ => None,
        });
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answers(0), [true, true, true]);
    assert_eq!(answers(1), [false, true, true]);
    assert_eq!(answers(2), [true], "a later revision than at its creation");
}

#[test]
fn messages_after_a_cancel_of_the_client_are_not_checked() {
    let mut line = Line::new();
    line.ask(1, 2);
    line.ask(2, 2);
    line.answer(9, created(1));
    line.cancel(1);
    line.cancel(2);
    line.answer(9, created(2));
    for watch_id in [1, 2] {
        line.answer(9, events(watch_id, 4, false));
    }
    for number in [0, 1] {
        let bodies = line.bodies(number);
        assert_eq!(bodies.len(), 3, "{bodies:?}");
        assert_eq!(bodies[2], &Body::Cancelled);
    }
}

#[test]
fn a_watch_ends_with_a_compaction_or_with_its_stream() {
    let mut line = Line::new();
    line.ask(1, 2);
    line.answer(9, created(1));
    let compacted = WatchResponse {
        canceled: true,
        compact_revision: 5,
        ..of(1)
    };
    line.answer(0, compacted);
    line.answer(9, events(1, 9, false));
    let end = Body::Ended(End::Compacted { revision: 5 });
    let asked = Body::Asked { revision: 2 };
    let in_force = Body::Created { revision: 2 };
    assert_eq!(line.bodies(0), [&asked, &in_force, &end]);

    line.ask(4, 2);
    line.answer(9, created(4));
    line.hear(Direction::ToClient, None);
    // A stream with the same number on another link is another stream.
    assert!(line.0.streams.is_empty());
    assert_eq!(line.0.broken, 0);
}
