//! Fuzzes the parser of the state file of a tracker through `tt_actors::codec::entry::swarm_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tt_actors::codec::entry::swarm_state(input);
});
