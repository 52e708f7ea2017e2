//! The command line of `create`.

use std::path::PathBuf;

use super::super::names::NamesArgs;
use crate::base::geometry::MADE_PIECE_LENS;
use crate::base::units::{Bytes, parse_bytes};

/// `create`.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The file or the folder to share
    pub path: PathBuf,
    /// Where to put the torrent [default: NAME.torrent in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A tier of trackers, separated by commas (repeatable; tiers are tried one after the other)
    #[arg(short, long, value_name = "URL[,URL]...")]
    pub announce: Vec<String>,
    /// The bytes of a piece, a power of two from 16K to 128M [default: by the size of the data, as libtorrent chooses]
    #[arg(long, value_name = "SIZE", value_parser = piece_length)]
    pub piece_length: Option<u32>,
    /// Peers come from the trackers only: no DHT, no peer exchange
    #[arg(long)]
    pub private: bool,
    /// A comment, any text
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// A web server that has the data (repeatable)
    #[arg(long, value_name = "URL")]
    pub web_seed: Vec<String>,
    /// The site that the torrent is made for; changes the info-hash
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// The creation date in seconds since 1970 [default: none is written]
    #[arg(long, value_name = "SECONDS")]
    pub creation_date: Option<i64>,
    /// Leave out files whose path below the folder, or whose name, matches (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Write over a torrent that is there already
    #[arg(long)]
    pub overwrite: bool,
    /// Which names are taken
    #[command(flatten)]
    pub names: NamesArgs,
}

fn piece_length(text: &str) -> Result<u32, String> {
    let (least, most) = (*MADE_PIECE_LENS.start(), *MADE_PIECE_LENS.end());
    let length = u32::try_from(parse_bytes(text)?).ok();
    let good = length.filter(|length| MADE_PIECE_LENS.contains(length) && length.is_power_of_two());
    good.ok_or_else(|| format!("a power of two from {} to {}", Bytes(least.into()), Bytes(most.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_length_is_a_power_of_two_that_others_read() {
        let good = [("16K", 16384), ("16384", 16384), ("1M", 1 << 20), ("128M", 128 << 20), ("0.5M", 1 << 19)];
        for (text, want) in good {
            assert_eq!(piece_length(text), Ok(want));
        }
        for text in ["8K", "256M", "20K", "1M1", "0", "4096G", "-1", ""] {
            assert!(piece_length(text).is_err(), "{text}");
        }
    }
}
