//! The scheme of a tracker's URL: the protocol by which the tracker is asked.

/// A scheme that this client supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP (BEP 3).
    Http,
    /// HTTP through TLS.
    Https,
    /// UDP (BEP 15).
    Udp,
}

impl Scheme {
    /// The scheme of a URL, in upper or lower case: "schemes are case-insensitive" (RFC 3986, 3.1). `None` if the
    /// scheme is another one, or if the text is no URL.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, _rest) = url.split_once("://")?;
        let known = [("http", Self::Http), ("https", Self::Https), ("udp", Self::Udp)];
        known.into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name)).map(|(_, known)| known)
    }

    /// Whether the scheme is HTTP, with or without TLS.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_known_in_any_case() {
        let table = [
            ("http://t/announce", Some(Scheme::Http)),
            ("HTTP://t/announce", Some(Scheme::Http)),
            ("HttpS://t", Some(Scheme::Https)),
            ("UDP://t:80", Some(Scheme::Udp)),
            ("udp://", Some(Scheme::Udp)),
            ("udp:t", None),
            ("wss://t", None),
            (" http://t", None),
            ("", None),
        ];
        for (url, want) in table {
            assert_eq!(Scheme::of(url), want, "{url}");
        }
    }
}
