//! `nonna_logs::fuzzing`, the target `frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((_, entry)) = nonna_logs::fuzzing::TARGETS.iter().find(|(name, _)| *name == "frame") {
        entry(data);
    }
});
