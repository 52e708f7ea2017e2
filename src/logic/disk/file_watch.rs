//! `FileWatch`: what this program knows of one of its files, and whether somebody else may have changed it.
//!
//! The program notes what a file looks like (length, inode, time of change) after each change of its own. A file that
//! looks different when it is next seen was changed by somebody else; then its bytes are in doubt until they are hashed
//! again. Reads no disk and knows no pieces: who drives it says what was seen, and whether he saw it by the file's name.

use crate::codec::resume::Witness;

/// What is known of one file. All zeros as its [`Witness`] means that there is no such file.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileWatch {
    known: Witness,
    in_doubt: bool,
    /// What ours looked like before others moved it away, as long as we have written to nothing in its place.
    left: Option<Witness>,
    /// Counts the changes by others, so that a read that began before one is not believed after it.
    changes: u32,
}

/// Handed out before bytes are read, shown after they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTicket(u32);

impl FileWatch {
    /// Forgets everything: the file was found like this, and what it holds is hashed or on record.
    pub fn on_found(&mut self, now: Witness) {
        (self.known, self.in_doubt, self.left) = (now, false, None);
        self.changes = self.changes.wrapping_add(1);
    }

    /// The file looks like this now, and no change of ours is under way. `true` if somebody else has changed it since it
    /// was last seen: then its bytes are in doubt.
    pub fn on_seen(&mut self, now: Witness) -> bool {
        let is_changed = now != self.known;
        if is_changed {
            if (now.dev, now.ino) != (self.known.dev, self.known.ino) && !self.is_absent() {
                self.left = self.left.or(Some(self.known));
            }
            self.known = now;
            self.doubt();
        }
        is_changed
    }

    /// The file was opened to be written, by its name, and looked like this; it may have been made by that. An empty file
    /// in the place of none is one that we have made.
    pub fn on_opened_to_write(&mut self, now: Witness) {
        if self.is_absent() && now.len == 0 {
            self.known = now;
        } else {
            self.on_seen(now);
        }
    }

    /// We have changed the file, and it looks like this now. Whoever calls this has called [`Self::on_seen`] with what the
    /// file looked like immediately before.
    pub fn on_own_change(&mut self, now: Witness) {
        self.known = now;
        self.left = None;
    }

    /// What the file holds is not known any more.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
        self.changes = self.changes.wrapping_add(1);
    }

    /// Is what it holds in doubt?
    pub const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// How many changes by others were seen so far.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// The caller remembers now which bytes were in doubt after so many changes. A change that was seen since leaves the
    /// file in doubt.
    pub fn on_doubt_noted(&mut self, changes: u32) {
        self.in_doubt &= self.changes != changes;
    }

    /// What it looked like when it was last seen.
    pub const fn known(&self) -> Witness {
        self.known
    }

    /// What the record is to say of the file: of one that others have put in the place of ours, what ours looked like.
    pub fn to_record(&self) -> Witness {
        self.left.filter(|_| !self.is_absent()).unwrap_or(self.known)
    }

    /// There was no such file when it was last looked for.
    pub fn is_absent(&self) -> bool {
        self.known == Witness::default()
    }

    /// Before bytes are read that somebody shall believe; `None` while they are in doubt.
    pub fn ticket(&self) -> Option<ReadTicket> {
        (!self.in_doubt).then_some(ReadTicket(self.changes))
    }

    /// The bytes were read and the file looks like this after it. May they be believed? A change of ours may be under way:
    /// then this is asked again once it is over.
    pub fn holds(&self, ticket: ReadTicket, after: Witness) -> bool {
        self.ticket() == Some(ticket) && after == self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(len: u64, ino: u64, mtime_ns: i64) -> Witness {
        Witness { len, dev: 1, ino, mtime_ns }
    }

    #[test]
    fn only_what_others_change_is_in_doubt() {
        type Row = (&'static str, fn(&mut FileWatch), bool);
        let table: [Row; 8] = [
            ("nothing", |_| {}, false),
            ("seen again", |watch| _ = watch.on_seen(file(9, 1, 1)), false),
            (
                "written by us",
                |watch| {
                    watch.on_own_change(file(9, 1, 2));
                    watch.on_seen(file(9, 1, 2));
                },
                false,
            ),
            ("written by others", |watch| _ = watch.on_seen(file(9, 1, 2)), true),
            ("cut", |watch| _ = watch.on_seen(file(8, 1, 1)), true),
            ("replaced", |watch| _ = watch.on_seen(file(9, 2, 1)), true),
            ("removed", |watch| _ = watch.on_seen(Witness::default()), true),
            (
                "written by others between two writes of ours",
                |watch| {
                    watch.on_own_change(file(9, 1, 2));
                    watch.on_seen(file(9, 1, 3));
                    watch.on_own_change(file(9, 1, 4));
                },
                true,
            ),
        ];
        for (what, change, in_doubt) in table {
            let mut watch = FileWatch::default();
            watch.on_found(file(9, 1, 1));
            change(&mut watch);
            assert_eq!(watch.is_in_doubt(), in_doubt, "{what}");
            assert_eq!(watch.ticket().is_some(), !in_doubt, "{what}");
        }
    }

    #[test]
    fn a_file_that_we_make_is_ours_and_one_that_takes_the_place_of_ours_is_not() {
        let mut watch = FileWatch::default();
        watch.on_opened_to_write(file(0, 1, 1));
        assert!(!watch.is_in_doubt());
        watch.on_own_change(file(9, 1, 2));
        watch.on_opened_to_write(file(0, 2, 3));
        assert!(watch.is_in_doubt(), "ours was removed, and an empty one was made");
        let mut watch = FileWatch::default();
        watch.on_opened_to_write(file(5, 1, 1));
        assert!(watch.is_in_doubt(), "somebody had put it there");
    }

    #[test]
    fn a_read_is_believed_if_nobody_changed_the_file_before_it_ended() {
        let mut watch = FileWatch::default();
        watch.on_found(file(9, 1, 1));
        let ticket = watch.ticket().unwrap();
        assert!(watch.holds(ticket, file(9, 1, 1)));
        assert!(!watch.holds(ticket, file(9, 1, 2)), "changed while it was read");
        watch.on_own_change(file(9, 1, 2));
        assert!(watch.holds(ticket, file(9, 1, 2)), "our own change");
        watch.on_seen(file(9, 1, 3));
        assert!(!watch.holds(ticket, file(9, 1, 3)), "somebody else has noticed the change");
        watch.on_doubt_noted(watch.changes());
        assert!(!watch.holds(ticket, file(9, 1, 3)), "and noted it, but the read began before");
        assert!(watch.holds(watch.ticket().unwrap(), file(9, 1, 3)));
        watch.on_seen(file(9, 1, 4));
        let changes = watch.changes();
        watch.on_seen(file(9, 1, 5));
        watch.on_doubt_noted(changes);
        assert!(watch.is_in_doubt(), "the second change was not noted");
    }

    proptest! {
        /// Whoever changes the file, whenever: a read is believed only if no change of others came between what was last
        /// vouched for and its end.
        #[test]
        fn no_change_of_others_goes_unseen(steps in prop::collection::vec(0u8..5, 0..40)) {
            let mut watch = FileWatch::default();
            let (mut now, mut changed_by_others) = (file(9, 1, 0), false);
            watch.on_found(now);
            for step in steps {
                match step {
                    0 => {
                        watch.on_seen(now);
                        now.mtime_ns += 1;
                        watch.on_own_change(now);
                    }
                    1 => {
                        now.mtime_ns += 1;
                        changed_by_others = true;
                    }
                    2 => {
                        let is_changed = watch.on_seen(now) || watch.is_in_doubt();
                        prop_assert_eq!(is_changed, changed_by_others);
                        // Hashed again and found right.
                        watch.on_doubt_noted(watch.changes());
                        changed_by_others = false;
                    }
                    _ => {
                        let held = watch.ticket().is_some_and(|ticket| watch.holds(ticket, now));
                        prop_assert_eq!(held, !changed_by_others);
                    }
                }
            }
        }
    }
}
