//! Removing a hand-off partition after it was pushed: never more than what was seen before the push.
//!
//! A recursive delete would take the object that arrived a millisecond ago. So before the first push every regular file
//! is recorded with what identifies it ([`Inventory::record`]), and after success exactly those are unlinked, if they
//! are still what was recorded ([`Inventory::remove`]). Then the partition's own bookkeeping goes (hashes, locks,
//! temporary files), and folders are removed upwards with `rmdir`, which refuses where something arrived.
//!
//! Nodes whose rings differ may each take the other for the home of a partition that both have. What keeps them from
//! both removing it is the order of steps that every node of ours keeps (`claims`). How the files of an object go, one
//! after the other, is told in `unlink`.
//!
//! **Nobody is left with hashes of what is gone.** A server hashes a partition without a lock, which can take long, and
//! writes the result under `.lock` if `hashes.pkl` is still what it was before. Where that was "not there", or where the
//! file came to be the same again, it would write hashes of suffixes that went meanwhile, as valid ones, and peers would
//! believe for ever that they are here. So before the first unlink, under `.lock`, all recorded suffixes are appended to
//! `hashes.invalid`, and then `hashes.pkl` is replaced by one that is not valid and has a time of its own
//! (`claims::OtherWriters::bar`). Whoever
//! - *began before that* finds another `hashes.pkl` than he saw, and begins anew;
//! - *begins afterwards* has to take in `hashes.invalid` first, which he does under the lock: so in a moment when it is
//!   let go. That changes `hashes.pkl`, and the removal stops there. What went until then he finds gone, or the one after
//!   him does, since what he could not write (on a full disk) stays named in `hashes.invalid`.
//!
//! Both files are there until nothing but bookkeeping is left of the partition. They go last, and should the folder then
//! stay, since something arrived in this moment, both are made anew. What is left over is a server that has been hashing
//! since before there was any `hashes.pkl`, and ends after the folder is gone: Swift's would make the folder again to
//! write its hashes in it. Listing the suffixes puts that right (`hashes`).
//!
//! What can go wrong between the steps, and what then holds:
//! - *A file arrives before it is recorded*: it is recorded and pushed, or rsync misses it and the check after the push
//!   says so; either way nothing is removed that was not there.
//! - *A file arrives after it was recorded*: it is not in the record, its folder is not empty, `rmdir` refuses, the
//!   partition is kept. The same name with another inode or change time counts as arrived.
//! - *The process dies half-way, or an unlink fails*: the suffixes are named in `hashes.invalid`, and `hashes.pkl` is not
//!   valid, so no peer is told hashes of suffixes that are gone. After a loss of power the same, or no `hashes.pkl`.
//! - *A client's PUT invalidates before it renames*: if that was before the first unlink, the partition is kept; else it
//!   waits for the lock, finds no partition, and its rename makes one anew, without `hashes.pkl`.
//! - *There is no room to append*: `hashes.pkl` goes first, which usually makes some. If it does not, nothing is removed.
//!
//! Something that cannot be looked at does not keep the rest from being pushed, but the partition stays
//! ([`Inventory::unseen`]). Only regular files are pushed by rsync as it is called here, so anything else in the place of a
//! suffix or below it (a symbolic link, a socket) and whatever in the partition is neither a suffix nor bookkeeping is
//! kept, and named. A partition that is a symbolic link is pushed as what it leads to, since rsync goes into the folder
//! that it is given; nothing behind any link is removed.

mod claims;
mod error;
mod fingerprint;
mod folders;
mod hold;
mod inventory;
mod record;
mod remove;
mod restrict;
mod unlink;

pub(crate) use self::error::RemovalError;
pub(crate) use self::inventory::Inventory;
pub(crate) use self::unlink::Removal;

#[cfg(test)]
mod tests;
