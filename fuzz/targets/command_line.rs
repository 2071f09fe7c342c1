#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etcdex_cli::fuzz_command_line(input));
