//! Calls that stay open: messages of one side or both, until either ends.
