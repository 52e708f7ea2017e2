//! stub
use crate::base::ids::PeerKey;
#[derive(Debug, Default)] pub struct Choker;
impl Choker { pub fn new() -> Self { Self } pub fn on_interest(&mut self, p: PeerKey, i: bool) -> Vec<(PeerKey, bool)> { vec![(p, !i)] } pub fn on_left(&mut self, _: PeerKey) -> Vec<(PeerKey, bool)> { vec![] } }
