//! The command is a program and not a library: its modules are compiled into the target.

#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../crates/cli/src/args.rs"]
mod args;
#[path = "../../crates/cli/src/duration.rs"]
mod duration;
#[path = "../../crates/cli/src/failure.rs"]
mod failure;
#[path = "../../crates/cli/src/output.rs"]
mod output;

libfuzzer_sys::fuzz_target!(|input: &[u8]| args::fuzz::command_line(input));
