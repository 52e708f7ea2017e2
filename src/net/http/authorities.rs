//! The certificate authorities that HTTPS servers are checked against: Mozilla's list and the system's own store.
//!
//! An authority of a company or a home network is in the system's store only. The place of the store can be set as for
//! OpenSSL: `SSL_CERT_FILE` names a file, `SSL_CERT_DIR` names folders. If either is set, the usual places are not
//! read. Files that cannot be read are skipped; servers of their authorities are then refused with an error that says
//! so.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The bundles of Debian, Fedora, openSUSE, RHEL, Alpine. As in Go, the first one that exists is read.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// 4 MiB of a file: the bundles of distributions have a quarter of one MiB.
const MAX_BUNDLE: u64 = 4 << 20;

/// 1,000 files of a folder: Debian's has 290 including links.
const MAX_FILES: usize = 1000;

/// All authorities. Reads files, which takes some milliseconds, so it should be called once.
pub(super) fn roots() -> RootCertStore {
    let of_system =
        of_system(std::env::var_os("SSL_CERT_FILE").as_deref(), std::env::var_os("SSL_CERT_DIR").as_deref());
    with(&of_system)
}

/// Mozilla's authorities and those in these files.
fn with(files: &[PathBuf]) -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for file in files {
        let (added, ignored) = roots.add_parsable_certificates(certificates(file));
        tracing::debug!(file = %crate::base::safe::shown_path(file), added, ignored, "authorities are read");
    }
    roots
}

/// The files of the system that may hold certificates.
fn of_system(file: Option<&OsStr>, folders: Option<&OsStr>) -> Vec<PathBuf> {
    if file.is_none() && folders.is_none() {
        return BUNDLES.iter().map(PathBuf::from).find(|bundle| bundle.is_file()).into_iter().collect();
    }
    let in_folder = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).take(MAX_FILES).collect();
        files.sort();
        files
    };
    let folders = folders.into_iter().flat_map(std::env::split_paths).flat_map(in_folder);
    file.map(PathBuf::from).into_iter().chain(folders).collect()
}

/// The certificates of a file in PEM form. Only a regular file is opened, because opening a pipe would block.
fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let mut bytes = Vec::new();
    let read = path.metadata().is_ok_and(|metadata| metadata.is_file())
        && File::open(path).is_ok_and(|file| file.take(MAX_BUNDLE).read_to_end(&mut bytes).is_ok());
    if read { CertificateDer::pem_slice_iter(&bytes).flatten().collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The certificate of `tracker.example`, as in `tls`.
    const CERT: &[u8] = include_bytes!("testdata/nobody.cert.der");

    /// The digits of base64.
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn pem() -> String {
        use std::fmt::Write;
        let mut text = "# a comment\n-----BEGIN CERTIFICATE-----\n".to_owned();
        let mut base64 = String::new();
        for chunk in CERT.chunks(3) {
            let group = (u32::from(chunk[0]) << 16)
                | (u32::from(*chunk.get(1).unwrap_or(&0)) << 8)
                | u32::from(*chunk.get(2).unwrap_or(&0));
            for nth in 0..4 {
                let letter = LETTERS[(group >> (18 - 6 * nth)) as usize & 63];
                base64.push(if nth > chunk.len() { '=' } else { letter.into() });
            }
        }
        for line in base64.as_bytes().chunks(64) {
            writeln!(text, "{}", std::str::from_utf8(line).unwrap()).unwrap();
        }
        text + "-----END CERTIFICATE-----\n"
    }

    #[test]
    fn authorities_of_a_file_and_of_folders_are_added_to_mozillas() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("bundle.pem"), dir.path().join("folder"));
        std::fs::write(&file, pem()).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("a.pem"), pem()).unwrap();
        std::fs::write(folder.join("b.crt"), "no certificate").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        let mozilla = webpki_roots::TLS_SERVER_ROOTS.len();
        let count = |file: Option<&Path>, folders: Option<&OsStr>| {
            with(&of_system(file.map(Path::as_os_str), folders)).roots.len() - mozilla
        };
        let folders = std::env::join_paths([dir.path().join("absent"), folder]).unwrap();
        assert_eq!(count(Some(&file), None), 1);
        assert_eq!(count(None, Some(&folders)), 1);
        assert_eq!(count(Some(&file), Some(&folders)), 2);
        assert_eq!(count(Some(&dir.path().join("absent")), None), 0);
    }
}
