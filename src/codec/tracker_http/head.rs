//! Finds the end of the head of an HTTP request, and whether a body follows it.
//!
//! A server uses this to hand on one request at a time. Knows no more of HTTP: the head itself is parsed elsewhere.

/// 40 bytes of a line are kept: enough for the longest name that is looked for and a number after it.
const KEPT: usize = 40;

/// Reads the bytes of one head, in parts of any size.
#[derive(Debug, Clone)]
pub struct HeadScanner {
    /// The beginning of the current line, in lower case.
    line: [u8; KEPT],
    /// The length of the current line so far.
    line_len: usize,
    /// The last byte was a carriage return.
    after_return: bool,
    /// A line that is not empty has ended.
    has_begun: bool,
    has_body: bool,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self { line: [0; KEPT], line_len: 0, after_return: false, has_begun: false, has_body: false }
    }
}

impl HeadScanner {
    /// Reads the next bytes. Returns how many of them belong to the head if it ends among them.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let ends = |(at, byte): (usize, &u8)| self.take(*byte).then_some(at.saturating_add(1));
        bytes.iter().enumerate().find_map(ends)
    }

    /// Whether a body follows, or anything else that is not another request. Valid when the head has ended.
    pub const fn has_body(&self) -> bool {
        self.has_body
    }

    /// Reads one byte. Returns whether the head ends with it. Lines end with LF, with or without CR before it; empty
    /// lines before the first line are skipped (RFC 9112, 2.2).
    fn take(&mut self, byte: u8) -> bool {
        if byte != b'\n' {
            if let Some(place) = self.line.get_mut(self.line_len) {
                *place = byte.to_ascii_lowercase();
            }
            self.line_len = self.line_len.saturating_add(1);
            self.after_return = byte == b'\r';
            return false;
        }
        let len = self.line_len.saturating_sub(usize::from(self.after_return));
        let ends = len == 0 && self.has_begun;
        if len > 0 {
            self.has_body |= self.announces_body(len);
            self.has_begun = true;
        }
        (self.line_len, self.after_return) = (0, false);
        ends
    }

    /// Whether the current line, of `len` bytes, says that something other than a request follows the head.
    fn announces_body(&self, len: usize) -> bool {
        let line = self.line.get(..len.min(KEPT)).unwrap_or(&self.line);
        if !self.has_begun {
            return line.starts_with(b"connect ");
        }
        let is_nothing = |value: &[u8]| len <= KEPT && value.trim_ascii().iter().all(|digit| *digit == b'0');
        line.strip_prefix(b"content-length:").is_some_and(|value| !is_nothing(value))
            || line.starts_with(b"transfer-encoding:")
            || line.starts_with(b"upgrade:")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The length of the head, and whether a body follows.
    fn scanned(text: &[u8]) -> Option<(usize, bool)> {
        let mut scanner = HeadScanner::default();
        scanner.scan(text).map(|len| (len, scanner.has_body()))
    }

    #[test]
    fn a_head_ends_with_an_empty_line_and_names_its_body() {
        let table = [
            ("GET / HTTP/1.1\r\nHost: t\r\n\r\nrest", Some((27, false))),
            ("GET / HTTP/1.1\nHost: t\n\nrest", Some((24, false))),
            ("GET / HTTP/1.1\r\n\nrest", Some((17, false))),
            ("\r\n\nGET / HTTP/1.1\r\n\r\n", Some((21, false))),
            ("GET / HTTP/1.1\r\nHost: t\r\n", None),
            ("GET / HTTP/1.1\r\r\n", None),
            ("", None),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Some((38, true))),
            ("POST / HTTP/1.1\r\nCONTENT-LENGTH:0\r\n\r\n", Some((37, false))),
            ("POST / HTTP/1.1\r\nContent-Length: 00000000000000000000000000001\r\n\r\n", Some((66, true))),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Some((47, true))),
            ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Some((38, true))),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", Some((24, true))),
            ("GET / HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n", Some((39, false))),
        ];
        for (text, want) in table {
            assert_eq!(scanned(text.as_bytes()), want, "{}", text.escape_debug());
        }
    }

    proptest! {
        #[test]
        fn a_head_is_the_same_in_whatever_parts_it_comes(
            lines in prop::collection::vec("(Content-Length: [0-9]{1,3}|Upgrade: x|[a-z]{0,5}: .{0,60}|\r)\r?\n", 0..6), cut in 1_usize..7,
        ) {
            let text = format!("GET / HTTP/1.1\r\n{}\r\nand more", lines.concat());
            let mut scanner = HeadScanner::default();
            let mut read = 0;
            let end = text.as_bytes().chunks(cut).find_map(|part| {
                let end = scanner.scan(part).map(|len| read + len);
                read += part.len();
                end
            });
            prop_assert_eq!(end.map(|len| (len, scanner.has_body())), scanned(text.as_bytes()));
        }
    }
}
