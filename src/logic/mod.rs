//! Floor 2: every rule of BitTorrent as plain structs. No actix, no tokio, no files, no sockets, no clock, no global random numbers.
//!
//! # The contract of every machine
//!
//! 1. **Mutate**: call one `on_*(now, input)`. The time is an argument; a machine never reads a clock.
//! 2. **Drain**: call `poll()` until it returns `None`, and perform every effect that it returns.
//! 3. **Wait**: arm one timer to `deadline()`. When it fires, call `on_timeout(now)` and go on with step 2.
//!
//! The caller does all three after **every** input. A machine never calls back, never blocks and never performs an effect itself, so
//! that a test is a list of inputs and effects. All random choices follow from a seed that is handed in. A machine
//! without effects has no `poll()`, and one without time limits has no `deadline()`.
//!
//! # The machines
//!
//! | machine | file | decides | driven by |
//! |---|---|---|---|
//! | `PeerProtocol` | `peer/protocol/` | one connection after the handshake: choking, interest, requests, answers, violations | `PeerConnection` |
//! | `Pipeline` | `peer/requests/` | how many requests are outstanding at one peer, and which are overdue | `PeerProtocol` |
//! | `Uploads` | `peer/uploads.rs` | which requests of one peer are read and sent next | `PeerProtocol` |
//! | `GrantCounts` | `peer/allowed_fast.rs` | how many bytes a network is given while choked | `PeerProtocol`, shared by a torrent |
//! | `PeerBook` | `peers/peer_book/` | which addresses are dialled and when, which connections are kept, who is banned | `PeerPool` |
//! | `Choker` | `peers/choke/` | which peers are unchoked, and how many at once | `PeerPool` |
//! | `PexFeed` | `peers/pex.rs` | which peers are told of which others | `PeerPool` |
//! | `PexListener` | `peers/pex.rs` | which peer exchange messages are read | `PeerProtocol` |
//! | `SuperSeed` | `peers/super_seed.rs` | which piece a super-seed announces to which peer | `PeerPool` |
//! | `ExternalIp` | `peers/external_ip.rs` | which external address to believe | `PeerPool` |
//! | `UploadCounts` | `peers/upload_counts.rs` | which pieces were uploaded to how many peers | `Uploads`, shared by a torrent |
//! | `PendingInbound` | `peers/pending_inbound.rs` | which inbound connections may wait for their handshake | `Listener` |
//! | `Scheduler` | `pieces/scheduler/` | which block is requested from which peer, within the credit | `PieceScheduler` |
//! | `Picker` | `pieces/picker.rs` | which piece is opened next | `Scheduler` |
//! | `Assembly` | `pieces/assembly.rs` | which blocks of an open piece are free, requested or received | `Scheduler` |
//! | `Suspects` | `pieces/suspects.rs` | which peers sent bad data, and when a failed piece is fetched again | `Scheduler` |
//! | `TorrentLifecycle` | `torrent/lifecycle/` | the state of a torrent: which children run, when it is complete, what a command does | `Torrent` |
//! | `SurveyClock` | `torrent/survey_clock.rs` | when a torrent surveys its children | `TorrentLifecycle` |
//! | `SeedingGoal`, `SeedingTime` | `torrent/seeding_goal.rs` | when a complete torrent stops seeding | `TorrentLifecycle` |
//! | `TransferTotals` | `torrent/transfer.rs` | what was received and sent in this run | `Torrent` |
//! | `why` | `torrent/why.rs` | the one reason for a torrent's present speed | `Torrent` |
//! | `WantedPieces` | `torrent/selection.rs` | which pieces follow from the selected files | `app`, `PieceScheduler` |
//! | `Announcer` | `trackers/announce.rs` | when one tracker is announced to, and with which event | `HttpTracker`, `UdpTracker` |
//! | `Tiers` | `trackers/tiers.rs` | which trackers are in use | `TrackerSupervisor` |
//! | `TrackerProbe` | `trackers/probe.rs` | which failed tracker is asked early | `TrackerSupervisor` |
//! | `Outcomes` | `trackers/families.rs` | whether a tracker works that is asked over IPv4 and IPv6 | `TrackerSupervisor` |
//! | `UdpExchange` | `trackers/udp_exchange.rs` | one exchange with a UDP tracker | `net::tracker_udp` |
//! | `WriteBatch` | `disk/write_batch.rs` | how many pieces are hashed and written together | `DiskWriter` |
//! | `FlushClock` | `disk/flush.rs` | when written pieces are synced and recorded | `DiskWriter` |
//! | `Unsynced` | `disk/unsynced.rs` | which pieces a failed sync leaves in doubt | `DiskWriter` |
//! | `DiskHealth` | `disk/health.rs` | what to do about disk trouble | `DiskWriter` |
//! | `Unreadable` | `disk/unreadable.rs` | when a piece that could not be read is tried again, and when it is lost | `DiskWriter` |
//! | `FileWatch` | `disk/file_watch.rs` | whether another program has changed a file | `storage` |
//! | `trust` | `disk/resume.rs` | which part of a resume record to trust | `storage` |
//! | `FoundFiles` | `disk/ownership.rs` | whether a file without a record belongs to the torrent | `storage` |
//! | `Layout`, `PartMap` | `disk/layout.rs`, `disk/part_file_layout.rs` | where each byte of a torrent is stored | `storage` |
//! | `FileFacts` | `disk/piece_condition.rs` | what `verify` calls missing or damaged | `cli` |
//! | `TrackerDesk` | `tracker_server/` | every answer of the tracker that we serve | `SwarmKeeper` |
//! | `Bucket` | `bucket.rs` | how many bytes may be moved now, and by which connection | `net::throttle` |
//! | `History` | `restart.rs` | whether and when a failed child starts again | `kit::guard`, `kit::children` |
//!
//! Plain functions: `peers/address.rs` (the class of an address), `peer/client_name/` (the name of a client). Meters: `rate.rs`
//! and `flow.rs` (bytes a second), `busy_ratio.rs` (percent of the time).

pub mod bucket;
pub mod busy_ratio;
pub mod disk;
mod flow;
pub mod peer;
pub mod peers;
pub mod pieces;
pub mod rate;
pub mod restart;
#[cfg(test)]
pub(crate) mod testing;
pub mod torrent;
pub mod tracker_server;
pub mod trackers;
