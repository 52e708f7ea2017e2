//! Fuzzes the parser of the query of an announce or a scrape, as a tracker gets it through `tt_actors::codec::entry::http_query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::http_query(input);
});
