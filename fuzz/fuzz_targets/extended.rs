//! Fuzzes the parser of one message of the extension protocol (BEP 10) through `tt_actors::codec::entry::extended`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::extended(input);
});
