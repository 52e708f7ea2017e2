//! stub
use crate::base::bitfield::Bitfield; use crate::base::geometry::{Geometry, PieceIndex}; use crate::codec::resume::{Record, Witness}; use super::layout::Layout;
pub struct Trust { pub have: Bitfield, pub check: Vec<PieceIndex>, pub reason: Option<String> }
pub fn trust(_: Option<&Record>, _: &[Option<Witness>], g: &Geometry, _: &Layout) -> Trust { Trust { have: Bitfield::none(g.piece_count()), check: g.pieces().collect(), reason: None } }
