//! Paths on the command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The path from the root on, without `.`, `..` and doubled slashes, as Python's `abspath` makes it.
pub(super) fn absolute(path: &OsStr) -> Result<PathBuf, String> {
    let path = Path::new(path);
    if path.is_absolute() {
        // The current folder may be gone, and is not needed.
        return Ok(normal(path));
    }
    let here = std::env::current_dir().map_err(|error| format!("unable to tell the current folder: {error}"))?;
    Ok(normal(&here.join(path)))
}

fn normal(absolute: &Path) -> PathBuf {
    let bytes = absolute.as_os_str().as_bytes();
    let mut names: Vec<&[u8]> = Vec::new();
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    // Two slashes at the start, and only two, may have a meaning of their own to POSIX.
    let root: &[u8] = if bytes.starts_with(b"//") && !bytes.starts_with(b"///") { b"//" } else { b"/" };
    PathBuf::from(OsString::from_vec([root, &names.join(&b'/')].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_becomes_absolute_and_plain() {
        for (path, expected) in [("/a/./b/../c/", "/a/c"), ("//a", "//a"), ("///a", "/a"), ("/../..", "/")] {
            assert_eq!(normal(Path::new(path)), Path::new(expected), "{path}");
        }
        assert_eq!(absolute(OsStr::new("")).unwrap(), std::env::current_dir().unwrap());
    }
}
