//! `--names`: the rule by which names in a torrent become file names.

use clap::ValueEnum;

use crate::codec::safe_path::NameRules;

/// The option, for every verb that makes, reads or looks for the files of a torrent.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct NamesArgs {
    /// How names in a torrent become names of files
    #[arg(long, value_enum, default_value_t = NameRule::Native, value_name = "RULE")]
    names: NameRule,
}

/// What may be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum NameRule {
    /// Keep every name that Linux can have
    #[default]
    Native,
    /// Change names that other systems cannot have (`a:b`, `CON`), and tell `README` and `readme` apart
    Portable,
}

impl From<NamesArgs> for NameRules {
    fn from(args: NamesArgs) -> Self {
        match args.names {
            NameRule::Native => Self::Native,
            NameRule::Portable => Self::Portable,
        }
    }
}
