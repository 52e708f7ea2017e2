//! Fuzzes the parser of a datagram of a UDP tracker through `tt_actors::codec::entry::udp_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::udp_reply(input);
});
