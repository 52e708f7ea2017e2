//! Oddities of a torrent that were accepted. `info` shows them, and loading a torrent logs them.

use std::fmt;

/// One oddity. Texts in it are made safe for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TorrentWarning {
    /// There are bytes after the dictionary; they were ignored.
    TrailingBytes(usize),
    /// The keys of a dictionary are out of order.
    UnsortedKeys,
    /// A key comes twice in a dictionary, where no value that identifies the torrent is affected.
    RepeatedKey,
    /// A number or a string length is not canonical (`i03e`), where no value that identifies the torrent is affected.
    OddNumber,
    /// There is a `length` beside `files`; it was ignored.
    LengthBesideFiles,
    /// `files` is not a list; it was ignored because there is a `length`.
    FilesIsNoList,
    /// The version 2 part of a hybrid torrent is not used.
    Hybrid,
    /// A symbolic link is not created.
    LinkNotCreated(String),
    /// A symbolic link has a length; it was ignored, as in libtorrent.
    LinkWithLength(String),
    /// No usable name is left of the torrent's name; the info-hash is used instead.
    NameIsInfoHash,
    /// A name that the disk cannot have, or that would lead out of the folder, was changed.
    Renamed {
        /// The name in the torrent.
        from: String,
        /// The name on the disk.
        to: String,
    },
    /// Another file has the same name; this file got the new name in the warning.
    Twin(String),
    /// A tracker or web seed is not a URL; it was ignored. Shown without secrets.
    NotAUrl(String),
    /// There are more URLs than are read; the rest was ignored. The number is the limit.
    TooManyUrls(usize),
    /// This number of further warnings was not kept.
    More(usize),
}

impl fmt::Display for TorrentWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrailingBytes(1) => f.write_str("1 byte behind the torrent is ignored"),
            Self::TrailingBytes(bytes) => write!(f, "{bytes} bytes behind the torrent are ignored"),
            Self::UnsortedKeys => f.write_str("a dictionary has its keys out of order"),
            Self::RepeatedKey => f.write_str("a dictionary has a key twice; the first one counts"),
            Self::OddNumber => f.write_str("a number is written in an odd way, such as 03 for 3"),
            Self::LengthBesideFiles => f.write_str("`length` is ignored, because there is a list of `files`"),
            Self::FilesIsNoList => f.write_str("`files` is ignored, because it is not a list"),
            Self::Hybrid => f.write_str("a hybrid torrent: its version 2 part is not used"),
            Self::LinkNotCreated(path) => write!(f, "symbolic link `{path}` is not created"),
            Self::LinkWithLength(path) => write!(f, "the length of symbolic link `{path}` is not counted"),
            Self::NameIsInfoHash => f.write_str("the torrent has no usable name; its info-hash is used instead"),
            Self::Renamed { from, to } => write!(f, "`{from}` is renamed to `{to}`"),
            Self::Twin(to) => write!(f, "a file is renamed to `{to}`: another one has its name"),
            Self::NotAUrl(url) => write!(f, "not a URL: `{url}`"),
            Self::TooManyUrls(most) => write!(f, "more than {most} URLs: the rest is ignored"),
            Self::More(count) => write!(f, "and {count} more"),
        }
    }
}

/// 50 warnings are kept, the others counted: one broken torrent may have a hundred thousand renamed files.
pub(super) const MAX_WARNINGS: usize = 50;

/// Collects warnings, at most [`MAX_WARNINGS`] of them.
#[derive(Default)]
pub(super) struct Warnings {
    list: Vec<TorrentWarning>,
    more: usize,
}

impl Warnings {
    /// Adds a warning, or counts it if there are too many.
    pub(super) fn add(&mut self, warning: TorrentWarning) {
        if self.list.len() < MAX_WARNINGS {
            self.list.push(warning);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// The warnings; the last one has the number of those that were not kept.
    pub(super) fn into_list(mut self) -> Vec<TorrentWarning> {
        if self.more > 0 {
            self.list.push(TorrentWarning::More(self.more));
        }
        self.list
    }
}
