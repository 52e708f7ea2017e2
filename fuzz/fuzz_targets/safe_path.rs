//! Fuzzes the parser of the paths in a torrent through `tt_actors::codec::entry::safe_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::safe_path(input);
});
