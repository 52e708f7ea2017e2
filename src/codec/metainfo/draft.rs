//! Makes `.torrent` files: what a torrent will contain, and its bytes.
//!
//! A [`TorrentDraft`] exists only if our own parser reads back exactly what was planned. So this client can fetch every
//! torrent that it makes, under the same names (S-01, S-03). Writes what [`Metainfo::parse`] reads: BEP 3, 12, 19, 27,
//! the executable attribute of BEP 47. The same plan gives the same bytes. Does not know where the files are, and does
//! not hash them.

use serde::Serialize;
use serde_bytes::Bytes;
use url::Url;

use super::{BadTorrent, FileEntry, Metainfo};
use crate::base::geometry::Geometry;
use crate::base::limits::MAX_TORRENT_FILE;
use crate::base::safe::{Safe, redact_url};
use crate::codec::safe_path::{NameRules, SafePath};

/// The contents of a torrent to be made. An empty text counts as `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TorrentPlan {
    /// The name of the file or of the folder.
    pub name: String,
    /// The rule by which names are checked: a client that fetches with this rule gets every file under its own name.
    pub names: NameRules,
    /// The file or the files.
    pub contents: Contents,
    /// The piece length in bytes.
    pub piece_len: u32,
    /// The torrent is private (BEP 27).
    pub private: bool,
    /// A text that changes the info-hash; private trackers use it.
    pub source: Option<String>,
    /// Announce URLs, best tier first (BEP 12).
    pub tiers: Vec<Vec<String>>,
    /// URLs of web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// A comment.
    pub comment: Option<String>,
    /// Name and version of the program that makes the torrent.
    pub created_by: Option<String>,
    /// The creation date in seconds since 1970.
    pub creation_date: Option<i64>,
}

/// A single file, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// A single file.
    File {
        /// The length in bytes.
        len: u64,
        /// The file is executable (BEP 47).
        executable: bool,
    },
    /// A folder, its files in the order of the torrent.
    Folder(Vec<PlannedFile>),
}

impl Default for Contents {
    fn default() -> Self {
        Self::Folder(Vec::new())
    }
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// The path below the folder, `/` between the components.
    pub path: String,
    /// The length in bytes.
    pub len: u64,
    /// The file is executable (BEP 47).
    pub executable: bool,
}

/// Why a torrent cannot be made. The texts are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDraft {
    /// A name under which no client would create the file.
    #[error("`{name}` would arrive as {becomes}: {why}; rename it or leave it out (--exclude)")]
    Name {
        /// The planned name.
        name: String,
        /// A description of the name that clients would use.
        becomes: String,
        /// The reason.
        why: &'static str,
    },
    /// The text is not a URL, or its scheme is not allowed in this field.
    #[error("`{url}` is not a URL for {what}: {wanted}")]
    Url {
        /// The URL as given, without secrets.
        url: String,
        /// The field in which it was given.
        what: &'static str,
        /// The form that the field expects.
        wanted: &'static str,
    },
    /// The same URL is given twice, or there are more URLs than clients read.
    #[error("`{url}` is named twice, or is one of too many")]
    SurplusUrl {
        /// The URL as given, without secrets.
        url: String,
    },
    /// A text of which clients would read only the beginning.
    #[error("the {what} is too long: clients read {MAX_TEXT} bytes of it")]
    Text {
        /// The field.
        what: &'static str,
    },
    /// The file would be larger than clients read.
    #[error("the .torrent would have {0} bytes, and clients read no more than {MAX_TORRENT_FILE}; take longer pieces")]
    TooLarge(u64),
    /// The parser refuses the sizes or names.
    #[error("{0}")]
    Torrent(#[from] BadTorrent),
}

/// The longest text that `sources` reads, in bytes.
const MAX_TEXT: usize = super::sources::MAX_FREE_TEXT_LEN;

/// A checked plan: our parser has read a torrent of it. Only the hashes of the pieces are missing.
#[derive(Debug)]
pub struct TorrentDraft {
    plan: TorrentPlan,
    geometry: Geometry,
}

impl TorrentDraft {
    /// Checks the plan completely, before any data is read.
    pub fn new(plan: TorrentPlan) -> Result<Self, BadDraft> {
        let plan = without_empty_text(plan);
        check_urls(&plan)?;
        let len = match &plan.contents {
            Contents::File { len, .. } => *len,
            Contents::Folder(files) => files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.len)),
        };
        let geometry = Geometry::new(len, plan.piece_len.into()).map_err(BadTorrent::from)?;
        let blank = encode(&plan, &vec![[0; 20]; geometry.piece_count() as usize]);
        let size = blank.len() as u64;
        if size > MAX_TORRENT_FILE {
            return Err(BadDraft::TooLarge(size));
        }
        let metainfo = Metainfo::parse_named(&blank, plan.names)?;
        check_names(&plan, &metainfo)?;
        check_text(&plan, &metainfo)?;
        Ok(Self { plan, geometry })
    }

    /// How the data is divided into pieces.
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The bytes of the `.torrent`. `hashes` has the SHA-1 of every piece, in order.
    pub fn finish(&self, hashes: &[[u8; 20]]) -> Vec<u8> {
        encode(&self.plan, hashes)
    }
}

/// The plan with `None` in place of empty texts.
fn without_empty_text(plan: TorrentPlan) -> TorrentPlan {
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    TorrentPlan { source: some(plan.source), comment: some(plan.comment), created_by: some(plan.created_by), ..plan }
}

/// What a field is called, the schemes it allows, and the form it expects: for trackers and for web seeds. `ws` and
/// `wss` are those of `WebTorrent`.
const TRACKERS: (&str, &[&str], &str) =
    ("a tracker", &["http", "https", "udp", "ws", "wss"], "http://HOST/announce or udp://HOST:PORT");
const WEB_SEEDS: (&str, &[&str], &str) = ("a web seed", &["http", "https", "ftp"], "http://HOST/PATH");

/// Checks the form of all URLs.
fn check_urls(plan: &TorrentPlan) -> Result<(), BadDraft> {
    let trackers = plan.tiers.iter().flatten().map(|url| (url, TRACKERS));
    for (text, (what, schemes, wanted)) in trackers.chain(plan.web_seeds.iter().map(|url| (url, WEB_SEEDS))) {
        // The URL parser accepts and repairs `http:/x`, which the clients of trackers do not.
        let url = Url::parse(text)
            .ok()
            .filter(|_| text.contains("://"))
            .filter(|url| schemes.contains(&url.scheme()) && url.has_host());
        if url.is_none() {
            return Err(BadDraft::Url { url: redact_url(text), what, wanted });
        }
    }
    Ok(())
}

/// Checks that the parser puts every file where it was planned, and adds no other.
fn check_names(plan: &TorrentPlan, read: &Metainfo) -> Result<(), BadDraft> {
    let planned: Vec<String> = match &plan.contents {
        Contents::File { .. } => vec![plan.name.clone()],
        Contents::Folder(files) => files.iter().map(|file| format!("{}/{}", plan.name, file.path)).collect(),
    };
    let differs = |(name, file): &(&String, &FileEntry)| file.padding || *name != file.path.as_str();
    let Some((name, file)) = planned.iter().zip(&read.info.files).find(differs) else { return Ok(()) };
    let alone = SafePath::from_raw(name.split('/').map(str::as_bytes), plan.names);
    let why = if file.padding {
        "clients take files of this name for padding"
    } else if alone.is_some_and(|alone| alone.as_str() == name) {
        "another file has this name, or one that differs from it in case only"
    } else if plan.names == NameRules::Portable {
        "not every system can have it so"
    } else {
        "it is reserved, or too long"
    };
    let becomes = if file.padding { "nothing".to_owned() } else { format!("`{}`", Safe::new(file.path.as_str())) };
    Err(BadDraft::Name { name: Safe::new(name).to_string(), becomes, why })
}

/// Checks that the parser reads the texts around `info` as they were given.
fn check_text(plan: &TorrentPlan, read: &Metainfo) -> Result<(), BadDraft> {
    let texts = [
        ("comment", &plan.comment, &read.comment),
        ("source", &plan.source, &read.info.source),
        ("name of the program", &plan.created_by, &read.created_by),
    ];
    if let Some((what, ..)) = texts.into_iter().find(|(_, planned, read)| planned != read) {
        return Err(BadDraft::Text { what });
    }
    let planned = plan.tiers.iter().flatten().chain(&plan.web_seeds);
    let mut found = read.tiers.iter().flatten().chain(&read.web_seeds);
    for url in planned {
        if found.next() != Some(url) {
            return Err(BadDraft::SurplusUrl { url: redact_url(url) });
        }
    }
    Ok(())
}

/// The fields in the order of their keys, as bencode requires.
#[derive(Serialize)]
struct RawTorrent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    announce: Option<&'a str>,
    #[serde(rename = "announce-list", skip_serializing_if = "Option::is_none")]
    announce_list: Option<&'a [Vec<String>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(rename = "created by", skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
    #[serde(rename = "creation date", skip_serializing_if = "Option::is_none")]
    creation_date: Option<i64>,
    info: RawInfo<'a>,
    #[serde(rename = "url-list", skip_serializing_if = "<[_]>::is_empty")]
    url_list: &'a [String],
}

#[derive(Serialize)]
struct RawInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<RawFile<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    name: &'a str,
    #[serde(rename = "piece length")]
    piece_length: u32,
    pieces: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

#[derive(Serialize)]
struct RawFile<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attr: Option<&'a str>,
    length: u64,
    path: Vec<&'a str>,
}

/// The bytes of the `.torrent`.
fn encode(plan: &TorrentPlan, hashes: &[[u8; 20]]) -> Vec<u8> {
    let attr = |executable: bool| executable.then_some("x");
    let (attr_of_one, length, files) = match &plan.contents {
        Contents::File { len, executable } => (attr(*executable), Some(*len), None),
        Contents::Folder(files) => {
            let raw = files.iter().map(|file| RawFile {
                attr: attr(file.executable),
                length: file.len,
                path: file.path.split('/').collect(),
            });
            (None, None, Some(raw.collect()))
        }
    };
    let urls: Vec<&String> = plan.tiers.iter().flatten().collect();
    let raw = RawTorrent {
        announce: urls.first().map(|url| url.as_str()),
        announce_list: (urls.len() > 1).then_some(&plan.tiers),
        comment: plan.comment.as_deref(),
        created_by: plan.created_by.as_deref(),
        creation_date: plan.creation_date,
        info: RawInfo {
            attr: attr_of_one,
            files,
            length,
            name: &plan.name,
            piece_length: plan.piece_len,
            pieces: Bytes::new(hashes.as_flattened()),
            private: plan.private.then_some(1),
            source: plan.source.as_deref(),
        },
        url_list: &plan.web_seeds,
    };
    serde_bencode::to_bytes(&raw).expect("strings and numbers have a form in bencode")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn single(name: &str, len: u64) -> TorrentPlan {
        let contents = Contents::File { len, executable: false };
        TorrentPlan { name: name.to_owned(), contents, piece_len: 16384, ..TorrentPlan::default() }
    }

    fn folder(paths: &[&str]) -> TorrentPlan {
        let file = |path: &&str| PlannedFile { path: (*path).to_owned(), len: 1, executable: false };
        let contents = Contents::Folder(paths.iter().map(file).collect());
        TorrentPlan { name: "top".to_owned(), contents, piece_len: 16384, ..TorrentPlan::default() }
    }

    #[test]
    fn a_single_file_is_written_as_bep_3_says() {
        let made = TorrentDraft::new(single("a", 20000)).unwrap().finish(&[[b'x'; 20], [b'y'; 20]]);
        let want = "d4:infod6:lengthi20000e4:name1:a12:piece lengthi16384e6:pieces40:xxxxxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyyyyyee";
        assert_eq!(made.escape_ascii().to_string(), want);
    }

    #[test]
    fn everything_stands_in_the_order_of_its_key() {
        let files = ["b/c", "d"].map(|path| PlannedFile { path: path.to_owned(), len: 3, executable: path == "d" });
        let plan = TorrentPlan {
            name: "top".to_owned(),
            names: NameRules::default(),
            contents: Contents::Folder(files.into()),
            piece_len: 16384,
            private: true,
            source: Some("SRC".to_owned()),
            tiers: vec![vec!["http://a/".to_owned(), "udp://b:1".to_owned()], vec!["http://c/".to_owned()]],
            web_seeds: vec!["http://w/".to_owned()],
            comment: Some("hi".to_owned()),
            created_by: Some("us".to_owned()),
            creation_date: Some(5),
        };
        let made = TorrentDraft::new(plan).unwrap().finish(&[[b'x'; 20]]);
        let want = "d8:announce9:http://a/13:announce-listll9:http://a/9:udp://b:1el9:http://c/ee7:comment2:hi\
            10:created by2:us13:creation datei5e4:infod5:filesld6:lengthi3e4:pathl1:b1:ceed4:attr1:x6:lengthi3e4:pathl1:deee\
            4:name3:top12:piece lengthi16384e6:pieces20:xxxxxxxxxxxxxxxxxxxx7:privatei1e6:source3:SRCe8:url-listl9:http://w/ee";
        assert_eq!(made.escape_ascii().to_string(), want);
    }

    /// A torrent is refused if a file could not be fetched under its own name; S-01, S-03, D-11.
    #[test]
    fn names_that_would_not_arrive_are_refused() {
        let long = "x".repeat(256);
        for name in [&long, ".tt-actors/x", "..", ".", "a/../b", "/a", ""] {
            let refused = TorrentDraft::new(folder(&["fine", name])).unwrap_err();
            assert!(matches!(refused, BadDraft::Name { .. }), "{name}: {refused}");
        }
        let padding = TorrentDraft::new(folder(&["_____padding_file_0"])).unwrap_err();
        assert!(matches!(&padding, BadDraft::Name { why, .. } if why.contains("padding")), "{padding}");
        let portable = |plan: TorrentPlan| TorrentDraft::new(TorrentPlan { names: NameRules::Portable, ..plan });
        for name in
            ["a:b", "CON", "a.", "nul.txt", "x/a\\b", "\u{202e}gpj", "tab\there", &long, ".tt-actors/x", "C:\\x"]
        {
            let refused = portable(folder(&["fine", name])).unwrap_err();
            assert!(matches!(refused, BadDraft::Name { .. }), "{name}: {refused}");
            assert!(!refused.to_string().contains(['\t', '\u{202e}']), "{refused}");
        }
        for twins in [["README", "readme"], ["é", "e\u{301}"], ["a", "a/b"]] {
            let refused = portable(folder(&twins)).unwrap_err();
            assert!(matches!(&refused, BadDraft::Name { why, .. } if why.contains("another file")), "{refused}");
        }
        assert!(matches!(portable(single("a:b", 1)), Err(BadDraft::Name { .. })));
        assert!(matches!(
            portable(TorrentPlan { name: "NUL".to_owned(), ..folder(&["x"]) }),
            Err(BadDraft::Name { .. })
        ));
    }

    #[test]
    fn every_name_that_linux_can_have_is_made_as_it_is() {
        let names =
            ["README", "readme", "aux.c", "S.O.S.", "Who?", "a: b", "a\\x2db", "Icon\r", "é", "e\u{301}", "\u{202e}x"];
        let made =
            TorrentDraft::new(TorrentPlan { name: "con:".to_owned(), ..folder(&names) }).unwrap().finish(&[[0; 20]]);
        let read = Metainfo::parse(&made).unwrap();
        assert!(read.info.files.iter().map(|file| file.path.as_str()).eq(names.map(|name| format!("con:/{name}"))));
        assert_eq!(read.warnings, []);
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for plan in [single("a", 0), folder(&[]), single("a", u64::MAX), single("a", 1 << 40)] {
            let refused = TorrentDraft::new(plan).unwrap_err();
            assert!(matches!(refused, BadDraft::Torrent(BadTorrent::Geometry(_))), "{refused}");
        }
    }

    #[test]
    fn urls_that_no_client_can_ask_are_refused() {
        let tracker = |url: &str| TorrentPlan { tiers: vec![vec![url.to_owned()]], ..single("a", 1) };
        for url in ["http://t/announce", "https://t:1/a?k=1", "udp://t:6969", "udp://[::1]:1/announce", "wss://t"] {
            assert!(TorrentDraft::new(tracker(url)).is_ok(), "{url}");
        }
        for url in
            ["", "t.example.org", "ftp://t/", "http://", "http:/x", "file:///etc/passwd", "http://a b/", " http://t"]
        {
            assert!(TorrentDraft::new(tracker(url)).is_err(), "{url}");
        }
        let seed = |url: &str| TorrentDraft::new(TorrentPlan { web_seeds: vec![url.to_owned()], ..single("a", 1) });
        assert!(seed("https://mirror/dir/").is_ok() && seed("udp://mirror/").is_err());
        let twice = TorrentPlan { tiers: vec![vec!["http://t/".to_owned()]; 2], ..single("a", 1) };
        assert_eq!(TorrentDraft::new(twice).unwrap_err(), BadDraft::SurplusUrl { url: "http://t/".to_owned() });
        let secret = TorrentDraft::new(tracker("gopher://t/0123456789abcdef")).unwrap_err().to_string();
        assert!(!secret.contains("0123456789abcdef"), "{secret}");
    }

    #[test]
    fn text_is_read_as_it_was_given_or_not_written() {
        let comment = |text: &str| TorrentPlan { comment: Some(text.to_owned()), ..single("a", 1) };
        assert!(TorrentDraft::new(comment(&"c".repeat(MAX_TEXT))).is_ok());
        assert_eq!(
            TorrentDraft::new(comment(&"c".repeat(MAX_TEXT + 1))).unwrap_err(),
            BadDraft::Text { what: "comment" }
        );
        let blank = TorrentDraft::new(comment("")).unwrap().finish(&[[0; 20]]);
        assert_eq!(blank, TorrentDraft::new(single("a", 1)).unwrap().finish(&[[0; 20]]));
    }

    fn any_plan() -> impl Strategy<Value = TorrentPlan> {
        let text = || prop::option::of("[ -~é日]{1,20}");
        let file = ("[a-z0-9é日 _-]{1,8}[a-z]", 0_u64..100_000, any::<bool>());
        let files = prop::collection::vec(file, 1..20);
        let tiers =
            prop::collection::vec(prop::collection::vec("(http|udp)://[a-z]{1,8}:[1-9]/[a-z]{1,8}", 1..4), 0..4);
        let flags = (any::<bool>(), any::<bool>(), 0_u32..4);
        (files, tiers, flags, text(), text(), prop::option::of(any::<i64>())).prop_map(
            |(files, mut tiers, (single, private, power), source, comment, creation_date)| {
                let contents = if single {
                    Contents::File { len: files[0].1, executable: files[0].2 }
                } else {
                    // Each file is in a folder of its own, so no two paths clash.
                    let planned = |(at, (name, len, executable)): (usize, (String, u64, bool))| PlannedFile {
                        path: format!("{at}/{name}"),
                        len,
                        executable,
                    };
                    Contents::Folder(files.into_iter().enumerate().map(planned).collect())
                };
                for (tier, url) in tiers
                    .iter_mut()
                    .enumerate()
                    .flat_map(|(tier, urls)| urls.iter_mut().enumerate().map(move |(at, url)| ((tier, at), url)))
                {
                    url.extend([tier.0, tier.1].map(|number| format!("-{number}")));
                }
                TorrentPlan {
                    name: "top".to_owned(),
                    contents,
                    piece_len: 16384 << power,
                    private,
                    source,
                    tiers,
                    comment,
                    creation_date,
                    ..TorrentPlan::default()
                }
            },
        )
    }

    proptest! {
        /// W-26: the parser reads what was planned, the form is canonical, and the same plan gives the same bytes
        /// again.
        #[test]
        fn what_is_made_is_what_was_planned(plan in any_plan(), seed in any::<u8>()) {
            let Ok(draft) = TorrentDraft::new(plan.clone()) else {
                let len: u64 = match &plan.contents {
                    Contents::File { len, .. } => *len,
                    Contents::Folder(files) => files.iter().map(|file| file.len).sum(),
                };
                prop_assert_eq!(len, 0, "only a torrent without data is refused");
                return Ok(());
            };
            let geometry = draft.geometry();
            let hash = |piece: crate::base::geometry::PieceIndex| [seed.wrapping_add(piece.get().to_le_bytes()[0]); 20];
            let hashes: Vec<_> = geometry.pieces().map(hash).collect();
            let made = draft.finish(&hashes);
            prop_assert_eq!(&made, &draft.finish(&hashes));
            prop_assert!(crate::codec::bencode::scan(&made, crate::codec::bencode::BencodeLimits::FILE).unwrap().sorted);
            let read = Metainfo::parse(&made).unwrap();
            prop_assert_eq!(&read.warnings, &Vec::new());
            prop_assert!(geometry.pieces().all(|piece| read.info.hashes.get(piece) == hash(piece)));
            prop_assert_eq!((&read.info.name, read.info.private, read.info.geometry.nominal_piece_len()), (&plan.name, plan.private, plan.piece_len));
            prop_assert_eq!((read.tiers, read.info.source.clone(), read.comment, read.creation_date), (plan.tiers, plan.source, plan.comment, plan.creation_date));
            let found = read.info.files.iter().map(|file| (file.path.as_str().to_owned(), file.len, file.executable));
            let planned = match plan.contents {
                Contents::File { len, executable } => vec![("top".to_owned(), len, executable)],
                Contents::Folder(files) => files.into_iter().map(|file| (format!("top/{}", file.path), file.len, file.executable)).collect(),
            };
            prop_assert_eq!(found.collect::<Vec<_>>(), planned);
        }
    }
}
