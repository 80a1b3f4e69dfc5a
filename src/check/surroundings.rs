//! What stands beside the disks and the peers: folders that the daemon writes to, files that it reads again while it runs,
//! hosts of the log and of metrics, other policies' folders.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};

use super::finding::Finding;
use crate::bounded::{self, Job};
use crate::config::settings::Settings;
use crate::config::swift_conf::{self, SwiftConf};
use crate::names::Partition;
use crate::resolver::{self, ResolveError};

/// How long a host's name may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the user, who this process is by now, can write and read what the daemon has to.
pub(super) fn files(settings: &Settings) -> Vec<Finding> {
    let mut folders = vec![("recon_cache_path", settings.recon_cache_path.as_path())];
    if let Some(folder) = settings.metrics_textfile.as_deref().and_then(Path::parent) {
        folders.push(("metrics_textfile", folder));
    }
    let unwritable = folders.into_iter().filter_map(|(key, folder)| {
        let error = allowed(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
        Some(Finding::error(key, format!("{}: nothing can be written there: {error}", folder.display())))
    });
    let conf = Path::new(swift_conf::PATH);
    let unreadable = allowed(conf, Access::READ_OK).err().filter(|error| error.kind() != io::ErrorKind::NotFound);
    let unreadable = unreadable.map(|error| {
        let text =
            format!("{}: the daemon's user cannot read it, so SIGHUP will change nothing: {error}", conf.display());
        Finding::warning("swift.conf", text)
    });
    unwritable.chain(unreadable).collect()
}

fn allowed(path: &Path, wanted: Access) -> io::Result<()> {
    access(path, wanted).map_err(io::Error::from)
}

/// Hosts of the log and of metrics that have no address.
pub(super) fn hosts(settings: &Settings) -> Vec<Finding> {
    let hosts = [("log_udp_host", &settings.log.udp_host), ("log_statsd_host", &settings.statsd.host)];
    let hosts: Vec<_> = hosts.into_iter().filter_map(|(key, host)| Some((key, host.clone()?))).collect();
    let jobs = hosts.iter().map(|(_, host)| {
        let host = host.clone();
        Box::new(move || resolver::addresses(&host, Instant::now() + PATIENCE).map(drop))
            as Job<Result<(), ResolveError>>
    });
    let outcomes = bounded::run(jobs.collect(), hosts.len(), PATIENCE + Duration::from_secs(1));
    let judged = hosts.iter().zip(outcomes).filter_map(|((key, host), outcome)| {
        let error = match outcome {
            Some(Ok(())) => return None,
            Some(Err(error)) => error.to_string(),
            None => "no answer of the name service in time".to_owned(),
        };
        Some(Finding::warning(*key, format!("{host}: {error}, so nobody hears what is sent there")))
    });
    judged.collect()
}

/// Folders of policies that `swift.conf` does not know, on one device, with partitions in them.
pub(super) fn unknown_policies(device: &Path, swift_conf: &SwiftConf) -> Vec<Finding> {
    let known: BTreeSet<_> = swift_conf.policies.iter().map(|policy| policy.index.datadir()).collect();
    let entries = fs::read_dir(device).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut unknown: Vec<_> =
        names.filter(|name| is_datadir(name) && !known.contains(name) && has_partitions(&device.join(name))).collect();
    unknown.sort();
    let finding = |name: String| {
        let text = format!(
            "{}: partitions of a policy that swift.conf does not have; nobody replicates them",
            device.join(&name).display()
        );
        Finding::error(format!("policy of {name}"), text)
    };
    unknown.into_iter().map(finding).collect()
}

/// `objects`, or `objects-N`; also a name that no policy has, such as `objects-01`, for nobody replicates that either.
fn is_datadir(name: &str) -> bool {
    name.strip_prefix("objects").is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('-')
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn has_partitions(datadir: &Path) -> bool {
    let entries = fs::read_dir(datadir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| Partition::from_dir_name(&entry.file_name()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_policies_have_their_names() {
        for (name, is_one) in [
            ("objects", true),
            ("objects-1", true),
            ("objects-", false),
            ("objects-x", false),
            ("accounts", false),
            ("objects-1x", false),
        ] {
            assert_eq!(is_datadir(name), is_one, "{name}");
        }
    }

    #[test]
    fn only_folders_with_partitions_and_without_a_policy_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["objects/1", "objects-1/7", "objects-2/x", "objects-12/0", "tmp/3"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let file = folder.path().join("swift.conf");
        let text = "[swift-hash]\nswift_hash_path_suffix = s\n[storage-policy:0]\nname = a\ndefault = yes\n[storage-policy:12]\nname = b\n";
        fs::write(&file, text).unwrap();
        let found = unknown_policies(folder.path(), &swift_conf::load(&file).unwrap());
        assert_eq!(found.iter().map(|finding| finding.subject.as_str()).collect::<Vec<_>>(), ["policy of objects-1"]);
    }
}
