//! The catalogue of faults: everything that goes wrong around a BitTorrent client, by id. The scenarios of the layers
//! say which entries they cover; an entry that no scenario covers gives the reason here.

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// A letter (`T` trackers, `P` peers, `D` disk, `X` process, `N` network) and a number.
    pub id: &'static str,
    /// What goes wrong.
    pub title: &'static str,
    /// Why no scenario covers it; `None` if one does.
    pub why_not: Option<&'static str>,
}

const fn entry(id: &'static str, title: &'static str) -> CatalogueEntry {
    CatalogueEntry { id, title, why_not: None }
}

const fn not_yet(id: &'static str, title: &'static str, why_not: &'static str) -> CatalogueEntry {
    CatalogueEntry { id, title, why_not: Some(why_not) }
}

/// The hundred entries of the first plan, and those that were found later.
#[rustfmt::skip]
pub const ENTRIES: [CatalogueEntry; 104] = [
    entry("T-01", "TCP refused / ICMP unreachable"),
    entry("T-02", "SYN black hole"),
    entry("T-03", "accepts, never answers"),
    entry("T-04", "slow drip 1 B/s headers, then body"),
    entry("T-05", "garbage / HTML / truncated bencode"),
    entry("T-06", "huge body 1 GB; gzip bomb 1000:1"),
    entry("T-07", "redirect loop; http to file/ftp; 20 hops; cross-origin"),
    entry("T-08", "HTTP 404/403/503+Retry-After/301 permanent"),
    entry("T-09", "`failure reason` (text with ESC/newlines/1 MB)"),
    entry("T-10", "`warning message`"),
    entry("T-11", "UDP wrong transaction id / action / connection id"),
    entry("T-12", "UDP truncated (1 to 19 B), peers not x6, length lies"),
    entry("T-13", "UDP reply from another address/port"),
    entry("T-14", "UDP connect ok, announce lost n times"),
    entry("T-15", "interval negative / 0 / 1 / 2^31 / 2^63 / missing / string"),
    entry("T-16", "duplicated peers x10,000"),
    entry("T-17", "self in peers (v4, v6, NATed)"),
    entry("T-18", "all dead peers (black hole)"),
    entry("T-19", "private/loopback/multicast/0.0.0.0/port 0/port<1024 peers from a *public* tracker"),
    entry("T-20", "victim list: 200 entries, one third-party IP, many ports"),
    entry("T-21", "IPv6 only / dual / v4-mapped / link-local"),
    entry("T-22", "NXDOMAIN, 30 s DNS, flapping DNS, name to loopback (rebinding)"),
    entry("T-23", "TLS: expired / wrong host / self-signed / TLS1.0"),
    entry("T-24", "500 trackers in one torrent / 10,000 torrents on one tracker"),
    entry("T-25", "tracker dies between started and stopped; hung on shutdown"),
    entry("P-01", "refused; black-hole at connect"),
    entry("P-02", "accepts, silent; handshake 1 B/s"),
    entry("P-03", "RST right after handshake, repeatedly"),
    entry("P-04", "wrong pstrlen/protocol/info-hash"),
    entry("P-05", "peer-id is not tracker's; same id as another peer; own id"),
    entry("P-06", "no bitfield at all"),
    entry("P-07", "bitfield short/long/twice/late/after have_all"),
    entry("P-08", "spare bits set"),
    entry("P-09", "message length 2^32−1, 1 MiB+1, 0x7fffffff drip"),
    entry("P-10", "unknown ids 21 to 255, extended ids unknown"),
    entry("P-11", "choke forever; unchoke/choke flapping 100/s"),
    entry("P-12", "snub: unchoked, no data"),
    entry("P-13", "drip 1 B/s inside a block"),
    entry("P-14", "corrupt blocks: every, 1 %, one bit, only last block, only when alone"),
    entry("P-15", "all peers corrupt one piece (poisoned torrent)"),
    entry("P-16", "right data, wrong index/begin/length; overlaps; beyond piece end"),
    entry("P-17", "unrequested / duplicate / late-after-cancel blocks"),
    entry("P-18", "lying have / have_all then rejects"),
    entry("P-19", "have index at least n, suggest/allowed-fast out of range"),
    entry("P-20", "request flood 10,000; requests of 0 B, 2^31 B, >128 KiB"),
    entry("P-21", "requests pieces we lack; never reads our data (zero window)"),
    entry("P-22", "PEX flood: 10,000 peers/min, private, duplicates, same victim"),
    entry("P-23", "ut_metadata: size 0/1/3 GB/negative, wrong hash, wrong piece no., reject all, size changes"),
    entry("P-24", "extended handshake: depth-10,000 bencode, 1 MB `v`, port 0, reqq −1/2^31"),
    entry("P-25", "half-open (peer vanished, no FIN)"),
    entry("P-26", "RST every N bytes, N swept 1 to 20,000 (mid-header, mid-block)"),
    entry("P-27", "slicer 1-byte segments; coalesced 1 MB reads"),
    entry("P-28", "5,000 inbound connects in 10 s; 1 IP x1,000; slowloris 500"),
    not_yet("P-29", "MSE: bad VC, PadB 512+, garbage 10 MB, wrong crypto_select, downgrade", "needs protocol encryption (MSE), which does not exist yet"),
    not_yet("P-30", "uTP: bad seq, ack of unsent, window 0 for ever, RESET spoof, SYN flood, tiny-MTU", "needs uTP, which does not exist yet"),
    entry("P-31", "endgame races: same block from 10 peers; verify-vs-have race"),
    entry("P-32", "all peers leave at 99 % for 1 h, then one returns"),
    not_yet("P-33", "DHT: sybil ids near hash, bogus nodes, values of junk, 10 k pkt/s, wrong tid, oversized", "needs the DHT, which does not exist yet"),
    entry("D-01", "ENOSPC on k-th write, k swept (strace, tmpfs)"),
    entry("D-02", "ENOSPC while writing resume/journal"),
    entry("D-03", "EIO on k-th write (once / persistent)"),
    entry("D-04", "EIO/short read on upload or hash"),
    entry("D-05", "fsync/fdatasync fails"),
    entry("D-06", "short write (n<len), EINTR, EAGAIN"),
    entry("D-07", "slow fsync 5 s; slow write 100 ms; stall 60 s"),
    entry("D-08", "read-only dir / EACCES / EROFS mid-way (remount)"),
    entry("D-09", "file deleted / truncated / grown / rewritten / replaced / swapped mid-download"),
    not_yet("D-10", "output mount disappears (USB/NFS) ; ESTALE", "needs the watch over the output device, which does not exist yet"),
    entry("D-11", "path too long (component 255, total 4096), bad UTF-8, case-fold clash"),
    entry("D-12", "SIGKILL / power cut at every syscall boundary between data and resume (strace `signal=KILL:when=n`; loop image at random t)"),
    entry("D-13", "torn/truncated/bit-flipped/zero-length/foreign resume or journal"),
    entry("D-14", "resume from the future / other version / wrong info-hash"),
    entry("D-15", "finished data changed while it is served: truncated, grown, rewritten, replaced, deleted"),
    entry("D-16", "sparse/quotas: EDQUOT, EFBIG(RLIMIT_FSIZE), FAT 4 GiB"),
    entry("D-17", "10,000-file torrent, fd cap 64"),
    entry("D-18", "two processes on one state dir / one output"),
    entry("D-19", "output folder moved or removed mid-way"),
    entry("D-20", "two torrents want one file, in one run"),
    entry("D-21", "two processes want one file"),
    entry("D-22", "other programs do anything to the files at any time"),
    entry("X-01", "SIGINT/SIGTERM"),
    entry("X-02", "second SIGINT"),
    entry("X-03", "SIGKILL at random t, x1,000, resume each time"),
    entry("X-04", "panic in each actor x each message (failpoint sweep)"),
    entry("X-05", "crash loop (panic at start)"),
    entry("X-06", "panic in Drop / in supervisor / in metrics"),
    entry("X-07", "EMFILE/ENFILE (prlimit nofile 64)"),
    not_yet("X-08", "memory cap (cgroup 64 MiB)", "needs a control group with a memory limit, which few machines hand out"),
    entry("X-09", "clock jump +-1 h, +-1 y, to 1970; SIGSTOP 10 min (suspend)"),
    entry("X-10", "stdout/err closed, SIGPIPE, log disk full, terminal resize 0x0"),
    entry("X-11", "CPU starvation (cpu.cfs 5 %)"),
    not_yet("X-12", "upgrade/downgrade: state from version n+-1", "there is only one version of the record so far"),
    entry("N-01", "full partition 1 s/60 s/10 min, then heal"),
    entry("N-02", "one-way partition"),
    entry("N-03", "swizzle-clog of half the peers"),
    not_yet("N-04", "loss 1/5/20/40 %, burst loss (uTP, UDP tracker, DHT)", "needs uTP or the DHT, which do not exist yet"),
    not_yet("N-05", "reorder 25 %, duplicate 10 %, jitter 0 to 500 ms (uTP)", "needs uTP, which does not exist yet"),
    not_yet("N-06", "corrupt UDP payload (checksum-passing)", "needs uTP or the DHT, which do not exist yet"),
    not_yet("N-07", "bandwidth 8 KB/s; buffer bloat; MTU 576/1280/black-hole PMTU", "needs a link with a bandwidth and an MTU of its own"),
    not_yet("N-08", "interface down/up, IP change, default route change", "needs hosts of its own: tests/it/interface.rs tries down and up"),
    not_yet("N-09", "VPN/bind device disappears", "needs hosts of its own: tests/it/interface.rs tries it"),
    entry("N-10", "captive portal (HTTP 302/200 HTML for all)"),
    not_yet("N-11", "NAT rebinding, port reuse, ECONNREFUSED on UDP", "needs a network with address translation"),
    not_yet("N-12", "proxy: SOCKS5 half-way death, UDP ASSOCIATE closed early", "needs proxies, which do not exist yet"),
];

/// Returns the entry with this id.
pub fn find(id: &str) -> Option<&'static CatalogueEntry> {
    ENTRIES.iter().find(|entry| entry.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_are_counted_and_each_is_found() {
        let count = |letter| ENTRIES.iter().filter(|entry| entry.id.starts_with(letter)).count();
        assert_eq!(['T', 'P', 'D', 'X', 'N'].map(count), [25, 33, 22, 12, 12]);
        for (nth, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(ENTRIES.iter().position(|other| other.id == entry.id), Some(nth), "{entry:?}");
            assert_eq!(find(entry.id), Some(entry));
        }
    }
}
