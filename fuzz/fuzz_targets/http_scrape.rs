//! Fuzzes the parser of the body of a reply to a scrape through `tt_actors::codec::entry::http_scrape`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::http_scrape(input);
});
