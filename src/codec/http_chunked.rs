//! The chunked transfer coding (RFC 9112, 7.1), as a machine that takes the bytes in parts of any size. Chunk
//! extensions and trailers are skipped; lines may end in LF alone. Knows neither the contents of the chunks nor their
//! source.

/// 4 KiB for the line of a chunk, and for all trailers together: such lines hold a number, rarely a signature.
const MAX_LINES_LEN: usize = 4096;

/// Decodes a body that arrives in chunks.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    /// The received part of a line that is not complete.
    line: Vec<u8>,
    /// The number of bytes of trailers so far.
    trailers: usize,
}

/// What must follow in the stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The line with a chunk's length must follow.
    #[default]
    Size,
    /// This number of bytes of the chunk must follow.
    Data(u64),
    /// The end of the line after a chunk must follow.
    AfterData,
    /// Trailers must follow, or the empty line after them.
    Trailers,
    /// The body is complete.
    Done,
}

/// The bytes are not in the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its chunks are broken")]
pub struct BadChunk;

impl Chunked {
    /// Whether the body is complete. Bytes that follow are not part of it.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next bytes of the connection and appends the decoded bytes to `body`.
    pub fn take(&mut self, mut input: &[u8], body: &mut Vec<u8>) -> Result<(), BadChunk> {
        while !input.is_empty() && !self.is_done() {
            if let State::Data(left) = self.state {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at_checked(most).ok_or(BadChunk)?;
                body.extend_from_slice(data);
                input = rest;
                let left = left.saturating_sub(data.len() as u64);
                self.state = if left == 0 { State::AfterData } else { State::Data(left) };
                continue;
            }
            let end = input.iter().position(|byte| *byte == b'\n');
            let (part, rest) = input.split_at_checked(end.unwrap_or(input.len())).ok_or(BadChunk)?;
            if self.line.len().saturating_add(part.len()) > MAX_LINES_LEN {
                return Err(BadChunk);
            }
            self.line.extend_from_slice(part);
            if end.is_none() {
                return Ok(());
            }
            input = rest.get(1..).unwrap_or_default();
            self.end_of_line()?;
        }
        Ok(())
    }

    /// Handles a complete line and determines the next state.
    fn end_of_line(&mut self) -> Result<(), BadChunk> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.state = match self.state {
            State::Size => match size(line)? {
                0 => State::Trailers,
                size => State::Data(size),
            },
            State::AfterData if line.is_empty() => State::Size,
            State::Trailers if line.is_empty() => State::Done,
            State::Trailers => {
                self.trailers = self.trailers.saturating_add(line.len());
                if self.trailers > MAX_LINES_LEN {
                    return Err(BadChunk);
                }
                State::Trailers
            }
            State::AfterData | State::Data(_) | State::Done => return Err(BadChunk),
        };
        Ok(())
    }
}

/// The length in a chunk's line, for example `5` or `1A ;ext=1`: hexadecimal digits, then nothing, blanks or an
/// extension.
fn size(line: &[u8]) -> Result<u64, BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(BadChunk)?;
    let rest = rest.trim_ascii_start();
    if !rest.is_empty() && !rest.starts_with(b";") {
        return Err(BadChunk);
    }
    let digits = std::str::from_utf8(digits).map_err(|_never| BadChunk)?;
    u64::from_str_radix(digits, 16).map_err(|_empty_or_huge| BadChunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The decoded body, and whether it is complete.
    fn read(input: &[u8], cut: usize) -> Result<(Vec<u8>, bool), BadChunk> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        for part in input.chunks(cut.max(1)) {
            chunked.take(part, &mut body)?;
        }
        Ok((body, chunked.is_done()))
    }

    /// The decoded body, and whether it is complete.
    type Read<'a> = Result<(&'a str, bool), BadChunk>;

    #[test]
    fn chunks_are_read_as_servers_write_them() {
        let long = format!("0\r\n{}\r\n\r\n", "x".repeat(MAX_LINES_LEN + 1));
        let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(MAX_LINES_LEN / 4 + 1));
        let table: [(&str, Read<'_>); 17] = [
            ("5\r\nhello\r\n0\r\n\r\n", Ok(("hello", true))),
            ("5\nhello\n0\n\n", Ok(("hello", true))),
            ("5;a=b\r\nhello\r\n1 \r\n!\r\n000\r\n\r\n", Ok(("hello!", true))),
            ("A\r\n0123456789\r\n0\r\nChecksum: x\r\nOther: y\r\n\r\nbehind", Ok(("0123456789", true))),
            ("", Ok(("", false))),
            ("5\r\nhel", Ok(("hel", false))),
            ("5\r\nhello\r\n", Ok(("hello", false))),
            ("5\r\nhello\r\n0\r\n", Ok(("hello", false))),
            ("5\r\nhello\r\n0\r\nTrailer: x\r\n", Ok(("hello", false))),
            ("\r\n", Err(BadChunk)),
            ("zz\r\n", Err(BadChunk)),
            ("-5\r\nhello\r\n", Err(BadChunk)),
            ("5 5\r\nhello\r\n", Err(BadChunk)),
            ("5\r\nhello!\r\n0\r\n\r\n", Err(BadChunk)),
            ("11111111111111111\r\n", Err(BadChunk)),
            (&long, Err(BadChunk)),
            (&many, Err(BadChunk)),
        ];
        for (input, want) in table {
            for cut in [1, 2, 3, 7, input.len()] {
                let got = read(input.as_bytes(), cut).map(|(body, done)| (String::from_utf8(body).unwrap(), done));
                let want = want.map(|(body, done)| (body.to_owned(), done));
                assert_eq!(got, want, "{:?} in cuts of {cut}", input.get(..60));
            }
        }
    }

    proptest! {
        #[test]
        fn where_it_is_cut_does_not_matter(input in "([0-5]?(;x)?\r?\n(.{0,5}\r?\n)?){0,8}(0\r\n\r\n)?", cut in 1_usize..9) {
            prop_assert_eq!(read(input.as_bytes(), cut), read(input.as_bytes(), input.len()));
        }

        #[test]
        fn a_body_comes_out_as_it_went_in(body in prop::collection::vec(any::<u8>(), 0..200), chunk in 1_usize..50, cut in 1_usize..50) {
            let mut coded = Vec::new();
            for part in body.chunks(chunk) {
                coded.extend([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            coded.extend(b"0\r\n\r\n");
            prop_assert_eq!(read(&coded, cut), Ok((body, true)));
        }
    }
}
