use super::view::split_value;
use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_bencode::value::Value;

fn bad(input: &[u8]) -> BadBencode {
    check(input, BencodeLimits::WIRE).unwrap_err()
}

#[test]
fn only_one_canonical_value_is_accepted() {
    use BadBencode::{CutShort, Key, Length, Number, Trailing, Unexpected};
    let accepted: [&[u8]; 11] = [
        b"i0e",
        b"i-1e",
        b"i9223372036854775807e",
        b"i-9223372036854775808e",
        b"i18446744073709551615e",
        b"0:",
        b"3:abc",
        b"le",
        b"de",
        b"d1:ai1e1:bli2ei3eee",
        b"d2:\xff\xfei1ee",
    ];
    for input in accepted {
        assert_eq!(check(input, BencodeLimits::WIRE), Ok(()), "{}", input.escape_ascii());
    }
    let refused: [(&[u8], BadBencode); 31] = [
        (b"", CutShort { at: 0 }),
        (b"i", CutShort { at: 0 }),
        (b"i1", CutShort { at: 0 }),
        (b"ie", Number { at: 0 }),
        (b"i-e", Number { at: 0 }),
        (b"i-0e", Number { at: 0 }),
        (b"i00e", Number { at: 0 }),
        (b"i03e", Number { at: 0 }),
        (b"i-03e", Number { at: 0 }),
        (b"i+5e", Number { at: 0 }),
        (b"i 5e", Number { at: 0 }),
        (b"i1.5e", Number { at: 0 }),
        (b"i18446744073709551616e", Number { at: 0 }),
        (b"i-9223372036854775809e", Number { at: 0 }),
        (b"i000000000000000000000000000001e", Number { at: 0 }),
        (b"03:abc", Length { at: 0 }),
        (b"00:", Length { at: 0 }),
        (b"3-:abc", Length { at: 0 }),
        (b"99999999999999999999999:abc", Length { at: 0 }),
        (b"18446744073709551615:abc", CutShort { at: 0 }),
        (b"4:abc", CutShort { at: 0 }),
        (b"3", CutShort { at: 0 }),
        (b"l", CutShort { at: 1 }),
        (b"li1e", CutShort { at: 4 }),
        (b"e", Unexpected { at: 0, byte: b'e' }),
        (b"d1:ae", Unexpected { at: 4, byte: b'e' }),
        (b"di1ei2ee", Key { at: 1 }),
        (b"dlei2ee", Key { at: 1 }),
        (b"<html>", Unexpected { at: 0, byte: b'<' }),
        (b"i1ei2e", Trailing { at: 3 }),
        (b"dee", Trailing { at: 2 }),
    ];
    for (input, why) in refused {
        assert_eq!(bad(input), why, "{}", input.escape_ascii());
    }
}

#[test]
fn duplicate_keys_are_refused_and_unsorted_ones_reported() {
    assert_eq!(bad(b"d1:ai1e1:ai2ee"), BadBencode::DuplicateKey { at: 13 });
    assert_eq!(bad(b"d1:bi1e1:ai1e1:bi2ee"), BadBencode::DuplicateKey { at: 19 });
    assert_eq!(bad(b"ld1:bi1e1:ad1:xi1e1:xi2eeee"), BadBencode::DuplicateKey { at: 24 });
    for (input, sorted) in [
        (&b"d1:ai1e1:bi2ee"[..], true),
        (b"d1:bi1e1:ai2ee", false),
        (b"d1:ad1:bi1e1:ai1ee1:bi1ee", false),
        (b"d1:ad1:zi1ee1:bd1:ai1eee", true),
    ] {
        assert_eq!(scan(input, BencodeLimits::WIRE).unwrap().sorted, sorted);
    }
}

#[test]
fn a_scan_tells_what_is_odd_and_where_the_value_ends() {
    type Seen = (bool, Option<BadBencode>, Option<BadBencode>, usize);
    let table: [(&[u8], Seen); 9] = [
        (b"i3e", (true, None, None, 3)),
        (b"i03e\n", (true, None, Some(BadBencode::Number { at: 0 }), 4)),
        (b"li-0ei03ee", (true, None, Some(BadBencode::Number { at: 1 }), 10)),
        (b"i18446744073709551616e", (true, None, Some(BadBencode::Number { at: 0 }), 22)),
        (b"l03:abcei5e", (true, None, Some(BadBencode::Length { at: 1 }), 8)),
        (b"d1:ai1e1:ai2ee<html>", (true, Some(BadBencode::DuplicateKey { at: 13 }), None, 14)),
        (b"d1:bi1e1:ai1e1:bi2ee", (false, Some(BadBencode::DuplicateKey { at: 19 }), None, 20)),
        (b"d1:ad1:xi1e1:xi1eee1:bi1ee", (true, Some(BadBencode::DuplicateKey { at: 17 }), None, 19)),
        (b"dede", (true, None, None, 2)),
    ];
    for (input, want) in table {
        let seen = scan(input, BencodeLimits::WIRE).unwrap();
        let got = (seen.sorted, seen.repeated_key, seen.odd_number, seen.len);
        assert_eq!(got, want, "{}", input.escape_ascii());
    }
}

#[test]
fn only_lenient_number_reads_a_number_that_is_not_canonical() {
    for (input, number) in [(&b"i03e"[..], 3), (b"i-0e", 0), (b"i-007e", -7), (b"i99999999999999999999e", i64::MAX)] {
        let view = View::parse(input, BencodeLimits::WIRE).unwrap();
        assert_eq!((view.number(), view.lenient_number()), (None, Some(number)));
    }
}

#[test]
fn a_key_that_comes_twice_has_its_first_value_and_is_reported() {
    const KEYS: [&[u8]; 2] = [b"a", b"b"];
    let view = View::parse(b"d1:ai1e1:ai2e1:bi3e1:c0:1:c0:e", BencodeLimits::WIRE).unwrap();
    let picked = view.pick(&KEYS);
    assert_eq!(picked.find(b"a").and_then(View::number), Some(1));
    assert_eq!((picked.repeated(), view.find(b"a").and_then(View::number)), (Some(&b"a"[..]), Some(1)));
    let unread = View::parse(b"d1:ai1e1:c0:1:c0:e", BencodeLimits::WIRE).unwrap();
    assert_eq!(unread.pick(&KEYS).repeated(), None);
}

#[test]
fn a_walk_goes_through_every_dictionary_but_those_under_an_empty_key() {
    let mut steps = Vec::new();
    for step in View::parse(b"d1:ad1:bd0:d1:xi1eee1:ci5ee1:dleei9e", BencodeLimits::WIRE).unwrap().walk() {
        steps.push(match step {
            TreeStep::Enter(key) => format!("+{}", key.escape_ascii()),
            TreeStep::Leave => "-".to_owned(),
            TreeStep::Value(key, value) => format!("{}={}", key.escape_ascii(), value.raw().escape_ascii()),
        });
    }
    assert_eq!(steps.join(" "), "+a +b =d1:xi1ee - c=i5e - d=le -");
    assert_eq!(View::parse(b"le", BencodeLimits::WIRE).unwrap().walk().count(), 0);
}

/// A million levels end the scan at level 33. `serde_bencode` alone would abort the process.
#[test]
fn bombs_are_refused_at_the_limit() {
    let deep = vec![b'l'; 1_000_000];
    assert_eq!(bad(&deep), BadBencode::TooDeep { limit: 32 });
    assert_eq!(check(&deep, BencodeLimits::FILE), Err(BadBencode::TooDeep { limit: 100 }));
    assert_eq!(bad(&b"d1:a".repeat(100_000)), BadBencode::TooDeep { limit: 32 });
    let exact = [vec![b'l'; 32], vec![b'e'; 32]].concat();
    assert_eq!(scan(&exact, BencodeLimits::WIRE).map(|scan| (scan.sorted, scan.tokens)), Ok((true, 32)));
    let limits = BencodeLimits { max_depth: 2, max_tokens: 3 };
    assert_eq!(check(b"l0:0:e", limits), Ok(()));
    assert_eq!(check(b"l0:0:0:e", limits), Err(BadBencode::TooMany { limit: 3 }));
}

#[test]
fn a_million_unsorted_keys_are_scanned() {
    let mut input = b"d".to_vec();
    for number in (0..1_000_000).rev() {
        input.extend(format!("7:{number:07}0:").bytes());
    }
    input.push(b'e');
    assert_eq!(scan(&input, BencodeLimits::FILE).map(|scan| (scan.sorted, scan.tokens)), Ok((false, 2_000_001)));
}

#[test]
fn raw_values_are_the_bytes_as_sent() {
    let input = b"d1:bd1:zi1e1:a3:xyze1:ai7ee";
    assert_eq!(raw_value(input, b"b"), Some(&b"d1:zi1e1:a3:xyze"[..]));
    assert_eq!(raw_value(input, b"a"), Some(&b"i7e"[..]));
    assert_eq!(raw_value(input, b"z"), None, "only the top level counts");
    assert_eq!(raw_value(b"d1:ai1e1:ai2ee", b"a"), None);
    assert_eq!(raw_value(b"l1:ae", b"a"), None);
}

#[test]
fn views_saturate_numbers_and_give_none_for_wrong_types() {
    let view = View::parse(b"d1:ai9223372036854775808e1:bl1:xi-5eee", BencodeLimits::WIRE).unwrap();
    assert_eq!(view.find(b"a").unwrap().number(), Some(i64::MAX));
    assert_eq!(view.find(b"a").unwrap().bytes(), None);
    let list: Vec<_> = view.find(b"b").unwrap().items().collect();
    assert_eq!((list[0].bytes(), list[1].number(), list.len()), (Some(&b"x"[..]), Some(-5), 2));
    assert_eq!(list[0].entries().count() + list[0].items().count(), 0);
    assert_eq!(view.find(b"c"), None);
}

#[test]
fn pick_and_find_agree() {
    const KEYS: [&[u8]; 4] = [b"a", b"b", b"missing", b"z"];
    for input in [b"d1:ai1e1:bl1:z1:ae1:c3:a:be".as_slice(), b"d1:z0:1:ai7ee", b"le", b"de", b"i7e", b"1:a"] {
        let view = View::parse(input, BencodeLimits::FILE).unwrap();
        let picked = view.pick(&KEYS);
        for key in KEYS {
            assert_eq!(picked.find(key), view.find(key), "{} in {}", key.escape_ascii(), input.escape_ascii());
        }
    }
}

#[test]
fn serde_sees_checked_input_only() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Small {
        a: i64,
    }
    assert_eq!(decode(b"d1:ai1e1:zi2ee", BencodeLimits::WIRE), Ok(Small { a: 1 }));
    assert!(matches!(decode::<Small>(b"d1:bi1ee", BencodeLimits::WIRE), Err(BadBencode::Shape(_))));
    assert!(matches!(decode::<Small>(b"d1:ai18446744073709551615ee", BencodeLimits::WIRE), Err(BadBencode::Shape(_))));
    assert_eq!(decode::<Value>(b"i-0e", BencodeLimits::WIRE), Err(BadBencode::Number { at: 0 }));
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = || prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![any::<i64>().prop_map(Value::Int), text().prop_map(Value::Bytes)];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            prop::collection::hash_map(text(), inner, 0..8).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn values_that_serde_bencode_writes_are_accepted(value in any_value()) {
        let bytes = serde_bencode::to_bytes(&value).unwrap();
        prop_assert!(scan(&bytes, BencodeLimits::WIRE).unwrap().sorted);
        prop_assert_eq!(decode::<Value>(&bytes, BencodeLimits::WIRE).unwrap(), value);
    }

    #[test]
    fn no_proper_beginning_of_a_value_is_a_value(value in any_value()) {
        let bytes = serde_bencode::to_bytes(&value).unwrap();
        for cut in 0..bytes.len() {
            prop_assert!(check(&bytes[..cut], BencodeLimits::WIRE).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'd'), Just(b'l'), Just(b'e'), Just(b'i'), Just(b':'), b'0'..=b'9', any::<u8>()], 0..200)) {
        if check(&bytes, BencodeLimits::WIRE).is_ok() {
            prop_assert_eq!(split_value(&bytes).map(|(view, rest)| (view.raw(), rest.len())), Some((&bytes[..], 0)));
        }
        let _anything = raw_value(&bytes, b"a");
        let view = View::of_scanned(&bytes);
        let _steps = view.walk().count();
        let _counts = (view.items().count(), view.entries().count(), view.number(), view.bytes());
    }
}
