//! What one torrent does as a whole: what is selected, when it is done, why it is slow.

pub mod seeding_goal;
pub mod selection;
pub mod survey_clock;
pub mod why;
