//! `FileWatch`: the last known state of one file, and whether another program may have changed it.
//!
//! We note the state of a file (length, inode, time of change) after each change of our own. If the file has another
//! state when it is next seen, another program has changed it, and its bytes are in doubt until they are hashed again.
//! This module reads no disk and knows no pieces. The caller reports what it saw, and whether it saw the file by its
//! name.

use crate::codec::resume::Witness;

/// What is known of one file. A [`Witness`] of all zeros means that the file does not exist.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileWatch {
    /// The state in which the file was last seen.
    known: Witness,
    /// Whether the bytes of the file are in doubt.
    in_doubt: bool,
    /// The state of our file before another program replaced it, as long as we have not written to the replacement.
    left: Option<Witness>,
    /// The number of changes by other programs, so that a read that began before a change is not trusted after it.
    changes: u32,
}

/// Issued before bytes are read and checked after they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTicket(u32);

impl FileWatch {
    /// The file was found in this state, and its bytes are hashed or on record. Everything before is forgotten.
    pub fn on_found(&mut self, now: Witness) {
        (self.known, self.in_doubt, self.left) = (now, false, None);
        self.changes = self.changes.wrapping_add(1);
    }

    /// The file has this state now, and no change of ours is under way. Returns whether another program has changed it
    /// since it was last seen; then its bytes are in doubt.
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

    /// The file was opened by its name to be written, which may have created it, and has this state. An empty file
    /// where none was is one that we created.
    pub fn on_opened_to_write(&mut self, now: Witness) {
        if self.is_absent() && now.len == 0 {
            self.known = now;
        } else {
            self.on_seen(now);
        }
    }

    /// We have changed the file, and it has this state now. The caller has called [`Self::on_seen`] with the state
    /// immediately before the change.
    pub fn on_own_change(&mut self, now: Witness) {
        self.known = now;
        self.left = None;
    }

    /// The bytes of the file are in doubt from now on.
    pub fn doubt(&mut self) {
        self.in_doubt = true;
        self.changes = self.changes.wrapping_add(1);
    }

    /// Whether the bytes of the file are in doubt.
    pub const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// The number of changes by other programs that were seen so far.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// The caller has noted which pieces were in doubt after this many changes. The file stays in doubt if another change
    /// was seen since.
    pub fn on_doubt_noted(&mut self, changes: u32) {
        self.in_doubt &= self.changes != changes;
    }

    /// The state in which the file was last seen.
    pub const fn known(&self) -> Witness {
        self.known
    }

    /// The state to write into the record. If another program has replaced our file, this is the state of ours.
    pub fn to_record(&self) -> Witness {
        self.left.filter(|_| !self.is_absent()).unwrap_or(self.known)
    }

    /// Whether the file did not exist when it was last looked for.
    pub fn is_absent(&self) -> bool {
        self.known == Witness::default()
    }

    /// Issues a ticket for a read whose bytes must be trustworthy. `None` while the bytes are in doubt.
    pub fn ticket(&self) -> Option<ReadTicket> {
        (!self.in_doubt).then_some(ReadTicket(self.changes))
    }

    /// The bytes were read and the file has this state after that. Returns whether they can be trusted. If a change of
    /// ours is under way, call it again when that has ended.
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
    fn only_changes_by_others_lead_to_doubt() {
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
        assert!(watch.is_in_doubt(), "another program had put it there");
    }

    #[test]
    fn a_read_is_trusted_if_no_other_program_changed_the_file_before_it_ended() {
        let mut watch = FileWatch::default();
        watch.on_found(file(9, 1, 1));
        let ticket = watch.ticket().unwrap();
        assert!(watch.holds(ticket, file(9, 1, 1)));
        assert!(!watch.holds(ticket, file(9, 1, 2)), "changed while it was read");
        watch.on_own_change(file(9, 1, 2));
        assert!(watch.holds(ticket, file(9, 1, 2)), "our own change");
        watch.on_seen(file(9, 1, 3));
        assert!(!watch.holds(ticket, file(9, 1, 3)), "the change was noticed in between");
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
        /// For any changes by others at any time: a read is trusted only if no such change came between the last check
        /// and its end.
        #[test]
        fn no_change_by_others_goes_unseen(steps in prop::collection::vec(0u8..5, 0..40)) {
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
                        // The file was hashed again and is right.
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
