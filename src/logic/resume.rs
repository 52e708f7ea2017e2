//! stub
use crate::base::bitfield::Bitfield; use crate::base::geometry::{Geometry, PieceIndex}; use crate::codec::resume::{Record, Witness}; use super::layout::Layout;
pub struct Trust { pub have: Bitfield, pub check: Vec<PieceIndex>, pub reason: Option<String> }
pub fn trust(r: Option<&Record>, _: &[Option<Witness>], g: &Geometry, _: &Layout) -> Trust { let have = r.map_or(Bitfield::none(g.piece_count()), |r| r.have.clone()); Trust { check: g.pieces().filter(|p| !have.has(*p)).collect(), have, reason: None } }
