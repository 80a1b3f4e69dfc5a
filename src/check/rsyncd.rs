//! This machine's own rsync daemon, by its `rsyncd.conf`: what peers push here goes through it.
//!
//! Only what stands in the usual file is judged. A daemon may have another one, and a file may include others; so what is
//! not found is no fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::rings::PolicyRing;
use crate::config::settings::Settings;
use crate::peer::module;
use crate::peer::rsyncd::ModuleAddress;

/// The usual file.
pub(super) const PATH: &str = "/etc/rsyncd.conf";

/// The options of a module; those of all modules under an empty name.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// What pushes to this machine need.
#[derive(Debug)]
struct Wanted<'a> {
    /// The modules of the local devices, with the path that the template has behind them.
    modules: BTreeSet<(String, String)>,
    devices: &'a Path,
    user: &'a str,
    /// How many pushes a node makes to a module at a time, and how many other nodes there are.
    streams: usize,
    nodes: usize,
}

/// Judges the modules in the file that devices of this machine are pushed to by.
pub(super) fn check(file: &Path, settings: &Settings, rings: &[PolicyRing], streams: usize) -> Vec<Finding> {
    // A file that is not there, or not for this user, tells nothing.
    let Ok(text) = std::fs::read_to_string(file) else { return Vec::new() };
    let modules = modules(settings, rings);
    let streams = streams.div_ceil(modules.len().max(1));
    let (devices, user, nodes) = (settings.devices.as_path(), settings.user.as_str(), peers(rings));
    Wanted { modules, devices, user, streams, nodes }.judge(file, &text)
}

/// The modules of the local devices, with the path that the template has behind them.
fn modules(settings: &Settings, rings: &[PolicyRing]) -> BTreeSet<(String, String)> {
    let devices = rings.iter().flat_map(PolicyRing::local_devices);
    let targets = devices.filter_map(|device| module::interpolate(&settings.rsync.module, device).ok());
    let modules = targets.filter_map(|target| {
        let module = ModuleAddress::parse(&target)?.module;
        let below = target.rsplit_once(&format!("{module}/")).map_or("", |(_, below)| below);
        Some((module, below.to_owned()))
    });
    modules.collect()
}

/// How many other nodes push here.
fn peers(rings: &[PolicyRing]) -> usize {
    let others = rings.iter().flat_map(|ring| {
        let devices = ring.ring.devices.iter().flatten();
        devices.filter(|device| !ring.local.contains(&device.id)).map(|device| device.replication_ip.as_str())
    });
    others.collect::<BTreeSet<_>>().len()
}

impl Wanted<'_> {
    fn judge(&self, file: &Path, text: &str) -> Vec<Finding> {
        let sections = parse(text);
        let findings = self.modules.iter().filter_map(|(name, below)| {
            let module = sections.get(name)?;
            let option = |key: &str| module.get(key).or_else(|| sections.get("")?.get(key)).map(String::as_str);
            let subject = format!("{} [{name}]", file.display());
            let path = option("path").and_then(|path| another_path(path, below, self.devices));
            let path = path.map(|text| Finding::error(&subject, text));
            let uid = option("uid").and_then(|uid| self.another_user(uid)).map(|text| Finding::error(&subject, text));
            let connections = option("max connections").and_then(|most| self.crowd(&subject, most));
            Some([path, uid, connections].into_iter().flatten())
        });
        findings.flatten().collect()
    }

    fn another_user(&self, uid: &str) -> Option<String> {
        let is_another = uid != self.user && uid.parse() != Ok(rustix::process::geteuid().as_raw());
        is_another.then(|| {
            format!("uid = {uid}: what peers push here will not belong to {}, as whom this replicator works", self.user)
        })
    }

    fn crowd(&self, subject: &str, most: &str) -> Option<Finding> {
        let Self { streams, nodes, .. } = self;
        let most: i64 = most.parse().ok().filter(|most| *most != 0)?;
        let room = usize::try_from(most).unwrap_or(0);
        let text = format!(
            "max connections = {most}: of {nodes} other nodes, {} can push there at a time, if each makes {streams} pushes \
             as this one does (concurrency)",
            (room / streams).min(*nodes)
        );
        Some(match room {
            0 => Finding::error(subject, format!("max connections = {most}: nobody may push there")),
            room if room < *streams => {
                Finding::warning(subject, format!("{text}; those beyond fail, until a later pass"))
            }
            _ => Finding::ok(subject, text),
        })
    }
}

/// What is wrong with a module that does not lead to the devices.
fn another_path(path: &str, below: &str, devices: &Path) -> Option<String> {
    // rsync puts variables of its environment in the place of %NAME%.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let served: PathBuf = Path::new(path).join(below);
    let is_other = !path.contains('%') && real(&served) != real(devices);
    is_other.then(|| format!("path = {path}: peers push there, but the devices are in {}", devices.display()))
}

/// Names of options are the same whatever spaces are in them, and however they are written.
fn parse(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            let name = name.0.trim();
            section = if name.eq_ignore_ascii_case("global") { String::new() } else { name.to_owned() };
            sections.entry(section.clone()).or_default();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            sections.entry(section.clone()).or_default().insert(key, value.trim().to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn found(devices: &Path, below: &str, text: &str) -> Vec<(Verdict, String)> {
        let modules = BTreeSet::from([("object".to_owned(), below.to_owned())]);
        let wanted = Wanted { modules, devices, user: "swift", streams: 4, nodes: 9 };
        let findings = wanted.judge(Path::new(PATH), text);
        assert!(findings.iter().all(|finding| finding.subject == "/etc/rsyncd.conf [object]"));
        findings.into_iter().map(|finding| (finding.verdict, finding.text)).collect()
    }

    #[test]
    fn a_module_that_leads_elsewhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let devices = folder.path().join("node");
        std::fs::create_dir(&devices).unwrap();
        std::os::unix::fs::symlink(&devices, folder.path().join("link")).unwrap();
        let module = |path: &str| format!("[object]\npath = {}/{path}\n", folder.path().display());
        for right in ["node", "node/", "./node", "link", "%PLACE%"] {
            assert_eq!(found(&devices, "", &module(right)), [], "{right}");
        }
        assert_eq!(found(&devices, "node", &module("")), []);
        let wrong = found(&devices, "", &module("other"));
        assert!(matches!(&wrong[..], [(Verdict::Error, text)] if text.contains("but the devices are in")), "{wrong:?}");
        assert_eq!(found(&devices, "", "[container]\npath = /other\n# [object]\npath = /other\n"), []);
    }

    #[test]
    fn the_room_of_a_module_is_compared_with_what_a_node_sends() {
        let module = |most: &str| found(Path::new("/"), "", &format!("MAX  connections={most}\n[object]\npath = /\n"));
        assert_eq!(module("0"), []);
        let text = "max connections = 20: of 9 other nodes, 5 can push there at a time, if each makes 4 pushes as this one \
                    does (concurrency)";
        assert_eq!(module("20"), [(Verdict::Ok, text.to_owned())]);
        assert!(
            matches!(&module("3")[..], [(Verdict::Warning, text)] if text.contains("of 9 other nodes, 0 can push"))
        );
        assert!(matches!(&module("-1")[..], [(Verdict::Error, _)]));
    }

    #[test]
    fn another_user_of_the_daemon_is_an_error() {
        let own = rustix::process::geteuid().as_raw();
        for right in ["swift".to_owned(), own.to_string()] {
            assert_eq!(found(Path::new("/"), "", &format!("uid = {right}\n[object]\npath = /\n")), []);
        }
        let wrong = found(Path::new("/"), "", "uid = swift\n[object]\nuid = nobody\npath = /\n");
        assert!(matches!(&wrong[..], [(Verdict::Error, text)] if text.starts_with("uid = nobody: ")), "{wrong:?}");
    }
}
