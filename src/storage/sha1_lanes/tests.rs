//! Compares every kernel of this CPU with the `sha1` crate. `PROPTEST_CASES` sets the number of cases.

use proptest::collection::vec;
use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::kernel::Kernel;
use super::*;

/// Each kernel alone, and the measured choice of all.
fn choices() -> Vec<Choice> {
    Kernel::all().into_iter().map(Choice::only).chain([Choice::measure()]).collect()
}

/// The bytes that the messages are cut from.
fn sample() -> Vec<u8> {
    (0..5_100_u32).map(|at| at.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

fn expected(message: &[u8]) -> [u8; 20] {
    Sha1::digest(message).into()
}

fn hex(digest: [u8; 20]) -> String {
    digest.map(|byte| format!("{byte:02x}")).concat()
}

/// FIPS 180-1, appendices A and C.
#[test]
fn known_messages_have_their_known_digests() {
    let thousand = [b'a'; 1000];
    let messages = [vec![], vec![b"abc".as_slice()], vec![thousand.as_slice(); 1000]];
    for choice in choices() {
        assert_eq!(
            digests_with(&choice, messages.clone()).into_iter().map(hex).collect::<Vec<_>>(),
            [
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "34aa973cd4c4daa4f61eeb2bdbad27316534016f"
            ],
            "{choice:?}"
        );
    }
}

#[test]
fn nothing_has_no_digests() {
    assert!(digests(<[[&[u8]; 0]; 0]>::default()).is_empty());
}

/// All messages at once, so that lanes end at different blocks and continue with the next message.
#[test]
fn every_length_around_a_few_blocks_is_right() {
    let bytes = sample();
    let messages: Vec<&[u8]> = (0..=300).map(|len| &bytes[..len]).collect();
    let want: Vec<_> = messages.iter().map(|message| expected(message)).collect();
    for choice in choices() {
        let found = digests_with(&choice, messages.iter().map(|message| [*message]));
        assert!(found == want, "{choice:?}");
    }
}

#[test]
fn fewer_messages_than_lanes_are_right() {
    let bytes = sample();
    for choice in choices() {
        for count in 1..=17 {
            let messages: Vec<&[u8]> = bytes.chunks(290).take(count).collect();
            let want: Vec<_> = messages.iter().map(|message| expected(message)).collect();
            assert_eq!(digests_with(&choice, messages.iter().map(|message| [*message])), want, "{count} on {choice:?}");
        }
    }
}

/// The start of a message in the sample, and the lengths of its parts in each call.
type Cut = (usize, Vec<Vec<usize>>);

/// Lengths of parts: nothing, single bytes, fractions of a block, and many blocks with and without a rest.
fn part_len() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), Just(64), 0..130_usize, 0..1500_usize]
}

/// Several messages, all with the same number of calls.
fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    (1..4_usize).prop_flat_map(|calls| vec((0..100_usize, vec(vec(part_len(), 0..6), calls)), 0..12))
}

/// The parts of a message by call, as slices of the sample; at most 5000 bytes together.
fn parts<'a>(bytes: &'a [u8], (start, calls): &Cut) -> Vec<Vec<&'a [u8]>> {
    let mut rest = &bytes[*start..][..5000];
    let mut part = |len: &usize| rest.split_off(..(*len).min(rest.len())).expect("no longer than the rest");
    calls.iter().map(|lens| lens.iter().map(&mut part).collect()).collect()
}

proptest! {
    #[test]
    fn parts_and_calls_make_no_difference(cuts in cuts()) {
        let bytes = sample();
        let messages: Vec<_> = cuts.iter().map(|cut| parts(&bytes, cut)).collect();
        let want: Vec<_> = messages.iter().map(|calls| expected(&calls.concat().concat())).collect();
        for choice in choices() {
            let mut streams = vec![Sha1Stream::new(); messages.len()];
            for call in 0..cuts.first().map_or(0, |(_, calls)| calls.len()) {
                let parts = messages.iter().map(|calls| calls[call].iter().copied());
                absorb_with(&choice, streams.iter_mut().zip(parts));
            }
            let found: Vec<_> = streams.into_iter().map(Sha1Stream::finish).collect();
            prop_assert_eq!(found, want.clone(), "{:?}", choice);
        }
    }
}
