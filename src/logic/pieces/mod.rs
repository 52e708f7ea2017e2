//! Which block is asked of whom, and what becomes of a piece until it is hashed.

pub mod assembly;
pub mod block_senders;
pub mod picker;
pub mod scheduler;
pub mod suspects;
