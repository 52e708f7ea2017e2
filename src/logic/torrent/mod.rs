//! Decisions about one torrent as a whole: which files are selected, how long it seeds, when it is surveyed, and why
//! it is as fast as it is.

pub mod seeding_goal;
pub mod selection;
pub mod survey_clock;
pub mod why;
