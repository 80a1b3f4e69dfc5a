//! What rsync is told (B8.1, B8.4).

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::PushError;
use super::push::{PartSuffixes, Push, SentOf};
use super::retry::Retry;
use crate::config::settings::RsyncSettings;
use crate::names::Partition;
use crate::peer::module;
use crate::python;
use crate::ring::Device;

/// One run of rsync, as it is to be started.
pub(super) struct Invocation<'a> {
    /// What is sent; at least one partition with at least one suffix.
    pub(super) parts: Vec<PartSuffixes>,
    /// The arguments, the program's name first.
    pub(super) args: Vec<OsString>,
    /// The sources, relative to the datadir, if they are not among the arguments; a NUL byte after each.
    pub(super) list: Option<Vec<u8>>,
    /// The local datadir.
    pub(super) datadir: &'a Path,
    /// The same, held open.
    folder: Option<BorrowedFd<'a>>,
    /// `<module>/<device>/<datadir>` of the target.
    pub(super) target: String,
    /// Whether there is another module to try if this one is not known.
    pub(super) has_fallback: bool,
    /// A shorter time limit than the usual one.
    pub(super) limit: Option<Duration>,
    /// Takes note of what files were sent of.
    pub(super) sent_of: Option<&'a SentOf>,
    /// What follows if it fails.
    pub(super) retry: Option<Retry<'a>>,
    /// The node, as the log names it.
    pub(super) to: &'a Device,
}

impl<'a> Invocation<'a> {
    /// How to push these parts to a module.
    pub(super) fn push(
        options: &RsyncSettings,
        module: &str,
        push: &Push<'a>,
        parts: Vec<PartSuffixes>,
        fsync: bool,
    ) -> Result<Self, PushError> {
        let mut args = common_args(options, push.across_regions);
        args.insert(IGNORE_EXISTING, "--ignore-existing".into());
        // With `rsync_batch = 1` and `rsync_nodelay = no` the arguments are exactly the reference's.
        let is_as_the_references = parts.len() == 1 && !options.nodelay;
        // What the daemon shows its visitors is no part of a push.
        if !is_as_the_references {
            args.push("--no-motd".into());
        }
        if fsync {
            args.push("--fsync".into());
        }
        let mut invocation = Self { sent_of: push.sent_of, ..Self::to(module, push, parts, args)? };
        match &invocation.parts[..] {
            // These names are looked up when rsync is at it; if the device is unmounted just before, they lead to what
            // lies below its mount point. So a list is the rule, for one partition too.
            [one] if is_as_the_references => {
                let folder = push.datadir.join(one.partition.to_string());
                invocation.args.extend(one.suffixes.iter().map(|suffix| folder.join(suffix.as_str()).into()));
                invocation.args.push(format!("{}/{}", invocation.target, one.partition).into());
            }
            _ => invocation.add_list(),
        }
        Ok(invocation)
    }

    /// How to have these parts compared to a module's.
    pub(super) fn comparison(
        options: &RsyncSettings,
        module: &str,
        push: &Push<'a>,
        parts: Vec<PartSuffixes>,
        more: Vec<OsString>,
    ) -> Result<Self, PushError> {
        let mut args = common_args(options, push.across_regions);
        args.push("--no-motd".into());
        args.extend(more);
        let mut invocation = Self::to(module, push, parts, args)?;
        invocation.add_list();
        Ok(invocation)
    }

    /// One with these arguments so far, and without sources yet.
    fn to(module: &str, push: &Push<'a>, parts: Vec<PartSuffixes>, args: Vec<OsString>) -> Result<Self, PushError> {
        let target = target_of(module, push)?;
        let Push { datadir, folder, limit, retry, to, .. } = *push;
        let (list, has_fallback, sent_of) = (None, false, None);
        Ok(Self { parts, args, list, datadir, folder, target, has_fallback, limit, sent_of, retry, to })
    }

    fn add_list(&mut self) {
        // Without `--no-implied-dirs` rsync would give the target's partition folders the attributes of ours.
        // `.`, not `./`: for that one rsync would look up the path of the folder that it was started in, and go there.
        self.args.extend(["--from0", "--files-from=-", "--relative", "--no-implied-dirs", "."].map(Into::into));
        // Without the final `/.` rsync would create the datadir: of a device that is not mounted there, on the peer's
        // root disk. With it, it ends with code 11.
        self.args.push(format!("{}/.", self.target).into());
        self.list = Some(sources(&self.parts));
    }

    /// Where rsync is started: in the datadir that is held open rather than by its path, which may lead elsewhere by then.
    pub(super) fn start_in(&self) -> PathBuf {
        let held = self.folder.map(|folder| PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())));
        // Without /proc the path must do.
        held.filter(|held| held.exists()).unwrap_or_else(|| self.datadir.to_owned())
    }

    /// The source and the target of a partition in the words of the reference's log lines (B8.7).
    pub(super) fn ends_of(&self, partition: Partition) -> (String, String) {
        (format!("{}/{partition}/...", self.datadir.display()), format!("{}/{partition}", self.target))
    }

    /// The folder that rsync's names are relative to.
    pub(super) fn names_begin_at(&self) -> PathBuf {
        match &self.parts[..] {
            [one] if self.list.is_none() => self.datadir.join(one.partition.to_string()),
            _ => self.datadir.to_owned(),
        }
    }

    /// The arguments as Python shows a list of them (B8.8).
    pub(super) fn python_args(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| arg.to_string_lossy()).collect();
        python::repr_list(&args)
    }
}

/// Where the reference has `--ignore-existing` among its options.
const IGNORE_EXISTING: usize = 6;

/// The options that every run has, in the reference's order.
pub(super) fn common_args(options: &RsyncSettings, across_regions: bool) -> Vec<OsString> {
    let first = ["rsync", "--recursive", "--whole-file", "--human-readable", "--xattrs", "--itemize-changes"];
    let mut args: Vec<OsString> = first.map(Into::into).into();
    args.push(format!("--timeout={}", options.io_timeout).into());
    args.push(format!("--contimeout={}", options.io_timeout).into());
    args.push(format!("--bwlimit={}", options.bwlimit).into());
    args.push(format!("--exclude=.*.{}", "[0-9a-zA-Z]".repeat(6)).into());
    if options.compress && across_regions {
        args.push("--compress".into());
    }
    if options.nodelay {
        args.push("--sockopts=TCP_NODELAY".into());
    }
    args
}

/// `<module>/<device>/<datadir>`: where the partitions are on the peer.
///
/// The ring's words go into it as they are. So they must not lead out of the module, nor be taken for an option, nor
/// make a local path of it.
pub(super) fn target_of(template: &str, push: &Push) -> Result<String, PushError> {
    let module = module_of(template, push.to)?;
    let device = &push.to.device;
    let is_name = !matches!(device.as_str(), "" | "." | "..") && !device.contains('/');
    if module.is_empty() || module.starts_with('-') || !is_name {
        return Err(PushError::Target { module, device: device.clone() });
    }
    let slash = if module.ends_with('/') { "" } else { "/" };
    Ok(format!("{module}{slash}{device}/{}", push.policy.datadir()))
}

/// The module of a device.
pub(super) fn module_of(template: &str, to: &Device) -> Result<String, PushError> {
    Ok(module::interpolate(template, to)?)
}

fn sources(parts: &[PartSuffixes]) -> Vec<u8> {
    let mut sources = Vec::new();
    for PartSuffixes { partition, suffixes } in parts {
        for suffix in suffixes {
            sources.extend_from_slice(format!("{partition}/{suffix}\0").as_bytes());
        }
    }
    sources
}
