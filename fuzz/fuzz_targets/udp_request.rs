//! Fuzzes the parser of a datagram to a UDP tracker through `tt_actors::codec::entry::udp_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::udp_request(input);
});
