#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etcdex::fuzzing::watch_stream(input));
