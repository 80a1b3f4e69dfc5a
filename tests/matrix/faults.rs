//! Makes the fault of a cell, and takes it back.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cells::{Cell, Column, How};
use super::lab::{Lab, TARGET};
use crate::support::faulty::Faulty;
use crate::support::guard::must;
use crate::support::hang::Hang;
use crate::support::node::RSYNC_PORT;

/// What has to be taken back.
pub enum Undo {
    Hang(Hang),
    Faulty(Faulty),
    /// Removes what stands in the first place, and brings back what is in the second, if there is something.
    Restore(PathBuf, PathBuf),
    /// Devices by id.
    Free(u32),
    Inodes(u32),
    Mount(u32),
    Talker(Arc<AtomicBool>),
    Rsyncd,
    Answer,
}

/// The place of a column in the lab.
fn place(lab: &Lab, cell: &Cell) -> PathBuf {
    let bad = cell.flow.bad();
    let disk = if cell.column.is_local() { lab.home(cell, bad) } else { lab.targets(bad).next().expect("a target") };
    let file = lab.file(bad, disk);
    let up = |steps: usize| file.ancestors().nth(steps).expect("a file is deep in its device").to_owned();
    match cell.column {
        Column::File | Column::TargetFile => file,
        Column::HashFolder | Column::TargetFolder => up(1),
        Column::Suffix => up(2),
        Column::Partition => up(3),
        Column::HashesPkl => up(3).join("hashes.pkl"),
        Column::HashesInvalid => up(3).join("hashes.invalid"),
        Column::Lock => up(3).join(".lock"),
        Column::LockReplication => up(3).join(".lock-replication"),
        Column::Datadir => up(4),
        Column::Tmp => up(5).join("tmp"),
        Column::Device | Column::TargetDevice => up(5),
        Column::Rsyncd | Column::Module | Column::Answer => lab.aside().join("module"),
    }
}

/// Makes a cell's fault.
pub fn make(lab: &mut Lab, cell: &Cell) -> Vec<Undo> {
    let place = place(lab, cell);
    let device = if cell.column.is_local() { 0 } else { 2 };
    match cell.how().expect("the cell can be made") {
        How::Full => {
            lab.devices[device].fill();
            vec![Undo::Free(2 * u32::from(device == 2))]
        }
        How::NoInodes => {
            limit_inodes(lab.devices[device].medium(), true);
            vec![Undo::Inodes(2 * u32::from(device == 2))]
        }
        How::Unmounted => {
            lab.devices[device].unmount_at_once();
            vec![Undo::Mount(2 * u32::from(device == 2))]
        }
        How::Talker(words) => {
            lab.nodes[TARGET].stop_rsync_daemon();
            vec![talk(lab, words)]
        }
        How::Down => {
            lab.nodes[TARGET].stop_rsync_daemon();
            vec![Undo::Rsyncd]
        }
        How::Config(lines) => {
            lab.nodes[TARGET].configure_rsync_module(lines);
            vec![Undo::Rsyncd]
        }
        How::Path(how) => {
            fs::create_dir_all(&place).expect("the cluster's folder is writable");
            let mut undo = at_place(lab, &place, false, how);
            if *how == How::Link {
                fs::remove_file(&place).expect("it was just made");
                let devices = lab.nodes[TARGET].devices();
                std::os::unix::fs::symlink(devices, &place).expect("the cluster's folder is writable");
            }
            lab.nodes[TARGET].serve(Some(place));
            undo.push(Undo::Rsyncd);
            undo
        }
        How::Says(said) => {
            let name = lab.disks[2].name.clone();
            lab.proxy.say_of(Some((&name, said)));
            vec![Undo::Answer]
        }
        how => {
            prepare(&place, cell);
            at_place(lab, &place, cell.column.is_file(), &how)
        }
    }
}

/// Lets there be something in the place of a fault.
fn prepare(place: &Path, cell: &Cell) {
    let parent = place.parent().expect("no fault is at the root");
    fs::create_dir_all(parent).expect("the device is writable");
    if cell.column.is_file() && !place.exists() {
        fs::write(place, "").expect("the device is writable");
    } else if !cell.column.is_file() {
        fs::create_dir_all(place).expect("the device is writable");
    }
}

fn at_place(lab: &Lab, place: &Path, is_file: bool, how: &How) -> Vec<Undo> {
    match how {
        How::Hang => return vec![Undo::Hang(Hang::at(place))],
        How::Error(errno) => return vec![Undo::Faulty(Faulty::at(place, *errno))],
        _ => {}
    }
    let kept = lab.aside().join("kept");
    must(Command::new("cp").arg("--archive").args([place, &kept]));
    remove(place);
    match how {
        How::Removed => {}
        How::Link => std::os::unix::fs::symlink(&kept, place).expect("the device is writable"),
        How::Fifo => must(Command::new("mkfifo").arg(place)),
        _ if is_file && place.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hashes.")) => {
            fs::write(place, b"\xff\x00 no pickle, \x80 and no suffix\n").expect("the device is writable");
        }
        _ if is_file => fs::create_dir(place).expect("the device is writable"),
        _ => fs::write(place, "junk").expect("the device is writable"),
    }
    vec![Undo::Restore(place.to_owned(), kept)]
}

fn remove(place: &Path) {
    must(Command::new("rm").args(["-rf", "--"]).arg(place));
}

/// Leaves the file system no inode, or lets it have some again.
fn limit_inodes(medium: &Path, limited: bool) {
    if limited {
        must(Command::new("mount").args(["-o", "remount,nr_inodes=4096"]).arg(medium));
        for number in 0.. {
            if fs::File::create(medium.join(format!("ballast-{number}"))).is_err() {
                return;
            }
        }
    }
    must(Command::new("find").arg(medium).args(["-maxdepth", "1", "-name", "ballast-*", "-delete"]));
    must(Command::new("mount").args(["-o", "remount,nr_inodes=1048576"]).arg(medium));
}

/// Takes connections in place of the rsync daemon.
fn talk(lab: &Lab, words: &'static str) -> Undo {
    let address = (lab.nodes[TARGET].address, RSYNC_PORT);
    let socket = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        TcpListener::bind(address).ok()
    });
    let socket = socket.expect("the daemon is gone");
    let over = Arc::new(AtomicBool::default());
    let stopped = Arc::clone(&over);
    std::thread::spawn(move || {
        let mut callers = Vec::new();
        for stream in socket.incoming().flatten() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let _ = (&stream).write_all(words.as_bytes());
            callers.push(stream);
        }
    });
    Undo::Talker(over)
}

/// Takes faults back, the last one first.
pub fn take_back(lab: &mut Lab, undos: Vec<Undo>) {
    for undo in undos.into_iter().rev() {
        match undo {
            Undo::Hang(hang) => drop(hang),
            Undo::Faulty(faulty) => drop(faulty),
            Undo::Restore(place, kept) => {
                remove(&place);
                // What it was in may have gone to quarantine.
                fs::create_dir_all(place.parent().expect("no fault is at the root")).expect("the device is writable");
                must(Command::new("mv").arg("--no-target-directory").args([&kept, &place]));
            }
            Undo::Free(id) => lab.devices[id as usize].free(),
            Undo::Inodes(id) => limit_inodes(lab.devices[id as usize].medium(), false),
            Undo::Mount(id) => drop(lab.devices[id as usize].mount()),
            Undo::Talker(over) => {
                over.store(true, Ordering::Relaxed);
                let _ = std::net::TcpStream::connect((lab.nodes[TARGET].address, RSYNC_PORT));
                lab.nodes[TARGET].start();
                lab.nodes[TARGET].wait();
            }
            Undo::Rsyncd => {
                lab.nodes[TARGET].serve(None);
                lab.nodes[TARGET].start();
                lab.nodes[TARGET].wait();
            }
            Undo::Answer => lab.proxy.say_of(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::support::faulty::Faulty;

    #[test]
    fn whatever_is_done_with_it_fails() {
        const EUCLEAN: i32 = 117;
        let root = tempfile::tempdir().expect("a folder");
        let (file, folder) = (root.path().join("file"), root.path().join("folder"));
        fs::write(&file, "x").and_then(|()| fs::create_dir(&folder)).expect("a new folder");
        let faulty = [Faulty::at(&file, EUCLEAN), Faulty::at(&folder, EUCLEAN)];
        let errors = [
            fs::metadata(&file).err(),
            fs::read(&file).err(),
            fs::read_dir(&folder).err(),
            fs::write(folder.join("new"), "").err(),
        ];
        let errors = errors.map(|error| error.and_then(|error| error.raw_os_error()));
        assert_eq!(errors, [Some(EUCLEAN); 4]);
        drop(faulty);
        assert_eq!(fs::read(&file).expect("it is over"), b"x");
    }
}
