//! The smallest history that still shows a difference, found by leaving parts out.
//!
//! Source: A. Zeller and R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (`ddmin`).

use std::time::{Duration, Instant};

use etcdex_testkit::Binary;

use super::call::{Call, Step, WatchCall};
use super::fields;
use super::pair::{Difference, Pair};

/// The most histories that are played. Each has two new servers, and takes about a second.
const MOST: usize = 250;

/// How long histories are played at most.
const LONGEST: Duration = Duration::from_secs(240);

/// How long watches may take until both servers have told the same. With a difference, it takes this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// A history that shows a difference.
pub(crate) struct Case<'a> {
    binary: &'a Binary,
    history: Vec<Step>,
    difference: Difference,
    /// Number of histories that may still be played.
    left: usize,
    deadline: Instant,
}

impl<'a> Case<'a> {
    pub(crate) fn new(binary: &'a Binary, mut history: Vec<Step>, difference: Difference) -> Self {
        history.truncate(difference.step + 1);
        Self {
            binary,
            history,
            difference,
            left: MOST,
            deadline: Instant::now() + LONGEST,
        }
    }

    /// Leaves out what is not needed, and says what is left.
    pub(crate) async fn shrink(mut self) -> String {
        let first = self.report().await;
        println!("{first}\nsmaller cases are looked for; {MOST} histories are played at most");
        self.leave_out_steps().await;
        self.leave_out_fields().await;
        self.report().await
    }

    /// Plays another history. Keeps it if it shows a difference of the same kind.
    async fn is_enough(&mut self, mut history: Vec<Step>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if Instant::now() > self.deadline {
            self.left = 0;
        }
        let mut pair = Pair::start(self.binary, PATIENCE).await;
        let Err(difference) = pair.play(&history).await else {
            return false;
        };
        if !difference.is_like(&self.difference) {
            return false;
        }
        history.truncate(difference.step + 1);
        (self.history, self.difference) = (history, difference);
        true
    }

    /// Leaves out parts of the history: halves first, single steps in the end.
    async fn leave_out_steps(&mut self) {
        let mut length = self.history.len().div_ceil(2);
        while self.left > 0 {
            let mut is_smaller = false;
            // The end is left out first: the start, with its users and roles, is needed more often.
            let mut end = self.history.len();
            while end > 0 && self.left > 0 {
                let start = end.saturating_sub(length);
                let end_then = end.min(self.history.len());
                let rest = [&self.history[..start], &self.history[end_then..]].concat();
                is_smaller |= self.is_enough(rest).await;
                end = start.min(self.history.len());
            }
            if length == 1 && !is_smaller {
                return;
            }
            if length > 1 {
                length = length.div_ceil(2);
            }
        }
    }

    /// Leaves out fields of the requests.
    async fn leave_out_fields(&mut self) {
        let mut index = 0;
        while index < self.history.len() && self.left > 0 {
            let mut is_smaller = false;
            for simpler in self.history[index].simpler() {
                let mut history = self.history.clone();
                history[index] = simpler;
                is_smaller = self.is_enough(history).await;
                if is_smaller {
                    break;
                }
            }
            if !is_smaller {
                index += 1;
            }
        }
    }

    /// Writes the history and both replies.
    async fn report(&self) -> String {
        let mut pair = Pair::start(self.binary, PATIENCE).await;
        let mut lines = Vec::new();
        // A long history is not shown.
        let shown = self.history.len().saturating_sub(60);
        for (index, step) in self.history.iter().enumerate() {
            let call = match &step.call {
                Call::Unary(call) => pair.resolve(call).show(),
                Call::Watch(slot, call) => show_watch(*slot, call),
            };
            if index >= shown {
                lines.push(format!("{index}. {:?}: {call}", step.identity));
            }
            // The difference is known.
            let _ = pair.step(step).await;
        }
        let Difference {
            step,
            real,
            embedded,
        } = &self.difference;
        let lines = lines.join("\n");
        format!(
            "{lines}\nstep {step}, etcd answers:\n    {real}\nthe embedded server answers:\n    {embedded}"
        )
    }
}

fn show_watch(slot: usize, call: &WatchCall) -> String {
    use prost::Message as _;
    match call {
        WatchCall::Open => format!("stream {slot}: open"),
        WatchCall::Create(create) => {
            let data = fields::show(&create.encode_to_vec());
            format!("stream {slot}: {create:?}\n    = {data}")
        }
        WatchCall::Cancel(id) => format!("stream {slot}: cancel {id}"),
        WatchCall::Compare => format!("stream {slot}: compare"),
    }
}
