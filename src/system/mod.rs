//! Floor 3: what the operating system tells the process. Does not know actors, sockets or files of a torrent.

pub mod signals;
