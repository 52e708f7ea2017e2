//! Fuzzes the parser of the body of a reply to an announce through `tt_actors::codec::entry::http_announce`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::http_announce(input);
});
