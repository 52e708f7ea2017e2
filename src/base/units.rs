//! Sizes, rates and durations as people write and read them.

use std::fmt;
use std::time::Duration;

/// A number of bytes that is displayed in IEC units: `1.5 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if value < 1023.95 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        write!(f, "{value:.1} {unit}")
    }
}

/// A duration that is displayed as `1h 02m`, `3m 07s`, `12s` or `0.8s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        match secs {
            0..10 => write!(f, "{:.1}s", self.0.as_secs_f64()),
            10..60 => write!(f, "{secs}s"),
            60..3600 => write!(f, "{}m {:02}s", secs / 60, secs % 60),
            3600..86_400 => write!(f, "{}h {:02}m", secs / 3600, secs / 60 % 60),
            _ => write!(f, "{}d {:02}h", secs / 86_400, secs / 3600 % 24),
        }
    }
}

/// Parses a duration: `90`, `90s`, `5m`, `1h30m`, `2d`, `250ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration: write 90, 90s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_not_a_number| bad())?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let secs = |each: u64| number.checked_mul(each).map(Duration::from_secs);
        let part = match unit {
            "" if tail.is_empty() && total.is_zero() => secs(1),
            "ms" => Some(Duration::from_millis(number)),
            "s" => secs(1),
            "m" => secs(60),
            "h" => secs(3600),
            "d" => secs(86_400),
            _ => None,
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = tail;
    }
    Ok(total)
}

/// Parses `512`, `16K`, `1.5M`, `2G` as a number of bytes, 1024-based; a trailing `B`, `iB` or `/s` is allowed.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: write 512, 16K, 1.5M or 2G");
    let trimmed = text.trim().trim_end_matches("/s").trim_end_matches('B').trim_end_matches('i').trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale: f64 = match unit.trim() {
        "" => 1.0,
        "K" | "k" => 1024.0,
        "M" | "m" => 1_048_576.0,
        "G" | "g" => 1_073_741_824.0,
        "T" | "t" => 1_099_511_627_776.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_not_a_number| bad())?;
    let bytes = number * scale;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (bytes.is_finite() && (0.0..9e18).contains(&bytes)).then_some(bytes as u64).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, want) in
            [("512", 512), ("16K", 16384), ("1.5M", 1_572_864), ("2G", 2 << 30), ("1T", 1 << 40), ("4KiB/s", 4096)]
        {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        for bad in ["", "K", "-1", "1X", "1e400", "9999999999T", "."] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        let shown = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, want) in shown {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, want) in [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1m1s", 61)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(want)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "s", "5x", "1h30", "-1", "99999999999999999999", "18446744073709551615d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for (ms, want) in
            [(800, "0.8s"), (12_300, "12s"), (187_000, "3m 07s"), (3_720_000, "1h 02m"), (90_000_000, "1d 01h")]
        {
            assert_eq!(DurationText(Duration::from_millis(ms)).to_string(), want);
        }
    }
}
