//! `swift.conf`: the salts of object hashes and the storage policies (B2.11-B2.18).
//!
//! The file is read twice, as the reference does. The salts are bytes, so for them every byte is a character (Latin-1); for
//! the policies it is UTF-8, or Latin-1 where it is not. Keys are lower-cased, and every `%` is special.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::ini::{Dialect, Ini, IniError};
use super::interpolation::Interpolation;
use super::policies::{self, Policy, PolicyError};

/// Where the file is; no option moves it (B2.13).
pub const PATH: &str = "/etc/swift/swift.conf";

/// What `swift.conf` says.
#[derive(Clone, Debug, PartialEq)]
pub struct SwiftConf {
    pub hash_path_prefix: Vec<u8>,
    pub hash_path_suffix: Vec<u8>,
    /// In the order of the file (B2.18).
    pub policies: Vec<Policy>,
}

/// Why `swift.conf` cannot be used: one line.
#[derive(Debug, Error)]
pub enum SwiftConfError {
    #[error("Unable to read {path}: {error}", path = .path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Ini(#[from] IniError),
    #[error("ERROR: Invalid Storage Policy Configuration in {path} ({reason})", path = .path.display())]
    Policy { path: PathBuf, reason: PolicyError },
    #[error(
        "Error: [swift-hash]: both swift_hash_path_suffix and swift_hash_path_prefix are missing from {path}",
        path = .0.display()
    )]
    NoSalts(PathBuf),
}

/// Reads `swift.conf`.
///
/// # Errors
/// - [`SwiftConfError::Read`] if the file cannot be read;
/// - [`SwiftConfError::Ini`] if it is not in the ini format, sets an option twice, or has a value with a `%` that
///   begins no reference;
/// - [`SwiftConfError::Policy`] if its storage policies are ones that Swift would refuse;
/// - [`SwiftConfError::NoSalts`] if it has neither a hash path prefix nor a suffix.
pub fn load(path: &Path) -> Result<SwiftConf, SwiftConfError> {
    let bytes = std::fs::read(path).map_err(|error| SwiftConfError::Read { path: path.to_owned(), error })?;
    let latin1: String = bytes.iter().copied().map(char::from).collect();
    let (hash_path_prefix, hash_path_suffix) = read_salts(path, &latin1)?;
    let policies = read_policies(path, std::str::from_utf8(&bytes).unwrap_or(&latin1))?;
    if hash_path_prefix.is_empty() && hash_path_suffix.is_empty() {
        return Err(SwiftConfError::NoSalts(path.to_owned()));
    }
    Ok(SwiftConf { hash_path_prefix, hash_path_suffix, policies })
}

/// The prefix and the suffix. This is the reading that minds duplicates anywhere in the file.
fn read_salts(path: &Path, text: &str) -> Result<(Vec<u8>, Vec<u8>), IniError> {
    let mut ini = Ini::new(Dialect { strict: true, lower_case_keys: true });
    ini.read(path, text)?;
    let salt = |key| {
        let value = ini.get("swift-hash", key, Interpolation::Always)?.unwrap_or_default();
        // Every character was one byte.
        Ok::<_, IniError>(value.chars().filter_map(|c| u8::try_from(c).ok()).collect())
    };
    let suffix = salt("swift_hash_path_suffix")?;
    Ok((salt("swift_hash_path_prefix")?, suffix))
}

fn read_policies(path: &Path, text: &str) -> Result<Vec<Policy>, SwiftConfError> {
    let mut ini = Ini::new(Dialect { strict: false, lower_case_keys: true });
    ini.read(path, text)?;
    let mut sections = Vec::new();
    for name in ini.sections() {
        if let Some(index) = name.strip_prefix("storage-policy:") {
            sections.push((index, ini.items(name, Interpolation::Always)?.unwrap_or_default()));
        }
    }
    policies::from_sections(sections).map_err(|reason| SwiftConfError::Policy { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_bytes(bytes: &[u8]) -> Result<SwiftConf, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("swift.conf");
        std::fs::write(&file, bytes).unwrap();
        load(&file).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    fn salts(lines: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let conf = load_bytes(&[b"[swift-hash]\n", lines].concat()).unwrap();
        (conf.hash_path_prefix, conf.hash_path_suffix)
    }

    #[test]
    fn salts_are_bytes_and_keys_have_no_case() {
        assert_eq!(
            salts(b"SWIFT_hash_path_PREFIX = p\xff\nswift_hash_path_suffix: 50%%\xc3\xa9"),
            (b"p\xff".to_vec(), b"50%\xc3\xa9".to_vec())
        );
    }

    #[test]
    fn one_salt_is_enough_and_none_is_not() {
        assert_eq!(salts(b"swift_hash_path_suffix = s"), (vec![], b"s".to_vec()));
        let expected =
            "Error: [swift-hash]: both swift_hash_path_suffix and swift_hash_path_prefix are missing from swift.conf";
        for none in ["", "[swift-hash]\n", "[swift-hash]\nswift_hash_path_suffix =\n"] {
            assert_eq!(load_bytes(none.as_bytes()), Err(expected.into()), "{none:?}");
        }
    }

    #[test]
    fn a_bare_percent_in_a_salt_is_refused() {
        assert_eq!(
            load_bytes(b"[swift-hash]\nswift_hash_path_suffix = a%b\n"),
            Err("swift.conf line 2: swift_hash_path_suffix = \"a%b\": \"%\" must be followed by \"%\" or \"(\"".into())
        );
    }

    #[test]
    fn duplicates_are_refused() {
        assert_eq!(
            load_bytes(b"[swift-hash]\nswift_hash_path_suffix = a\n[x]\na = 1\nA = 2\n"),
            Err("swift.conf line 5: option a is set a second time in section [x] of this file".into())
        );
    }

    #[test]
    fn a_policy_error_names_the_file() {
        assert_eq!(
            load_bytes(b"[swift-hash]\nswift_hash_path_suffix = a\n[storage-policy:0]\nname = x\nbogus = 1\n"),
            Err("ERROR: Invalid Storage Policy Configuration in swift.conf (Invalid option 'bogus' in storage-policy \
                 section, for index '0')"
                .into())
        );
    }

    #[test]
    fn a_missing_file_is_one_line() {
        let error = load(Path::new("/nowhere/swift.conf")).unwrap_err().to_string();
        assert!(error.starts_with("Unable to read /nowhere/swift.conf: No such file"), "{error}");
    }
}
