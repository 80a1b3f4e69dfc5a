#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| swift_object_replicator::fuzzing::feed("ssync", bytes));
