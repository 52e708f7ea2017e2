//! stub
use crate::base::ids::PeerId;
pub fn client_name(id: &PeerId) -> String { format!("{:?}", id) }
