//! Where the recon cache is, also by a configuration that cannot be used.
//!
//! A daemon goes on by the configuration that it has read before somebody broke the file, and is looked for by its status
//! beside the recon cache. So this option is found whatever else is wrong with the file.

use std::path::{Path, PathBuf};

use super::{ConfigError, RECON_CACHE_PATH, SECTION, load, read};
use crate::config::ini;

/// The option.
const KEY: &str = "recon_cache_path";

/// Where the recon cache is.
#[derive(Debug)]
pub struct ReconCachePath {
    pub path: PathBuf,
    /// Why the configuration cannot be used.
    pub trouble: Option<ConfigError>,
}

/// Where the recon cache is by this configuration, whatever else is wrong with it.
///
/// # Errors
/// [`ConfigError`] if a file cannot be read at all or has no section for the daemon, or if the option is made from others
/// in a file that cannot be understood.
pub fn recon_cache_path(config: &Path) -> Result<ReconCachePath, ConfigError> {
    match load(config) {
        Ok(loaded) => Ok(ReconCachePath { path: loaded.settings.recon_cache_path, trouble: None }),
        Err(error @ (ConfigError::Ini(_) | ConfigError::Option(_))) => match in_spite_of_all(config) {
            Some(path) => Ok(ReconCachePath { path: path.into(), trouble: Some(error) }),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The option's text, or its default; `None` where it is not known.
fn in_spite_of_all(config: &Path) -> Option<String> {
    let value = match read(config) {
        Ok((items, _)) => items.into_iter().find(|item| item.key == KEY).map(|item| item.value),
        Err(_) => by_line(config),
    };
    Some(value.unwrap_or_else(|| RECON_CACHE_PATH.to_owned())).filter(|value| !value.contains("%("))
}

/// The option by its line alone, in files of which another line cannot be understood.
fn by_line(config: &Path) -> Option<String> {
    // A folder that cannot be listed is another error, and has been found.
    let folder = config.is_dir().then(|| ini::files_of_folder(config).unwrap_or_default());
    let files = folder.unwrap_or_else(|| vec![config.to_owned()]);
    let (mut own, mut inherited) = (None, None);
    for file in files {
        let Ok(bytes) = std::fs::read(file) else { continue };
        let mut section = String::new();
        for line in String::from_utf8_lossy(&bytes).lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
            }
            match (value_of(line), section.as_str()) {
                (Some(value), SECTION) => own = Some(value.to_owned()),
                (Some(value), "DEFAULT") => inherited = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    own.or(inherited)
}

fn value_of(line: &str) -> Option<&str> {
    let (key, value) = line.split_once(['=', ':'])?;
    (key.trim() == KEY).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Result<ReconCachePath, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, content).unwrap();
        recon_cache_path(file.path())
    }

    #[test]
    fn it_is_found_whatever_else_is_wrong() {
        for (content, expected) in [
            ("[object-replicator]\nrecon_cache_path = /a\n", "/a"),
            ("[object-replicator]\nrecon_cache_path = /a\nconcurrency = many\n", "/a"),
            ("[DEFAULT]\nx = /d\nrecon_cache_path = %(x)s/e\n[object-replicator]\nconcurrency = many\n", "/d/e"),
            ("[object-replicator]\nconcurrency = many\n", "/var/cache/swift"),
            ("[DEFAULT]\nrecon_cache_path: /d\n[object-replicator]\nconcurrency 4\n", "/d"),
            ("[DEFAULT]\nrecon_cache_path=/d\n[object-replicator]\nrecon_cache_path = /a\n[object-replicator]\n", "/a"),
            ("[container-replicator]\nrecon_cache_path=/c\n[object-replicator]\n=\n", "/var/cache/swift"),
        ] {
            let found = found(content).unwrap();
            assert_eq!(found.path, Path::new(expected), "{content}");
            assert_eq!(found.trouble.is_some(), expected != "/a" || content.lines().count() > 2, "{content}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        assert!(found("[DEFAULT]\nx = /d\n[object-replicator]\nrecon_cache_path = %(x)s/e\nconcurrency 4\n").is_err());
        assert!(matches!(found("[DEFAULT]\n"), Err(ConfigError::NoSection(_))));
        assert!(matches!(recon_cache_path(Path::new("/no/such")), Err(ConfigError::Read { .. })));
    }
}
