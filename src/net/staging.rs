//! [`Staging`]: the read buffers of one torrent, on its arbiter. They are large, shared by all its connections, and
//! reused.
//!
//! A connection borrows a chunk while bytes can be read and returns it before it waits. If a frame has arrived in part,
//! the connection keeps the chunk and reads the rest into it: nothing is copied, however many parts there are. Blocks
//! are slices of the chunk they were read into. A used chunk stays here until its last block has been written, and is
//! then used again, so that no new memory is touched.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;

use crate::base::geometry::BLOCK_LEN;
use crate::base::limits::BLOCKS_A_READ;
use crate::codec::wire::{Message, PIECE_HEADER_LEN};

/// The length in bytes of a `piece` message with a whole block (BEP 3).
const FRAME_LEN: usize = PIECE_HEADER_LEN + BLOCK_LEN as usize;

/// 64 bytes: room for some `have` messages between blocks.
const ROOM_FOR_HAVES: usize = 64;

/// 16 whole frames, so that the end of a chunk does not cut a frame in a stream of blocks.
pub const CHUNK_LEN: usize = BLOCKS_A_READ * FRAME_LEN + ROOM_FOR_HAVES;

/// 512 bytes: a shorter part of a frame is copied out of its chunk, so that the chunk can serve other connections.
const COPIED_BELOW: usize = 512;

/// 256 used chunks, 64 MiB: as many as the blocks in flight of a fast download can occupy at once.
const MAX_RESTING: usize = 256;

/// 4 used chunks are checked before a new one is made: blocks are released roughly in the order in which they were
/// read.
const LOOK_AT: usize = 4;

/// The read buffers of a torrent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Staging(Rc<RefCell<Pool>>);

/// The chunks that no connection has (those with room for a block, and used ones), and the list for messages.
#[derive(Debug, Default)]
struct Pool {
    fresh: Vec<BytesMut>,
    resting: VecDeque<BytesMut>,
    inbox: Vec<Message>,
}

impl Staging {
    /// Whether the chunk has room for a block from the start of the current frame, and some of that room is unused.
    pub fn has_room(chunk: &BytesMut) -> bool {
        chunk.capacity() >= FRAME_LEN && chunk.len() < chunk.capacity()
    }

    /// Returns a chunk with room that begins with `partial`: the chunk that holds it, if it has room, else another one.
    pub fn resume(&self, partial: BytesMut) -> BytesMut {
        if Self::has_room(&partial) {
            return partial;
        }
        let mut chunk = self.take(partial.len() + FRAME_LEN);
        chunk.extend_from_slice(&partial);
        if partial.len() >= COPIED_BELOW {
            self.give_back(partial);
        }
        chunk
    }

    /// Takes back a chunk. If it begins with a partial frame, returns that: a short one as a copy, a longer one in its
    /// chunk.
    pub fn suspend(&self, chunk: BytesMut) -> BytesMut {
        if chunk.len() >= COPIED_BELOW {
            return chunk;
        }
        let partial = BytesMut::from(&chunk[..]);
        self.give_back(chunk);
        partial
    }

    /// Lends the list for the messages of one turn. It is empty.
    pub fn take_inbox(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.borrow_mut().inbox)
    }

    /// Takes back the list that [`Self::take_inbox`] has lent, and clears it.
    pub fn give_back_inbox(&self, mut inbox: Vec<Message>) {
        inbox.clear();
        self.0.borrow_mut().inbox = inbox;
    }

    /// Returns an empty chunk with room for `len` bytes, and for at least a block.
    fn take(&self, len: usize) -> BytesMut {
        let mut pool = self.0.borrow_mut();
        if let Some(chunk) = pool.fresh.pop_if(|chunk| chunk.capacity() >= len) {
            return chunk;
        }
        let len = len.max(CHUNK_LEN);
        for _ in 0..LOOK_AT.min(pool.resting.len()) {
            if let Some(mut chunk) = pool.resting.pop_front() {
                if chunk.try_reclaim(len) {
                    return chunk;
                }
                pool.resting.push_back(chunk);
            }
        }
        BytesMut::with_capacity(len)
    }

    /// Takes back the unused rest of a chunk. Its content is dropped.
    fn give_back(&self, mut chunk: BytesMut) {
        chunk.clear();
        let mut pool = self.0.borrow_mut();
        if chunk.capacity() >= FRAME_LEN {
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
    fn a_list_is_reused_empty() {
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
        let mut chunk = staging.take(0);
        chunk.resize(CHUNK_LEN, 7);
        let blocks = chunk.split().freeze();
        let home = blocks.as_ptr();
        staging.give_back(chunk);
        let other = staging.take(0);
        assert_ne!(other.as_ptr(), home, "its blocks are still in use");
        drop(blocks);
        let again = staging.take(0);
        assert_eq!(again.as_ptr(), home);
        assert!(again.is_empty() && again.capacity() >= CHUNK_LEN);
    }

    #[test]
    fn part_of_a_frame_stays_where_it_is_until_its_chunk_is_spent() {
        let staging = Staging::default();
        let mut chunk = staging.resume(BytesMut::new());
        chunk.resize(15 * FRAME_LEN + 9000, 1);
        std::hint::black_box(chunk.split_to(15 * FRAME_LEN));
        let home = chunk.as_ptr();
        let partial = staging.suspend(chunk);
        let mut others = staging.resume(BytesMut::new());
        others.resize(700, 2);
        let mut chunk = staging.resume(partial);
        assert_eq!((chunk.as_ptr(), chunk.len()), (home, 9000), "the sixteenth block fits");
        chunk.resize(FRAME_LEN + 10, 1);
        std::hint::black_box(chunk.split_to(FRAME_LEN));
        assert!(!Staging::has_room(&chunk), "the seventeenth does not");
        let partial = staging.suspend(chunk);
        let chunk = staging.resume(partial);
        assert!(chunk == [1; 10][..] && others == [2; 700][..] && Staging::has_room(&chunk));
    }

    #[test]
    fn a_few_bytes_keep_no_chunk() {
        let staging = Staging::default();
        let mut chunk = staging.resume(BytesMut::new());
        chunk.resize(COPIED_BELOW - 1, 2);
        let partial = staging.suspend(chunk);
        assert!(partial.capacity() < 2 * COPIED_BELOW);
        let mut chunk = staging.resume(BytesMut::new());
        assert!(chunk.try_reclaim(CHUNK_LEN), "no other buffer has a part of the chunk");
        staging.give_back(chunk);
        assert_eq!(staging.resume(partial), [2; COPIED_BELOW - 1][..]);
        assert!(staging.0.borrow().resting.is_empty(), "what was copied out is no chunk");
    }

    #[test]
    fn a_frame_longer_than_a_chunk_finds_room() {
        let staging = Staging::default();
        let mut partial = BytesMut::new();
        for len in (CHUNK_LEN / 2..3 * CHUNK_LEN).step_by(FRAME_LEN) {
            let mut chunk = staging.resume(partial);
            assert!(chunk.len() < chunk.capacity());
            let room = chunk.capacity();
            chunk.resize(len.min(room), 5);
            partial = staging.suspend(chunk);
        }
        assert!(partial.len() > 2 * CHUNK_LEN && partial.iter().all(|byte| *byte == 5));
    }

    /// Segments of many connections arrive in turns: each connection fills its chunks with blocks, and nothing is
    /// wasted.
    #[test]
    fn connections_in_turns_waste_no_chunk() {
        let staging = Staging::default();
        let (mut partials, mut blocks) = (vec![BytesMut::new(); 16], Vec::new());
        for turn in 0..16 * 12 * 64 {
            let nth = turn * 7 % 16;
            let mut chunk = staging.resume(std::mem::take(&mut partials[nth]));
            let room = chunk.capacity() - chunk.len();
            chunk.resize(chunk.len() + room.min(1400), 6);
            while chunk.len() >= FRAME_LEN {
                blocks.push(chunk.split_to(FRAME_LEN));
            }
            partials[nth] = staging.suspend(chunk);
        }
        let spent = staging.0.borrow().resting.len();
        assert!(blocks.len() > 15 * spent && blocks.len() > 900, "{} blocks, {spent} spent chunks", blocks.len());
    }

    #[test]
    fn the_pool_does_not_grow_without_bound() {
        let staging = Staging::default();
        for _ in 0..3 * MAX_RESTING {
            let mut chunk = staging.take(0);
            chunk.resize(CHUNK_LEN, 0);
            std::hint::black_box(chunk.split());
            staging.give_back(chunk);
        }
        assert!(staging.0.borrow().resting.len() <= MAX_RESTING);
    }
}
