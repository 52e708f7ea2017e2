//! Decisions about one connection: the state of the protocol, our requests, and the uploads to the peer (BEP 3, 6,
//! 10).

pub mod allowed_fast;
pub mod client_name;
pub mod protocol;
pub mod received_block;
pub mod requests;
pub mod uploads;
