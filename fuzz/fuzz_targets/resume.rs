//! Fuzzes the parser of a resume record through `tt_actors::codec::entry::resume`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::resume(input);
});
