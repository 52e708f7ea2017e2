//! See `tt_actors::codec::entry::http_query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::http_query(input);
});
