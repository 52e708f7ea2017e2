//! Decisions about the disk: when pieces are written, synced and recorded, and which of the files and records to
//! trust.

pub mod file_watch;
pub mod flush;
pub mod health;
pub mod layout;
pub mod ownership;
pub mod part_file_layout;
pub mod piece_condition;
pub mod resume;
pub mod schedule;
pub mod trouble;
pub mod unreadable;
pub mod unsynced;
pub mod values;
pub mod write_batch;
pub mod write_outcome;
