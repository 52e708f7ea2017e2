//! Fuzzes the parser of a .torrent file through `tt_actors::codec::entry::metainfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::metainfo(input);
});
