//! The name of the client that a peer id stands for (BEP 20), for people and logs. No decision depends on it.
//!
//! There are three styles (Azureus, Shadow, Mainline) and some ids without style. An unknown client is called unknown
//! and shown with the beginning of its id, made safe. Nothing is guessed, and every id is accepted (W-07, P-05).

mod names;

use crate::base::ids::PeerId;
use crate::base::safe::Safe;
use names::{AZUREUS, MAINLINE, SHADOW, SPECIAL};

/// 8 characters of an unknown id are shown: those that may name a client. The rest is random.
const SHOWN: usize = 8;

/// 64 characters of the name that a client gives itself: the longest in use have 40.
const SAID: usize = 64;

/// The digits of versions, in all styles: "0-9, A-Z, a-z" (BEP 20).
const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How a client writes its version into the four characters of `-XX1234-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// 1.2.3.4, where .4 is left out if it is 0.
    Four,
    /// 1.2.3. The fourth character is a stage or always 0.
    Three,
    /// 1.2.
    Two,
    /// `0171` is 1.71.
    TwoAndTwo,
    /// `0208` is 2.8.
    Pairs,
    /// `4060` is 4.0.6, `2940` is 2.94, `0072` is 0.72. A final `Z` or `X` marks a build before the next version.
    Transmission,
    /// `355S` is 3.5.5, `7a5S` is 7.10.5. A final `B` marks a beta.
    Hex,
    /// `33D1` is a development version of 3.3, `33R1` a release candidate of it, `3310` is 3.3.1.
    Stage,
    /// No version, or none that is understood.
    Unsaid,
}

/// The client's name and version, such as `qBittorrent 4.6.2`, or `unknown (…)` with the beginning of the id. Safe to
/// show and log.
pub fn client_name(id: &PeerId) -> String {
    let id = id.as_bytes();
    dashed(id)
        .or_else(|| azureus(id))
        .or_else(|| bitcomet(id))
        .or_else(|| special(id))
        .or_else(|| mainline(id))
        .or_else(|| shadow(id))
        .unwrap_or_else(|| format!("unknown ({})", Safe::new(&id[..SHOWN])))
}

/// Like [`client_name`], with the name that the client gives itself (`v`, BEP 10) if that says more: "a much more
/// reliable way of identifying the client". At most 64 characters of it (P-24).
pub fn told_name(id: &PeerId, said: &[u8]) -> String {
    let (by_id, said) = (client_name(id), Safe::new(said.trim_ascii()).at_most(SAID).to_string());
    let letters = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).count();
    let is_unknown = by_id.starts_with("unknown");
    if letters(&said) > 0 && (is_unknown || letters(&said) >= letters(&by_id)) { said } else { by_id }
}

/// Azureus style: `-XX1234-`. Clients of the uTorrent family also use the last dash for the version.
fn azureus(id: &[u8; 20]) -> Option<String> {
    let [b'-', a, b, version @ .., last] = id.first_chunk::<8>()? else { return None };
    let code = [*a, *b];
    let (_, name, style) = AZUREUS.iter().find(|(prefix, ..)| prefix.as_bytes() == code)?;
    let is_whole = *last == b'-' || *style == Version::Hex;
    let is_version = is_whole && version.iter().all(|c| digit(*c).is_some());
    is_version.then(|| named(name, &style.read(*version)))
}

impl Version {
    fn read(self, chars: [u8; 4]) -> String {
        let [a, b, c, d] = chars.map(|c| digit(c).unwrap_or(0));
        let stage = char::from(chars[3]);
        match self {
            Self::Four if d == 0 => format!("{a}.{b}.{c}"),
            Self::Four => format!("{a}.{b}.{c}.{d}"),
            Self::Two => format!("{a}.{b}"),
            Self::TwoAndTwo => format!("{}.{c}{d}", a * 10 + b),
            Self::Pairs => format!("{}.{}", a * 10 + b, c * 10 + d),
            Self::Transmission if chars.starts_with(b"000") => format!("0.{d}"),
            Self::Transmission if chars.starts_with(b"00") => format!("0.{c}{d}"),
            Self::Transmission => {
                let next = if matches!(stage, 'Z' | 'X') { "+" } else { "" };
                // From 4.0 on the third digit is a number of its own.
                if a >= 4 { format!("{a}.{b}.{c}{next}") } else { format!("{a}.{b}{c}{next}") }
            }
            Self::Hex => {
                let [a, b, c, _] = chars.map(|c| char::from(c).to_digit(16).unwrap_or(0));
                format!("{a}.{b}.{c}{}", if matches!(stage, 'B' | 'b') { " beta" } else { "" })
            }
            Self::Stage if chars[2] == b'D' => format!("{a}.{b} dev {d}"),
            Self::Stage if chars[2] == b'R' => format!("{a}.{b} rc {d}"),
            Self::Three | Self::Stage => format!("{a}.{b}.{c}"),
            Self::Unsaid => String::new(),
        }
    }
}

/// Versions between dashes or with dots: `A2-1-36-0-`, `-ML2.7.2-`, `-MG-3.01…`, `MG-3.01…`, `TIX0314`, `-BOWA0C-`.
fn dashed(id: &[u8; 20]) -> Option<String> {
    if let Some(rest) = id.strip_prefix(b"A2-") {
        return Some(named("aria2", &numbers(rest, 3)?.join(".")));
    }
    if let Some(rest) = id.strip_prefix(b"TIX") {
        let digits: Vec<_> = rest.iter().take(4).map_while(|c| digit(*c).filter(|n| *n < 10)).collect();
        let [a, b, c, d] = digits[..] else { return None };
        return Some(format!("Tixati {}.{c}{d}", a * 10 + b));
    }
    if let Some(rest) = id.strip_prefix(b"-BOW") {
        let is_version = rest[3] == b'-' && rest[..3].iter().all(u8::is_ascii_alphanumeric);
        return is_version.then(|| format!("Bits on Wheels {}", Safe::new(&rest[..3])));
    }
    let dotted = [(&b"-ML"[..], "MLDonkey"), (b"-MG-", "MediaGet"), (b"MG-", "MediaGet")];
    let (rest, name) = dotted.iter().find_map(|(prefix, name)| Some((id.strip_prefix(*prefix)?, name)))?;
    let version: Vec<_> = rest.iter().copied().take_while(|c| c.is_ascii_digit() || *c == b'.').take(7).collect();
    let version = String::from_utf8(version).ok().filter(|version| version.contains('.'))?;
    Some(named(name, version.trim_matches('.')))
}

/// BitComet before 0.59: `exbc` and two bytes of version, followed by `LORD` for `BitLord`.
fn bitcomet(id: &[u8; 20]) -> Option<String> {
    let [major, minor, rest @ ..] = id.strip_prefix(b"exbc")? else { return None };
    let name = if rest.starts_with(b"LORD") { "BitLord" } else { "BitComet" };
    Some(format!("{name} {major}.{minor:02}"))
}

/// The name of a client whose ids follow no style.
fn special(id: &[u8; 20]) -> Option<String> {
    let fits = |(at, bytes, _): &&(usize, &[u8], &str)| id[*at..].starts_with(bytes);
    SPECIAL.iter().find(fits).map(|(.., name)| (*name).to_owned())
}

/// Mainline style: `M7-10-5-`, with a second dash if there is room.
fn mainline(id: &[u8; 20]) -> Option<String> {
    let (_, name) = MAINLINE.iter().find(|(letter, _)| *letter == id[0])?;
    Some(named(name, &numbers(&id[1..], 3)?.join(".")))
}

/// Shadow style: "`S58B-----`... for Shadow's 5.8.11" (BEP 20).
fn shadow(id: &[u8; 20]) -> Option<String> {
    let (_, name) = SHADOW.iter().find(|(letter, _)| *letter == id[0])?;
    let is_padded = id[6..9] == *b"---" || id[4..6] == *b"--";
    let (version, padding) = id[1..6].split_at(id[1..6].iter().position(|c| *c == b'-').unwrap_or(5));
    let parts: Option<Vec<_>> = version.iter().map(|c| digit(*c).map(|n| n.to_string())).collect();
    let parts = parts.filter(|parts| is_padded && parts.len() > 1 && padding.iter().all(|c| *c == b'-'))?;
    Some(named(name, &parts.join(".")))
}

/// Parses `count` decimal numbers, each followed by a dash.
fn numbers(bytes: &[u8], count: usize) -> Option<Vec<String>> {
    let parts: Vec<_> = bytes.split(|c| *c == b'-').take(count + 1).collect();
    let (last, numbers) = parts.split_last()?;
    // The dash after the last number separates it from the rest.
    let are_numbers = numbers.iter().all(|part| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit));
    let is_whole = numbers.len() == count && are_numbers && last.len() < bytes.len();
    is_whole.then(|| numbers.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

/// The value of a version digit.
fn digit(c: u8) -> Option<usize> {
    DIGITS.iter().position(|digit| *digit == c)
}

/// The name with its version, if it has one.
fn named(name: &str, version: &str) -> String {
    if version.is_empty() { name.to_owned() } else { format!("{name} {version}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::safe::is_harmless;
    use proptest::prelude::*;

    fn name_of(prefix: &[u8]) -> String {
        let mut id = [b'x'; 20];
        id[..prefix.len()].copy_from_slice(prefix);
        client_name(&PeerId(id))
    }

    /// BEP 10, P-24, S-19: the name that a client gives itself.
    #[test]
    fn the_name_that_a_client_gives_itself_is_shown_when_it_says_more() {
        let table: [(&[u8], &[u8], &str); 7] = [
            (b"-LT2110-", b"libtorrent/2.1.1.0", "libtorrent/2.1.1.0"),
            (b"-TR4060-", b"Transmission 4.0.6 (38c164933e)", "Transmission 4.0.6 (38c164933e)"),
            (b"-TR4060-", b"TR", "Transmission 4.0.6"),
            (b"-TR4060-", b" ", "Transmission 4.0.6"),
            (b"zzzzzzzz", b" my own ", "my own"),
            (b"zzzzzzzz", b"", "unknown (zzzzzzzz)"),
            (b"zzzzzzzz", b"\x1b[2Jx", "\\u{1b}[2Jx"),
        ];
        for (id, said, want) in table {
            let mut whole = [b'x'; 20];
            whole[..8].copy_from_slice(id);
            assert_eq!(told_name(&PeerId(whole), said), want);
        }
        let long = told_name(&PeerId([b'z'; 20]), &[b'y'; 200]);
        assert_eq!(long.chars().count(), 65, "{long}");
    }

    /// W-07: present clients, past clients, and unknown ones.
    #[test]
    fn clients_are_known_by_their_ids() {
        let table: &[(&[u8], &str)] = &[
            (b"-qB4620-", "qBittorrent 4.6.2"),
            (b"-qB5010-", "qBittorrent 5.0.1"),
            (b"-TR4060-", "Transmission 4.0.6"),
            (b"-TR406Z-", "Transmission 4.0.6+"),
            (b"-TR2940-", "Transmission 2.94"),
            (b"-TR133Z-", "Transmission 1.33+"),
            (b"-TR0072-", "Transmission 0.72"),
            (b"-TR0006-", "Transmission 0.6"),
            (b"-DE13F0-", "Deluge 1.3.15"),
            (b"-DE2110-", "Deluge 2.1.1"),
            (b"-LT20A0-", "libtorrent 2.0.10"),
            (b"-LT1100-", "libtorrent 1.1.0"),
            (b"-lt0D80-", "rTorrent 0.13.8"),
            (b"-UT355S-", "uTorrent 3.5.5"),
            (b"-UT355W\xfa", "uTorrent 3.5.5"),
            (b"-UT220B-", "uTorrent 2.2.0 beta"),
            (b"-UM1870-", "uTorrent Mac 1.8.7"),
            (b"-UW1110-", "uTorrent Web 1.1.1"),
            (b"-BT7a5S-", "BitTorrent 7.10.5"),
            (b"-AZ5770-", "Vuze 5.7.7"),
            (b"-AZ2504-", "Vuze 2.5.0.4"),
            (b"-BI3400-", "BiglyBT 3.4.0"),
            (b"-BC0203-", "BitComet 2.03"),
            (b"-BC0171-", "BitComet 1.71"),
            (b"-WW0208-", "WebTorrent 2.8"),
            (b"-KT5110-", "KTorrent 5.1.1"),
            (b"-KT33D1-", "KTorrent 3.3 dev 1"),
            (b"-KT33R2-", "KTorrent 3.3 rc 2"),
            (b"-FD51R-\xf1", "unknown (-FD51R-\\xf1)"),
            (b"-FD5110-", "Free Download Manager 5.1.1"),
            (b"FD63(d(m", "Free Download Manager 6"),
            (b"-MG21x0-", "MediaGet 2.1"),
            (b"-MG-3.01.5-", "MediaGet 3.01.5"),
            (b"MG-3.01xyz", "MediaGet 3.01"),
            (b"TIX0314-", "Tixati 3.14"),
            (b"TIX0199-", "Tixati 1.99"),
            (b"A2-1-36-0-", "aria2 1.36.0"),
            (b"A2-1-8-0-", "aria2 1.8.0"),
            (b"-ML2.7.2-", "MLDonkey 2.7.2"),
            (b"-ML3.1.7-", "MLDonkey 3.1.7"),
            (b"-BOWA0C-", "Bits on Wheels A0C"),
            (b"-G30000-", "G3 Torrent"),
            (b"-SD0100-", "Xunlei 0.1.0"),
            (b"-XL0012-", "Xunlei 0.0.1.2"),
            (b"-TA0100-", "tt-actors 0.1.0"),
            (b"-BW0100-", "BitWombat 0.1.0"),
            (b"M7-10-5--", "Mainline 7.10.5"),
            (b"M4-3-6--", "Mainline 4.3.6"),
            (b"Q1-10-0-", "Queen Bee 1.10.0"),
            (b"S58B-----", "Shadow 5.8.11"),
            (b"T03I--00", "BitTornado 0.3.18"),
            (b"T0312----", "BitTornado 0.3.1.2"),
            (b"A310--001", "ABC 3.1.0"),
            (b"exbc\x00\x38", "BitComet 0.56"),
            (b"exbc\x01\x01LORD", "BitLord 1.01"),
            (b"XBT054d-", "XBT"),
            (b"OP7685", "Opera"),
            (b"AZ2500BT", "BitTyrant"),
            (b"Plus---", "BitTorrent Plus"),
            (b"\0\x03BS", "BitSpirit"),
            (b"QVOD0054", "Qvod"),
        ];
        for (prefix, want) in table {
            assert_eq!(name_of(prefix), *want, "{}", prefix.escape_ascii());
        }
    }

    #[test]
    fn an_unknown_client_is_not_guessed() {
        let table: &[(&[u8], &str)] = &[
            (b"-??1234-", "unknown (-??1234-)"),
            (b"-ZZ1234-", "unknown (-ZZ1234-)"),
            (b"-qB46\x1b[-", "unknown (-qB46\\u{1b}[-)"),
            (b"-TR2940x", "unknown (-TR2940x)"),
            (b"\0\0\0\0\0\0\0\0", "unknown (\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0}\\u{0})"),
            (b"M7-10x5--", "unknown (M7-10x5-)"),
            (b"M7-1000-1-", "unknown (M7-1000-)"),
            (b"A2-1-36", "unknown (A2-1-36x)"),
            (b"TIX03", "unknown (TIX03xxx)"),
            (b"-ML27-", "unknown (-ML27-xx)"),
            (b"S-----", "unknown (S-----xx)"),
            (b"\xff\xfe\xfd", "unknown (\\xff\\xfe\\xfdxxxxx)"),
        ];
        for (prefix, want) in table {
            assert_eq!(name_of(prefix), *want, "{}", prefix.escape_ascii());
        }
    }

    #[test]
    fn every_prefix_is_listed_once_and_in_order() {
        assert!(AZUREUS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(AZUREUS.len() > 100);
        assert!(AZUREUS.iter().all(|(prefix, ..)| prefix.len() == 2));
        for (at, bytes, name) in SPECIAL {
            let mut id = [b'\x01'; 20];
            id[*at..at + bytes.len()].copy_from_slice(bytes);
            assert_eq!(client_name(&PeerId(id)), *name, "hidden by an earlier one");
        }
    }

    proptest! {
        #[test]
        fn any_id_has_a_short_and_harmless_name(id in any::<[u8; 20]>(), prefix in 0..AZUREUS.len(), dashes in any::<bool>()) {
            let mut id = id;
            if dashes {
                (id[0], id[7]) = (b'-', b'-');
                id[1..3].copy_from_slice(AZUREUS[prefix].0.as_bytes());
            }
            let name = client_name(&PeerId(id));
            prop_assert!(name.chars().all(is_harmless), "{}", name);
            prop_assert!(!name.is_empty() && name.chars().count() <= 64, "{}", name);
        }
    }
}
