//! What one connection passes to the scheduler for each block.

use bytes::Bytes;

use crate::base::geometry::BlockAddr;

/// One whole block that was received.
#[derive(Debug, Clone)]
pub struct ReceivedBlock {
    /// The address of the block.
    pub addr: BlockAddr,
    /// Its bytes, `addr.len()` of them.
    pub data: Bytes,
}
