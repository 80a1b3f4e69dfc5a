//! Does a node really have a hand-off? What is asked before it counts as one that has.
//!
//! Two things are to be proven, and neither proves the other:
//! - *What* is there is whole. A dry run of the push compares every file by its size and its metadata
//!   ([`Rsync::compare`](crate::peer::rsync::Rsync::compare)): names alone prove nothing, since a power cut leaves empty
//!   files under the right names, and a file system without extended attributes takes files without their metadata.
//! - *Where* it is the object server looks for it. rsync writes where its module leads, which may be another tree than the
//!   server's. So the server is asked for the partition's hashes: a suffix of which it has nothing did not arrive. If it
//!   has the hash that these very files give, all their names are there. (That it answers 200 when it is told of a push
//!   proves nothing: since 2020 it only takes note.)
//!
//! Each may be true of another tree: a module that leads elsewhere shows files that are whole, while the server has names
//! of damaged ones. So both have to be about the same folder. They are if `hashes.pkl`, which the server writes there when it
//! makes hashes, is seen through the module to have been written since the push began
//! ([`Rsync::written`](crate::peer::rsync::Rsync::written)).
//!
//! Where one of these remains open the server is asked for each object of the suffix by its name: it then opens the files,
//! holds their size against their metadata (and moves to quarantine what does not fit, so that the next push can bring a
//! good one), and says which version it has. That settles both, but costs a request for each object. So it is done only
//! - where the server has other objects in the same suffix, so that its hash is another one;
//! - where the dry run found something missing or wrong: the server may have a newer version already;
//! - where the peer's rsync daemon refuses a dry run;
//! - where `hashes.pkl` was not written, or cannot be seen.
//!
//! Where no comparison says that the content is the same, the server's ETag and Content-Type must be those from here, if
//! it has the same version. What is found to be no file is not asked for: opening a fifo would hang the server.
//!
//! The dry run comes before the hashes: asking for these makes the server clean up, and a file that it finds outdated
//! would then look missing. Asking also makes the server write `hashes.pkl` and wait for the disk, which brings the names
//! of all files that came before it to the disk too (ext4 and XFS keep the order of such changes).

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use log::{error, warn};

use super::push::with_push;
use crate::clock;
use crate::device::expected::{Expected, expected};
use crate::device::object::{Content, ObjectReader, Unsendable};
use crate::device::survey::{Purpose, Survey, SurveyError};
use crate::format::hashes::RemoteHash;
use crate::format::object::{ObjectHash, Times};
use crate::heartbeat::Heartbeat as _;
use crate::job::slot::Step;
use crate::job::work::Work;
use crate::names::{Partition, Suffix};
use crate::peer::node_string;
use crate::peer::replicate::{Description, ReplicateError, Served as There};
use crate::peer::rsync::{Lacking, PartSuffixes, PushError};
use crate::ring::Device;

/// A server's clock and that of its disks may differ by this much; both are told in whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// Whether the node has each of the parts, whole and where its object server looks. What it has not is logged. With
/// `handoff_verify = no` it is believed, as by the reference. The push began at `begun`.
pub(super) fn prove(work: &Work<'_>, node: &Device, parts: &[&PartSuffixes], begun: Instant) -> Vec<bool> {
    if !work.tools.handoffs.verify {
        return vec![true; parts.len()];
    }
    let wholes = compare(work, node, parts);
    let provers: Vec<_> = parts.iter().map(|part| Prover { work, node, part, known: Known::Pushed }).collect();
    let proofs: Vec<_> = provers.iter().zip(wholes).map(|(prover, whole)| prover.prove(&whole, begun)).collect();
    let written = written(work, node, &proofs, &provers);
    let is_proven = |(prover, proof): (&Prover<'_>, &Proof)| match proof {
        Proof::Whole => true,
        Proof::Nothing => false,
        Proof::InTwoTrees { since } => {
            let at = written.get(&prover.part.partition);
            at.zip(since.as_ref()).is_some_and(|(at, since)| at >= since) || prover.serves_the_same()
        }
    };
    provers.iter().zip(&proofs).map(is_proven).collect()
}

/// What is known of a part at a node.
enum Proof {
    /// It is there.
    Whole,
    /// It is not, or that cannot be told.
    Nothing,
    /// It is there where the rsync module leads, and its names are where the object server looks.
    InTwoTrees {
        /// The two are the same if the server has written there since this moment of its clock.
        since: Option<SystemTime>,
    },
}

/// When the node's server wrote what it knows of those partitions of which that matters, as seen through its rsync module.
fn written(work: &Work<'_>, node: &Device, proofs: &[Proof], provers: &[Prover<'_>]) -> HashMap<Partition, SystemTime> {
    let matters = |proof: &Proof| matches!(proof, Proof::InTwoTrees { since: Some(_) });
    let open = proofs.iter().zip(provers).filter(|(proof, _)| matters(proof));
    let partitions: Vec<_> = open.map(|(_, prover)| prover.part.partition).collect();
    let (Some(first), false) = (partitions.first(), work.pass.veiled.contains(node)) else { return HashMap::new() };
    work.step_with(node, *first, Step::Verifying);
    work.tools.rsync.written(node, work.view.policy.index, &partitions, work.slot).unwrap_or_else(|failed| {
        if work.pass.veiled.insert(node) {
            warn!(
                "The rsync daemon of {} does not list files ({failed}): hand-offs are verified object by object, which is \
                 slower; its rsync module should not be write only",
                node_string(node)
            );
        }
        HashMap::new()
    })
}

/// Whether the node's object server still has the part: asked once more right before it is removed here, since another
/// node may have removed it meanwhile, for Swift's own replicator does so without a look at who counts on it.
pub(super) fn is_served(work: &Work<'_>, node: &Device, part: &PartSuffixes, known: Known) -> bool {
    !work.tools.handoffs.verify || Prover { work, node, part, known }.served().is_some()
}

/// What is known of a part before its node is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was pushed.
    Pushed,
    /// The server itself has just confirmed each object (SSYNC).
    Confirmed,
}

/// What the dry run says of a part.
#[derive(Clone)]
enum Whole {
    Yes,
    No(Lacking),
    /// The dry run is refused by the peer, or failed.
    Unknown,
    Failed,
}

/// Compares the parts in one run, or one by one where that does not work.
fn compare(work: &Work<'_>, node: &Device, parts: &[&PartSuffixes]) -> Vec<Whole> {
    let Some(first) = parts.first() else { return Vec::new() };
    work.step_with(node, first.partition, Step::Verifying);
    let list: Vec<_> = parts.iter().copied().cloned().collect();
    let compare_list = || with_push(work, node, &list, |push| work.tools.rsync.compare(push, work.slot));
    let mut compared = compare_list();
    if parts.len() == 1 && compared.as_ref().is_err_and(|failed| failed.verdict().may_be_chance()) {
        compared = compare_list();
    }
    match compared {
        Ok(lacking) => lacking.into_iter().map(whole).collect(),
        Err(PushError::NothingToSend) => vec![Whole::Yes; parts.len()],
        Err(failed @ PushError::Refused { .. }) => {
            if work.pass.refusing.insert(node) {
                warn!(
                    "{} refuses the dry run that handoff_verify asks for ({failed}): hand-offs are verified object by \
                     object, which is slower; take dry-run from the \"refuse options\" of its rsync module",
                    node_string(node)
                );
            }
            vec![Whole::Unknown; parts.len()]
        }
        // One of them stands in the others' way.
        Err(_) if parts.len() > 1 => parts.iter().flat_map(|part| compare(work, node, &[part])).collect(),
        Err(failed) => {
            let path = work.dir(first.partition);
            error!("Cannot verify the push of {} to {}: {failed}", path.path().display(), node_string(node));
            vec![Whole::Failed]
        }
    }
}

fn whole(lacking: Lacking) -> Whole {
    if lacking.is_nothing() { Whole::Yes } else { Whole::No(lacking) }
}

/// An object server has what it was asked for.
struct Served {
    /// When it said so, by its clock.
    answered: Option<SystemTime>,
}

/// One part and one node.
struct Prover<'a> {
    work: &'a Work<'a>,
    node: &'a Device,
    part: &'a PartSuffixes,
    known: Known,
}

/// What a node's server says of an object that is here.
enum Verdict {
    /// It has this version of it, or a newer one.
    Has,
    /// It has not; why.
    Lacks(String),
    /// It cannot be asked for objects: the status that it answers with.
    Unasked(u16),
    /// It did not answer.
    Silent(ReplicateError),
}

impl Prover<'_> {
    fn prove(&self, whole: &Whole, begun: Instant) -> Proof {
        let is_there = match whole {
            Whole::Failed => false,
            Whole::Yes => match self.served() {
                Some(Served { answered }) => {
                    let since = answered.and_then(|at| at.checked_sub(begun.elapsed() + SLACK));
                    return Proof::InTwoTrees { since };
                }
                None => false,
            },
            Whole::Unknown => {
                self.has_objects_of(&self.part.suffixes, Asking::ForContent { except: &[] }) && self.served().is_some()
            }
            Whole::No(lacking) => {
                self.say_what_is_lacking(lacking);
                self.has_what_can_be_asked_for(lacking) && self.served().is_some()
            }
        };
        if is_there { Proof::Whole } else { Proof::Nothing }
    }

    /// Whether the server has each object as it is here, where nothing shows that it serves what the rsync module shows.
    fn serves_the_same(&self) -> bool {
        let serves = self.has_objects_of(&self.part.suffixes, Asking::ForContent { except: &[] });
        if !serves {
            error!(
                "{} is kept: the object server of {} has not written hashes.pkl where its rsync module leads. Does the \
                 module lead to the folders of the object server?",
                self.path(),
                node_string(self.node)
            );
        }
        serves
    }

    fn path(&self) -> String {
        self.work.dir(self.part.partition).path().display().to_string()
    }

    fn say_what_is_lacking(&self, lacking: &Lacking) {
        let (path, name, Lacking { missing, wrong, in_the_way, .. }) = (self.path(), node_string(self.node), lacking);
        let example = lacking.examples.first().map(|path| format!(", such as {}", path.display())).unwrap_or_default();
        if *in_the_way > 0 {
            error!(
                "{path} is kept: {name} has something that is no file in the place of {in_the_way} of its files{example}: \
                 remove it there"
            );
        } else if *wrong > 0 {
            error!(
                "{name} has {wrong} files of {path} with another size or other metadata than here, which rsync does not \
                 replace{example}: its object server is asked for these objects"
            );
        } else {
            error!("Not all of {path} is on {name} after the push ({missing} files are missing{example})");
        }
    }

    /// Asks for each object but those in whose place is something that is no file. A server that opens a fifo waits for
    /// ever, and serves nobody meanwhile.
    fn has_what_can_be_asked_for(&self, lacking: &Lacking) -> bool {
        if lacking.in_the_way > lacking.obstructed.len() as u64 {
            error!("{} is kept: what is in the way of its files at {} has to go", self.path(), node_string(self.node));
            return false;
        }
        let hash = |path: &PathBuf| ObjectHash::from_name(path.iter().nth(2)?.as_bytes());
        let except: Vec<_> = lacking.obstructed.iter().filter_map(hash).collect();
        self.has_objects_of(&self.part.suffixes, Asking::ForContent { except: &except }) && lacking.in_the_way == 0
    }

    /// The server's answer, if it has every suffix of the part, with these files or newer ones.
    fn served(&self) -> Option<Served> {
        let Self { work, node, part, known } = self;
        work.step_with(node, part.partition, Step::Asking);
        let (client, policy) = (&work.tools.client, work.view.policy.index);
        let asked = work.patience.ask(client, node, work.slot, || client.dated_hashes(node, policy, part.partition));
        let (remote, answered) = match asked {
            Ok(answer) => answer,
            Err(error) => {
                error!("Cannot ask {} what it has of {}: {error}", node_string(node), self.path());
                return None;
            }
        };
        let here = expected(&work.dir(part.partition), &part.suffixes, work.tools.reclaim_age, work.slot);
        let mut open = Vec::new();
        for (suffix, expected) in here {
            match (expected, remote.get(suffix)) {
                // No object is in a folder of another name, nor does a server speak of it.
                _ if !suffix.is_hex() => {}
                (Expected::Nothing, _) => {}
                (Expected::Hash(here), Some(RemoteHash::Known(there))) if here == *there => {}
                (_, None) => {
                    error!(
                        "{} is kept: the object server of {} has nothing of suffix {suffix}, which was pushed there. Does \
                         the rsync module lead to the folders of the object server?",
                        self.path(),
                        node_string(node)
                    );
                    return None;
                }
                (_, Some(_)) if *known == Known::Confirmed => {}
                (_, Some(_)) => open.push(suffix),
            }
        }
        self.has_objects_of(&open, Asking::ForVersion).then_some(Served { answered })
    }

    /// Whether the server has every object of these suffixes, in the version that is here or a newer one.
    fn has_objects_of(&self, suffixes: &[Suffix], asking: Asking<'_>) -> bool {
        if suffixes.is_empty() {
            return true;
        }
        match self.ask_for_objects_of(suffixes, asking) {
            Ok(0) => true,
            Ok(lacking) => {
                if lacking > MAX_NAMED {
                    let (path, name) = (self.path(), node_string(self.node));
                    error!("{path} is kept: {name} lacks {lacking} objects of it in all");
                }
                false
            }
            Err(error) => {
                error!("{} is kept: cannot tell what {} has of it: {error}", self.path(), node_string(self.node));
                false
            }
        }
    }

    /// How many objects of these suffixes the server lacks. All are asked for, since that is how a server finds out
    /// that a file of its own is damaged.
    fn ask_for_objects_of(&self, suffixes: &[Suffix], asking: Asking<'_>) -> Result<usize, NotAsked> {
        let dir = self.work.dir(self.part.partition);
        let mut survey = Survey::new(&dir, Purpose::Update)?;
        let mut objects = Vec::new();
        for suffix in suffixes {
            let Ok(()) = survey.suffix(*suffix, |found| {
                objects.push((found.hash, found.times));
                Ok::<_, Infallible>(())
            });
        }
        if asking != Asking::ForVersion && survey.others() > 0 {
            return Err(NotAsked::NoObjects(survey.others()));
        }
        let mut reader = ObjectReader::new(&dir, &self.work.tools.salts).map_err(NotAsked::Open)?;
        let mut lacking = 0;
        for (hash, times) in objects {
            match self.ask_for(&mut reader, hash, times, asking) {
                Verdict::Has => {}
                Verdict::Unasked(_) if asking == Asking::ForVersion => return Ok(0),
                Verdict::Unasked(status) => return Err(NotAsked::Refused(status)),
                Verdict::Silent(error) => return Err(NotAsked::Silent(error)),
                Verdict::Lacks(reason) => {
                    lacking += 1;
                    if lacking <= MAX_NAMED {
                        error!("{} is kept: {reason}", dir.suffix_path(hash.suffix()).join(hash.to_string()).display());
                    }
                }
            }
        }
        Ok(lacking)
    }

    /// Asks the server for one object.
    fn ask_for(&self, reader: &mut ObjectReader<'_>, hash: ObjectHash, times: Times, asking: Asking<'_>) -> Verdict {
        let Self { work, node, part, .. } = self;
        if matches!(asking, Asking::ForContent { except } if except.contains(&hash)) {
            return Verdict::Lacks(format!("{} has something in its place that is no file", node_string(node)));
        }
        let (object, name) = match reader.open(hash) {
            Ok(object) => (object.content, object.name),
            // What is no longer there is not removed either.
            Err(Unsendable::Vanished(_) | Unsendable::Quarantined(_)) => return Verdict::Has,
            Err(unreadable) => return Verdict::Lacks(format!("its name cannot be read: {unreadable}")),
        };
        let here = times.meta.map_or(times.data, |meta| meta.max(times.data));
        work.slot.beat();
        let (client, policy, name) = (&work.tools.client, work.view.policy.index, name.as_name().as_bytes());
        let there = work.patience.ask(client, node, work.slot, || client.describe(node, policy, part.partition, name));
        let (there, told) = match there {
            Ok(answer) => answer,
            Err(error) => return Verdict::Silent(error),
        };
        let is_deleted = matches!(object, Content::Tombstone(_));
        let lacks = |what: &dyn Display| Verdict::Lacks(format!("{} {what}", node_string(node)));
        match there {
            There::Object { data, newest } if asking != Asking::ForVersion && data == times.data && newest == here => {
                match contradiction(&object, &told) {
                    Some(name) => lacks(&format_args!("has another object of the same time, with another {name}")),
                    None => Verdict::Has,
                }
            }
            There::Object { data, newest } if data >= times.data && newest >= here => Verdict::Has,
            // Metadata that were changed after the deletion bring nothing back.
            There::Deleted { at } if at > times.data || is_deleted && at == times.data => Verdict::Has,
            There::Object { newest: there, .. } => lacks(&format_args!("has the older version of {there}")),
            There::Deleted { at } => lacks(&format_args!("has it deleted at {at}, not after this version")),
            There::Nothing if self.is_due_to_go(&object) => Verdict::Has,
            There::Nothing => lacks(&"has no such object, or had a damaged one"),
            // A server that answers nothing but REPLICATE.
            There::CannotTell(status @ (405 | 501)) => Verdict::Unasked(status),
            There::CannotTell(status) => lacks(&format_args!("answers {status} when asked for it")),
        }
    }

    /// Whether it is a tombstone that a server removes when it sees it.
    fn is_due_to_go(&self, object: &Content) -> bool {
        let Content::Tombstone(deleted) = object else { return false };
        let now = clock::now().as_secs_f64();
        now - deleted.seconds() > self.work.tools.reclaim_age.as_secs_f64()
    }
}

/// What a server tells otherwise of an object that has the times of this one. A POST may have changed its type.
fn contradiction(object: &Content, told: &Description) -> Option<&'static str> {
    let Content::Data(stored) = object else { return None };
    let here = |name| stored.metadata.get(name);
    if here("ETag").is_some_and(|etag| told.has_other_etag(etag)) {
        return Some("ETag");
    }
    let is_as_put = stored.newer.is_none();
    (is_as_put && here("Content-Type").is_some_and(|it| told.has_other_type(it))).then_some("Content-Type")
}

/// What a server is asked of objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking<'a> {
    /// Which version it has; what is there was compared. It does not matter if it cannot be asked.
    ForVersion,
    /// What it has. It must be possible to ask for each object, and there must be nothing else.
    ForContent {
        /// These are not asked for, and count as lacking.
        except: &'a [ObjectHash],
    },
}

/// So many objects that a node lacks are named for each partition.
const MAX_NAMED: usize = 10;

/// Why a node could not be asked for the objects.
#[derive(Debug, thiserror::Error)]
enum NotAsked {
    #[error("asked for an object: {0}")]
    Silent(#[source] ReplicateError),
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("cannot open it: {0}")]
    Open(#[source] io::Error),
    #[error("{0} entries of its suffixes are no objects, and cannot be asked for")]
    NoObjects(usize),
    #[error("its object server answers {0} when asked for objects")]
    Refused(u16),
}
