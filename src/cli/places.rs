//! `-d`: common mistakes with it, and the advice about them.

use std::path::Path;

use super::exit::{Problem, ProgramExit};
use crate::base::safe::Safe;
use crate::base::units::Bytes;
use crate::codec::metainfo::Metainfo;
use crate::storage::whereabouts::{find_near, is_anything_in, place_in};

/// Refuses a file as the output folder.
pub fn must_not_be_file(dir: &Path) -> Result<(), Problem> {
    if !dir.is_file() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = format!("{} is a file; -d must name the folder that contains it: -d {}", shown(dir), quoted(parent));
    Err(Problem::new(ProgramExit::CannotOpen, text))
}

/// Refuses an output folder that does not exist, for verbs that read data.
pub fn must_be_folder(dir: &Path) -> Result<(), Problem> {
    must_not_be_file(dir)?;
    match std::fs::metadata(dir) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(ProgramExit::NotFound, format!("{}: {error}", shown(dir)))),
    }
}

/// Says why so little of a torrent was found, and what to pass instead.
pub fn advice(dir: &Path, metainfo: &Metainfo, (have, total): (u64, u64)) -> String {
    let place = place_in(dir, metainfo);
    if have > 0 {
        let (missing, total, place) = (Bytes(total.saturating_sub(have)), Bytes(total), shown(&place));
        return format!("{missing} of {total} is missing in {place}; `verify` says what, `fetch` brings it");
    }
    if is_anything_in(dir, metainfo) {
        let place = shown(&place);
        return format!("nothing in {place} is what the torrent says; `verify` says what is wrong, `fetch` brings it");
    }
    absent(dir, metainfo)
}

/// Says that nothing of a torrent is in this output folder, and what to pass instead.
pub fn absent(dir: &Path, metainfo: &Metainfo) -> String {
    let place = place_in(dir, metainfo);
    let name = place.file_name().map(|name| name.display().to_string()).unwrap_or_default();
    let name = Safe::new(&name);
    let hint = find_near(dir, metainfo).map(|near| format!(": -d {}", quoted(&near))).unwrap_or_default();
    format!("nothing of it is in {}; -d must name the folder that contains {name}{hint}", shown(&place))
}

fn shown(path: &Path) -> String {
    Safe::new(&path.display().to_string()).at_most(400).to_string()
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = shown(path);
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::super::swarm::testing::torrent;
    use super::*;

    #[test]
    fn mistakes_with_d_get_advice_on_what_to_pass() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("my data");
        std::fs::create_dir(&dir).unwrap();
        let torrent = torrent();
        let shown = dir.display();
        assert_eq!(
            advice(&dir, &torrent, (0, 3)),
            format!("nothing of it is in {shown}/x; -d must name the folder that contains x")
        );
        std::fs::write(root.path().join("x"), "abc").unwrap();
        let near = format!("contains x: -d {}", root.path().display());
        assert!(advice(&dir, &torrent, (0, 3)).ends_with(&near), "{}", advice(&dir, &torrent, (0, 3)));
        assert!(advice(root.path(), &torrent, (0, 3)).contains("is what the torrent says"));
        assert!(advice(root.path(), &torrent, (1, 3)).starts_with("2 B of 3 B is missing in "));
        let problem = must_be_folder(&root.path().join("x")).unwrap_err();
        assert!(
            problem.exit == ProgramExit::CannotOpen && problem.text.contains("is a file; -d must"),
            "{}",
            problem.text
        );
        assert_eq!(must_be_folder(&root.path().join("none")).unwrap_err().exit, ProgramExit::NotFound);
        must_be_folder(&dir).unwrap();
        must_not_be_file(&root.path().join("none")).unwrap();
        assert_eq!(quoted(&root.path().join("it's")), format!("'{}/it'\\''s'", root.path().display()));
    }
}
