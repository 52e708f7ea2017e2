//! What the tests share: folders, payloads, processes with a watchdog, real peers, the client under test.

pub(crate) mod client;
pub(crate) mod lab;
pub(crate) mod netns;
pub(crate) mod payload;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod scene;
pub(crate) mod torrents;
pub(crate) mod tracker;
pub(crate) mod transmission;

pub(crate) use client::Fetch;
pub(crate) use lab::{Lab, Needs, heavy};
