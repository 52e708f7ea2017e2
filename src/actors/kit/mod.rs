//! What every actor is made with: supervision, metering, timers, credits. Knows actix; knows nothing of BitTorrent.
