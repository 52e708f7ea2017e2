//! What became of a piece that was given to the disk.

/// The disk's answer for a piece that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The hash is right and the piece is written.
    Durable,
    /// The hash is wrong: some block is bad.
    HashMismatch,
    /// The write failed: the blocks are lost and are requested again.
    Failed,
}
