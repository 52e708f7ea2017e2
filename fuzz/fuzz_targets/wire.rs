//! Fuzzes the parser of a stream of peer messages through `tt_actors::codec::entry::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::wire(input);
});
