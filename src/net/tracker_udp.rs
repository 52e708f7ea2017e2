//! stub
use super::Net; use super::tracker::{Announced, TrackerTrouble}; use crate::codec::tracker::AnnounceRequest;
#[derive(Debug, Clone, Default)] pub struct UdpSession;
pub async fn announce_udp(_: &Net, _: &UdpSession, _: &str, _: &AnnounceRequest) -> Result<Announced, TrackerTrouble> { Err(TrackerTrouble::new("stub", "stub")) }
