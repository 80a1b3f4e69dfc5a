//! What fuzzers feed with bytes that others could have written: a function for each thing that is read here.
//!
//! Each [`Target`] takes any bytes and must come to its end, soon and with little memory, whatever they are. Where there
//! is a second opinion it is asked: what was read is written and read again, or another reader of the same format is held
//! against ours. The targets of `fuzz/` call these functions, and a test here has them go through the corpora that stand
//! there, so that what was found once is not lost.

use std::fs;
use std::path::PathBuf;

mod codecs;
mod peers;
mod texts;

/// Something that bytes can be fed to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its corpus, and of its program in `fuzz/`.
    pub name: &'static str,
    /// Fails, by a panic, if these bytes are read in a wrong way.
    pub feed: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 17] = [
    Target { name: "hashes", feed: codecs::hashes },
    Target { name: "metadata", feed: codecs::metadata },
    Target { name: "names", feed: codecs::names },
    Target { name: "rings", feed: codecs::rings },
    Target { name: "invalidations", feed: codecs::invalidations },
    Target { name: "printable", feed: texts::printable },
    Target { name: "ini", feed: texts::ini },
    Target { name: "settings", feed: texts::settings },
    Target { name: "swift_conf", feed: texts::swift_conf },
    Target { name: "recon", feed: texts::recon },
    Target { name: "status", feed: texts::status },
    Target { name: "metrics", feed: texts::metrics },
    Target { name: "command_line", feed: texts::command_line },
    Target { name: "modules", feed: peers::modules },
    Target { name: "rsync_output", feed: peers::rsync_output },
    Target { name: "ssync", feed: peers::ssync },
    Target { name: "replicate", feed: peers::replicate },
];

/// Feeds the target with this name.
///
/// # Panics
/// There is none, or the bytes are read in a wrong way.
pub fn feed(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).feed)(bytes);
}

thread_local! {
    static SCRATCH: tempfile::TempDir = tempfile::tempdir().expect("there is room for a folder");
}

/// A file of this thread with these bytes.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    fs::write(&path, bytes).expect("our own folder can be written to");
    path
}

/// A folder of this thread.
fn scratch() -> PathBuf {
    SCRATCH.with(|folder| folder.path().to_owned())
}

/// The bytes up to the first one of this value, and those behind it.
fn split_at_byte(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(place) => (&bytes[..place], &bytes[place + 1..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sys::heap;

    /// What one input may cost, whatever it is.
    const MEMORY: usize = 16 << 20;
    const TIME: Duration = Duration::from_secs(30);

    fn corpus(target: Target) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn nothing_in_the_corpora_is_read_in_a_wrong_way_or_costs_much() {
        for target in TARGETS {
            let files = corpus(target);
            assert!(files.len() >= 3, "{} has a corpus", target.name);
            for file in files {
                let bytes = fs::read(&file).unwrap();
                for bytes in [&bytes[..], &bytes[..bytes.len() / 2]] {
                    // Shown if the target fails.
                    println!("{}, {} bytes", file.display(), bytes.len());
                    let began = Instant::now();
                    let ((), memory) = heap::peak_of(|| (target.feed)(bytes));
                    assert!(memory < MEMORY, "{}: {memory} bytes of memory", file.display());
                    assert!(began.elapsed() < TIME, "{}: {:?}", file.display(), began.elapsed());
                }
            }
        }
    }

    /// For how long each target is fed with what the corpora become by changes.
    fn time_for_changes() -> Duration {
        let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs_f64(seconds.unwrap_or(0.5))
    }

    fn generator() -> fastrand::Rng {
        let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        println!("FUZZ_SEED={seed}");
        fastrand::Rng::with_seed(seed)
    }

    /// One of the inputs, changed in a few places: bytes, pieces that go, and pieces of others that come.
    fn changed(inputs: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = inputs[rng.usize(..inputs.len())].clone();
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(..=bytes.len());
            let end = rng.usize(at..=bytes.len().min(at + 40));
            match rng.u8(..5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
                1 if at < bytes.len() => bytes[at] = rng.u8(..),
                2 => drop(bytes.drain(at..end)),
                3 => bytes.extend_from_within(at..end),
                _ => {
                    let other = &inputs[rng.usize(..inputs.len())];
                    let from = rng.usize(..=other.len());
                    let piece = &other[from..rng.usize(from..=other.len().min(from + 40))];
                    drop(bytes.splice(at..end, piece.iter().copied()));
                }
            }
        }
        bytes
    }

    #[test]
    fn what_the_corpora_become_by_changes_is_not_read_in_a_wrong_way_either() {
        let mut rng = generator();
        let mut failures = Vec::new();
        for target in TARGETS {
            let inputs: Vec<_> = corpus(target).iter().map(|file| fs::read(file).unwrap()).collect();
            let began = Instant::now();
            while began.elapsed() < time_for_changes() {
                let bytes = changed(&inputs, &mut rng);
                let failed = std::panic::catch_unwind(|| (target.feed)(&bytes)).is_err();
                failures.extend(failed.then(|| format!("{}: \"{}\"", target.name, bytes.escape_ascii())));
                if failed {
                    break;
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// The text of all Rust files below a folder.
    fn source(folder: &Path) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text += &source(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
        text
    }

    #[test]
    fn the_threat_model_names_every_target_and_only_tests_that_there_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let model = fs::read_to_string(root.join("docs/threat-model.md")).unwrap();
        for Target { name, .. } in TARGETS {
            assert!(model.contains(&format!("`{name}`")), "{name}");
        }
        let source = source(&root.join("src")) + &source(&root.join("tests"));
        let named = model.split('`').skip(1).step_by(2);
        for test in named.filter(|name| {
            name.len() > 24 && name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b))
        }) {
            assert!(source.contains(&format!("fn {test}()")), "there is no test {test}");
        }
    }

    #[test]
    fn every_target_has_a_program() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for Target { name, .. } in TARGETS {
            assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
