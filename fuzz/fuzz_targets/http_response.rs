//! Fuzzes the parser of the start of an HTTP response through `tt_actors::codec::entry::http_response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::http_response(input);
});
