//! Floor 3: files, the blocking pool and the resume record. Knows floors 0 to 2 and tokio; does not know actors or the network.
