//! stub
use std::time::Instant;
#[derive(Debug, Default)] pub struct Rate(u64);
impl Rate { pub fn new() -> Self { Self(0) } pub fn add(&mut self, _: Instant, b: u64) { self.0 += b; } pub fn bps(&self, _: Instant) -> u64 { 0 } }
