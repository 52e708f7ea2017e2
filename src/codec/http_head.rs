//! The head of an HTTP response (RFC 9112): rewrites a head of any server into one form that every HTTP library reads.
//!
//! Trackers are written by hand or stand behind proxies that add a hundred headers. So lines may end in LF alone, and
//! there may be as many as fit in [`MAX_HEAD_LEN`]; headers that this client does not read are dropped, however odd
//! they are. Interim responses (1xx) are skipped. Where two headers frame the body, the rule of RFC 9112, 6.3 decides;
//! framing that two readers could understand differently is refused. Does not know what the body contains.

use super::http_chunked::Chunked;

/// 64 KiB: browsers allow 256 KiB, servers send 1 KiB. Interim responses count too.
pub const MAX_HEAD_LEN: usize = 64 * 1024;

/// The headers that are kept. If one comes twice, the first is kept.
const KEPT: [&str; 5] = ["content-encoding", "content-type", "date", "location", "retry-after"];

/// How the receiver knows where the body ends (RFC 9112, 6.3).
#[derive(Debug)]
pub enum Framing {
    /// There is no body: the status is 204 or 304.
    Empty,
    /// The body has this number of bytes.
    Length(u64),
    /// The body is in the chunked coding.
    Chunked(Chunked),
    /// The body ends when the connection ends.
    Close,
}

/// The head of a response.
#[derive(Debug)]
pub struct HttpHead {
    /// The head in the form `HTTP/1.0 STATUS`, CRLF, headers, an empty line. It has no header that frames the body, so
    /// to an HTTP library the body ends with the connection. The caller must apply `framing` before it hands the body
    /// on.
    pub text: Vec<u8>,
    /// Where the body ends, by the server's headers.
    pub framing: Framing,
    /// Bytes of the input that belong to the head, interim responses included.
    pub len: usize,
}

/// Why bytes are not the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// The input does not start with `HTTP/1.` and a status.
    #[error("it is no HTTP response")]
    Status,
    /// The head is longer than [`MAX_HEAD_LEN`].
    #[error("its head is too long")]
    TooLong,
    /// The connection ended before the reply was complete.
    #[error("the connection ended before the reply")]
    CutShort,
    /// `Content-Length` is not a number, or comes several times with different values.
    #[error("its content length is unclear")]
    Length,
    /// A transfer coding other than `chunked` is used.
    #[error("its transfer coding is not understood")]
    Coding,
}

/// Reads the head of a response from the first bytes of a connection; `None` if the head is not complete.
pub fn read(input: &[u8]) -> Result<Option<HttpHead>, BadHead> {
    let mut rest = input;
    loop {
        let Some((head, tail)) = split(rest)? else {
            let room = MAX_HEAD_LEN.saturating_sub(input.len().saturating_sub(rest.len()));
            return if rest.len() > room { Err(BadHead::TooLong) } else { Ok(None) };
        };
        rest = tail;
        let len = input.len().saturating_sub(rest.len());
        if len > MAX_HEAD_LEN {
            return Err(BadHead::TooLong);
        }
        let mut lines = lines(head);
        let status = status(lines.next().unwrap_or_default())?;
        // "A client MUST be able to parse one or more 1xx responses received prior to a final response" (RFC 9110,
        // 15.2).
        if (100..200).contains(&status) {
            continue;
        }
        return rewritten(status, lines, len).map(Some);
    }
}

/// A head, and the bytes after it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits the input after the empty line that ends the first head; `None` if the head is not complete. Fails at the
/// first byte that is not HTTP, so that the client does not wait for a server of another protocol.
fn split(input: &[u8]) -> Result<Option<Split<'_>>, BadHead> {
    // "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line" (RFC 9112,
    // 2.2); clients do the same with responses.
    let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let input = input.get(blank..).unwrap_or_default();
    let start = input.get(..input.len().min(MAGIC.len())).unwrap_or_default();
    if !MAGIC.starts_with(start) {
        return Err(BadHead::Status);
    }
    let mut at: usize = 0;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, b"\n" | b"\r\n") {
            let end = at.saturating_add(line.len());
            return Ok(input.split_at_checked(end));
        }
        at = at.saturating_add(line.len());
    }
    Ok(None)
}

/// The first bytes of every response that is accepted.
const MAGIC: &[u8] = b"HTTP/1.";

/// The lines of a head, without their line ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The status of a status line: `HTTP/1.1 200 OK`, with or without the reason.
fn status(line: &[u8]) -> Result<u16, BadHead> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let version = words.next().and_then(|word| word.strip_prefix(MAGIC)).ok_or(BadHead::Status)?;
    let digits = words.next().filter(|word| word.iter().all(u8::is_ascii_digit)).ok_or(BadHead::Status)?;
    let status = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let is_digit = matches!(version, [digit] if digit.is_ascii_digit());
    status.filter(|status| is_digit && (100..1000).contains(status)).ok_or(BadHead::Status)
}

/// Makes the head from the status and the header lines; `len` is the length of the original head.
fn rewritten<'a>(status: u16, lines: impl Iterator<Item = &'a [u8]>, len: usize) -> Result<HttpHead, BadHead> {
    let mut text = format!("HTTP/1.0 {status} -\r\n").into_bytes();
    let (mut length, mut is_chunked) = (None, false);
    let mut kept: Vec<&str> = Vec::new();
    for (name, value) in lines.filter_map(header) {
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                match coding.to_ascii_lowercase().as_slice() {
                    b"chunked" if !is_chunked => is_chunked = true,
                    b"identity" | b"" => {}
                    _ => return Err(BadHead::Coding),
                }
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            // "If .. a list of identical values .. replace the duplicated field-values with a single valid value" (RFC
            // 9110, 8.6).
            for value in value.split(|byte| *byte == b',') {
                let said = number(value.trim_ascii()).ok_or(BadHead::Length)?;
                if length.is_some_and(|length| length != said) {
                    return Err(BadHead::Length);
                }
                length = Some(said);
            }
        } else if let Some(known) = KEPT.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()))
            && !kept.contains(&known)
            && value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        {
            kept.push(known);
            text.extend([known.as_bytes(), b": ", value, b"\r\n"].concat());
        }
    }
    text.extend(b"\r\n");
    // "If a message is received with both a Transfer-Encoding and a Content-Length header field, the Transfer-Encoding
    // overrides the Content-Length" (RFC 9112, 6.3).
    let framing = match length {
        _ if matches!(status, 204 | 304) => Framing::Empty,
        _ if is_chunked => Framing::Chunked(Chunked::default()),
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    };
    Ok(HttpHead { text, framing, len })
}

/// Name and value of a header; `None` if the line is not a header. The continuation of a folded line is none either.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| (name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// A decimal number without a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(input: &[u8]) -> Result<Option<(String, String, usize)>, BadHead> {
        let shown = |head: HttpHead| {
            let text = String::from_utf8(head.text).unwrap();
            let framing = match head.framing {
                Framing::Chunked(_) => "chunked".to_owned(),
                other => format!("{other:?}"),
            };
            (text, framing, head.len)
        };
        read(input).map(|head| head.map(shown))
    }

    #[test]
    fn heads_are_read_as_servers_write_them() {
        let many = "X-Proxy: something\r\n".repeat(500);
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", "Length(5)"),
            ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", "", "Length(5)"),
            ("HTTP/1.1 200\r\nContent-Length:5\r\n\n", "", "Length(5)"),
            ("\r\nHTTP/1.0 200 OK\r\n\r\n", "", "Close"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", "", "Length(5)"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "", "Length(5)"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "", "chunked"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "", "chunked"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length : 7\r\n\r\n", "", "Length(7)"),
            ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "", "Empty"),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 200 OK\r\n\r\n", "", "Close"),
            ("HTTP/1.1 200 OK\r\nX: \x01\r\n folded\r\nno colon\r\n: no name\r\n\r\n", "", "Close"),
            (
                "HTTP/1.1 302 Found\r\nLOCATION:  /x \r\nlocation: /y\r\nSet-Cookie: a\r\nRetry-After: 7\r\n\r\n",
                "location: /x\r\nretry-after: 7\r\n",
                "Close",
            ),
            (
                &format!("HTTP/1.1 200 OK\r\n{many}Content-Encoding: gzip\r\n\r\n"),
                "content-encoding: gzip\r\n",
                "Close",
            ),
        ];
        for (input, headers, framing) in table {
            let status: String = input.rsplit("HTTP/1.").next().unwrap().chars().skip(2).take(3).collect();
            let (text, got, len) = seen(format!("{input}body").as_bytes()).unwrap().unwrap();
            assert_eq!(text, format!("HTTP/1.0 {status} -\r\n{headers}\r\n"), "{input:?}");
            assert_eq!((got.as_str(), len), (framing, input.len()), "{input:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD_LEN));
        let hints = "HTTP/1.1 103 Hints\r\n\r\n".repeat(MAX_HEAD_LEN / 20);
        let table = [
            ("SSH-2.0-OpenSSH", BadHead::Status),
            ("<", BadHead::Status),
            ("HTTP/2 200 OK\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 999999 What\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 What\r\n\r\n", BadHead::Status),
            ("HTTP/1.1\r\n\r\n", BadHead::Status),
            ("HTTP/1.1 +20 OK\r\n\r\n", BadHead::Status),
            (&long, BadHead::TooLong),
            (&hints, BadHead::TooLong),
        ];
        for (input, want) in table {
            assert_eq!(seen(input.as_bytes()), Err(want), "{:?}", input.get(..60));
        }
    }

    #[test]
    fn bad_lengths_and_codings_are_refused() {
        let table = [
            ("Content-Length: -5", BadHead::Length),
            ("Content-Length: +5", BadHead::Length),
            ("Content-Length: ", BadHead::Length),
            ("Content-Length: 5\r\nContent-Length: 6", BadHead::Length),
            ("Content-Length: 99999999999999999999", BadHead::Length),
            ("Transfer-Encoding: gzip, chunked", BadHead::Coding),
            ("Transfer-Encoding: chunked, chunked", BadHead::Coding),
        ];
        for (headers, want) in table {
            let input = format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n");
            assert_eq!(seen(input.as_bytes()), Err(want), "{headers}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_however_they_come(lines in prop::collection::vec("(?-u:[\\x00-\\x7f]{0,20})|Content-Length: [0-9]{1,3}|Transfer-Encoding: chunked|HTTP/1\\.1 [12]00 OK", 0..6), ends in prop::collection::vec("\r\n|\n", 6)) {
            let mut input = b"HTTP/1.1 200 OK\r\n".to_vec();
            for (line, end) in lines.iter().zip(&ends) {
                input.extend([line.as_bytes(), end.as_bytes()].concat());
            }
            input.extend(b"\r\n\r\nrest");
            let whole = seen(&input);
            if let Ok(Some((_, _, len))) = &whole {
                prop_assert_eq!(&seen(&input[..*len]), &whole, "what follows has no part in it");
                for cut in 0..*len {
                    prop_assert_eq!(seen(&input[..cut]), Ok(None), "cut at {}", cut);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = seen(&input);
            let _any = seen(&[b"HTTP/1.1 200 OK\r\n", &input[..], b"\n\n"].concat());
        }
    }
}
