//! What tells one state of a partition from any other.

use std::os::unix::ffi::OsStrExt;

use md5::{Digest as _, Md5};

use super::inventory::{Folder, Inventory};
use crate::device::push_note::Fingerprint;

impl Inventory {
    /// A digest of the recorded files, by what identifies them, and of the words that say where they went. These
    /// may come in any order: nodes are pushed to as the partitions of a list have it, which is another one in each pass.
    pub(crate) fn fingerprint<'a>(&self, targets: impl IntoIterator<Item = &'a str>) -> Fingerprint {
        let mut md5 = Md5::new();
        for (suffix, folder) in &self.suffixes {
            add(&mut md5, suffix.as_str().as_bytes(), folder);
        }
        for path in &self.foreign {
            md5.update(path.as_os_str().as_bytes());
            md5.update([0]);
        }
        let mut targets: Vec<_> = targets.into_iter().collect();
        targets.sort_unstable();
        for target in targets {
            md5.update(target.as_bytes());
            md5.update([0]);
        }
        md5.finalize().into()
    }
}

fn add(md5: &mut Md5, name: &[u8], folder: &Folder) {
    md5.update(name);
    md5.update([0]);
    for (file, identity) in &folder.files {
        md5.update(file.to_bytes_with_nul());
        md5.update(identity.to_bytes());
    }
    for (name, inner) in &folder.folders {
        add(md5, name.to_bytes(), inner);
    }
    md5.update([0]);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_fingerprint_changes_with_any_file_and_any_target() {
        let root = tempfile::tempdir().unwrap();
        let partition = root.path().join("1");
        let folder = partition.join("abc/0123456789abcdef0123456789abcabc");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("1.data"), "x").unwrap();
        let of =
            |targets: &[&str]| Inventory::record(&partition).unwrap().unwrap().fingerprint(targets.iter().copied());
        let first = of(&["a", "b"]);
        assert_eq!(of(&["a", "b"]), first);
        assert_eq!(of(&["b", "a"]), first);
        assert_ne!(of(&["a"]), first);
        fs::write(folder.join("1.data"), "xy").unwrap();
        let second = of(&["a", "b"]);
        assert_ne!(second, first);
        fs::write(folder.join("1.meta"), "").unwrap();
        assert_ne!(of(&["a", "b"]), second);
    }
}
