//! Fuzzes the parser of one bencoded value through `tt_actors::codec::entry::bencode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::bencode(input);
});
