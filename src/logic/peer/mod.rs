//! One connection: what a peer says and what it is told (BEP 3, 6, 10).

pub mod allowed_fast;
pub mod client_name;
pub mod protocol;
pub mod requests;
pub mod uploads;
