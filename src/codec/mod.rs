//! Floor 1: bytes to values and back. Knows base and `serde_bencode`; does not know sockets, clocks or decisions.
