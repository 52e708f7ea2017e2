//! Read buffers of one torrent, on its arbiter: large, shared by all its connections, used again.
//!
//! A connection borrows a chunk while there is something to read and gives back what is left of it before it waits, so an
//! idle peer keeps no more than a partial frame. That stays where it is: the rest of it is read behind it, unless another
//! connection has read there meanwhile. Blocks are slices of the chunk they arrived in; a spent chunk rests here until
//! its last block has been written, and then serves again without a new page being touched.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;

use crate::base::geometry::BLOCK_LEN;
use crate::codec::wire::Message;

/// A block and what stands before it in a `piece` message (BEP 3).
const FRAME_LEN: usize = 13 + BLOCK_LEN as usize;

/// Room for some `have` between blocks.
const ASIDE: usize = 64;

/// Sixteen blocks a read; larger reads no longer save anything measurable. Whole frames, so that of a stream of blocks none
/// is cut by the end of a chunk.
pub const CHUNK_LEN: usize = 16 * FRAME_LEN + ASIDE;

/// A chunk with less room than a block is spent: the next read deserves a fresh one.
pub const SPENT_BELOW: usize = FRAME_LEN + ASIDE;

/// The start of a frame that is shorter is copied: a few bytes should not keep a chunk from serving again.
const WORTH_ITS_PLACE: usize = 512;

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

    /// A chunk that begins with `partial`, which is copied only if somebody has read behind it since: a connection that
    /// is alone goes on where it was.
    pub fn take_behind(&self, mut partial: BytesMut) -> BytesMut {
        let mut chunk = self.take();
        if partial.as_ptr_range().end == chunk.as_ptr() {
            partial.unsplit(chunk);
            return partial;
        }
        chunk.extend_from_slice(&partial);
        chunk
    }

    /// Takes back what is left of a chunk behind its content, the start of a frame, and returns that.
    pub fn give_back_behind(&self, mut chunk: BytesMut) -> BytesMut {
        if chunk.len() < WORTH_ITS_PLACE {
            let partial = BytesMut::from(&chunk[..]);
            self.give_back(chunk);
            return partial;
        }
        self.give_back(chunk.split_off(chunk.len()));
        chunk
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

    /// A chunk that ends with the first `len` bytes of a frame, as a connection leaves it when it waits.
    fn waiting(staging: &Staging, len: usize) -> BytesMut {
        let mut chunk = staging.take();
        chunk.extend_from_slice(&vec![1; FRAME_LEN]);
        chunk.extend_from_slice(&vec![2; len]);
        std::hint::black_box(chunk.split_to(FRAME_LEN));
        staging.give_back_behind(chunk)
    }

    #[test]
    fn a_partial_frame_stays_where_it_is_while_nobody_reads_behind_it() {
        let staging = Staging::default();
        let partial = waiting(&staging, 9000);
        let home = partial.as_ptr();
        let again = staging.take_behind(partial);
        assert_eq!((again.as_ptr(), again.len()), (home, 9000));
        assert_eq!(again.capacity(), CHUNK_LEN - FRAME_LEN, "with all the room behind it");
        let partial = staging.give_back_behind(again);

        let mut other = staging.take();
        other.extend_from_slice(&[3; 700]);
        let others = staging.give_back_behind(other);
        let moved = staging.take_behind(partial);
        assert_ne!(moved.as_ptr(), home, "another connection has read behind it");
        assert!(moved == [2; 9000][..] && others == [3; 700][..] && moved.capacity() - moved.len() >= SPENT_BELOW);
    }

    #[test]
    fn a_few_bytes_keep_no_chunk() {
        let staging = Staging::default();
        let partial = waiting(&staging, WORTH_ITS_PLACE - 1);
        assert!(partial.capacity() < 2 * WORTH_ITS_PLACE);
        let mut chunk = staging.take();
        assert!(chunk.try_reclaim(CHUNK_LEN), "nobody else has a part of it");
        assert_eq!(staging.take_behind(partial), [2; WORTH_ITS_PLACE - 1][..]);
    }

    #[test]
    fn no_block_of_a_stream_is_cut_by_the_end_of_a_chunk() {
        let staging = Staging::default();
        let (mut partial, mut cut) = (BytesMut::new(), 0);
        for _ in 0..100 {
            let mut chunk = staging.take_behind(partial);
            let room = chunk.capacity();
            chunk.resize(room, 4);
            std::hint::black_box(chunk.split_to(room / FRAME_LEN * FRAME_LEN));
            partial = staging.give_back_behind(chunk);
            cut += partial.len();
        }
        assert!(cut <= 100 * ASIDE, "{cut} bytes were copied");
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
