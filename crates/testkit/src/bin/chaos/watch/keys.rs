//! The texts of keys in recordings.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::watch::reference::text;

/// Interns the texts of keys.
#[derive(Default)]
pub(crate) struct Keys {
    known: HashMap<Bytes, Arc<str>>,
}

impl Keys {
    pub(crate) fn text(&mut self, key: &Bytes) -> Arc<str> {
        if let Some(known) = self.known.get(key) {
            return Arc::clone(known);
        }
        let known = text(key);
        // A copy: the key would pin its whole message.
        self.known
            .insert(Bytes::copy_from_slice(key), Arc::clone(&known));
        known
    }
}
