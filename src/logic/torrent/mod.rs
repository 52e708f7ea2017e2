//! Decisions about one torrent as a whole: its state, which files are selected, how long it seeds, when it is surveyed,
//! and why it is as fast as it is.

pub mod lifecycle;
pub mod seeding_goal;
pub mod selection;
pub mod survey_clock;
pub mod transfer;
pub mod why;
