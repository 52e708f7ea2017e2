//! Read buffers of one torrent, on its arbiter: large, shared by all its connections, used again.
//!
//! A connection borrows a chunk while there is something to read and gives it back before it waits, so an idle peer
//! keeps no more than a partial frame. Blocks are slices of the chunk they arrived in; a spent chunk rests here until
//! its last block has been written, and then serves again without a new page being touched.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;

use crate::codec::wire::Message;

/// 256 KiB: sixteen blocks a read; larger reads no longer save anything measurable.
pub const CHUNK_LEN: usize = 256 * 1024;

/// A chunk with less room than a block and its header is spent: the next read deserves a fresh one.
pub const SPENT_BELOW: usize = 16 * 1024 + 64;

/// 256 spent chunks, 64 MiB: as many as the blocks in flight of a fast download can pin at once.
const MAX_RESTING: usize = 256;

/// Spent chunks looked at before a new one is made: blocks come home roughly in the order they went out.
const LOOK_AT: usize = 4;

/// The pool of a torrent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Staging(Rc<RefCell<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    fresh: Vec<BytesMut>,
    resting: VecDeque<BytesMut>,
    inbox: Vec<Message>,
}

impl Staging {
    /// An empty chunk with room for at least a block.
    pub fn take(&self) -> BytesMut {
        let mut pool = self.0.borrow_mut();
        if let Some(chunk) = pool.fresh.pop() {
            return chunk;
        }
        for _ in 0..LOOK_AT.min(pool.resting.len()) {
            if let Some(mut chunk) = pool.resting.pop_front() {
                if chunk.try_reclaim(CHUNK_LEN) {
                    return chunk;
                }
                pool.resting.push_back(chunk);
            }
        }
        BytesMut::with_capacity(CHUNK_LEN)
    }

    /// An empty list for the messages of one turn.
    pub fn take_inbox(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.borrow_mut().inbox)
    }

    /// Takes it back. Its content is dropped.
    pub fn give_back_inbox(&self, mut inbox: Vec<Message>) {
        inbox.clear();
        self.0.borrow_mut().inbox = inbox;
    }

    /// Takes back what is left of a chunk. Its content is dropped.
    pub fn give_back(&self, mut chunk: BytesMut) {
        chunk.clear();
        let mut pool = self.0.borrow_mut();
        if chunk.capacity() >= SPENT_BELOW {
            if pool.fresh.len() < LOOK_AT {
                pool.fresh.push(chunk);
            }
        } else {
            if pool.resting.len() >= MAX_RESTING {
                pool.resting.pop_front();
            }
            pool.resting.push_back(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_serves_again_and_keeps_nothing() {
        let staging = Staging::default();
        let mut inbox = staging.take_inbox();
        inbox.extend([Message::Choke, Message::Unchoke]);
        let home = inbox.as_ptr();
        assert_eq!(staging.take_inbox().capacity(), 0, "who has a turn within a turn has a list of its own");
        staging.give_back_inbox(inbox);
        let again = staging.take_inbox();
        assert!(again.is_empty() && again.as_ptr() == home);
    }

    #[test]
    fn a_spent_chunk_serves_again_once_its_blocks_are_gone() {
        let staging = Staging::default();
        let mut chunk = staging.take();
        chunk.resize(CHUNK_LEN, 7);
        let blocks = chunk.split().freeze();
        let home = blocks.as_ptr();
        staging.give_back(chunk);
        let other = staging.take();
        assert_ne!(other.as_ptr(), home, "its blocks are still in use");
        drop(blocks);
        let again = staging.take();
        assert_eq!(again.as_ptr(), home);
        assert!(again.is_empty() && again.capacity() >= CHUNK_LEN);
    }

    #[test]
    fn the_pool_does_not_grow_without_bound() {
        let staging = Staging::default();
        for _ in 0..3 * MAX_RESTING {
            let mut chunk = staging.take();
            chunk.resize(CHUNK_LEN, 0);
            std::hint::black_box(chunk.split());
            staging.give_back(chunk);
        }
        assert!(staging.0.borrow().resting.len() <= MAX_RESTING);
    }
}
