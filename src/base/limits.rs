//! The limits that more than one floor must agree on. A limit that one file alone needs lives in that file.

use std::time::Duration;

/// 2 Mi pieces: the number that S-05 allows; 1 TiB at 512 KiB a piece. Bounds every per-piece table.
pub const MAX_PIECES: u32 = 2 * 1024 * 1024;

/// 256 MiB: four times the largest piece length seen in the wild (64 MiB), small enough to bound a piece buffer (S-05).
pub const MAX_PIECE_LEN: u32 = 256 * 1024 * 1024;

/// 128 KiB: the largest request that any client answers (BEP 3 names 2^17 as the point where peers close).
pub const MAX_REQUEST_LEN: u32 = 128 * 1024;

/// 16 blocks in one read; larger reads no longer save anything measurable.
pub const BLOCKS_A_READ: usize = 16;

/// 15 s: time for the kernel's own SYN retries at 1, 3 and 7 s. An address that never answers holds its slot no longer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// 10 s for the whole handshake, however slowly its bytes arrive (P-02).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// 120 s of silence: keep-alives are "generally sent once every two minutes" (BEP 3); this client sends one every 100
/// s.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);

/// 100 s: the keep-alive arrives in time at peers that close after 120 s of silence.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(100);

/// 30 s for one whole announce or scrape, from look-up to the last byte of the reply (T-02, T-04).
pub const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(30);

/// 1 MiB after inflation: 15 times the largest honest reply, 10,000 peers in the dictionary model (T-06).
pub const MAX_TRACKER_REPLY: usize = 1024 * 1024;

/// 3,000 peers are kept of one reply: the same order of magnitude as in aria2 and libtorrent (T-16).
pub const MAX_PEERS_PER_REPLY: usize = 3000;

/// 64 MiB: the 2 Mi pieces of `MAX_PIECES` need 40 MiB of hashes; the rest is room for file names.
pub const MAX_TORRENT_FILE: u64 = 64 * 1024 * 1024;
