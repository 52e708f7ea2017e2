//! Fuzzes the parser of the first bytes of a connection of a peer through `tt_actors::codec::entry::handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::handshake(input);
});
