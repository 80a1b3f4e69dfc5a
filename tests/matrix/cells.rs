//! The cells of the matrix, as data: what can be wrong with what, how that is made, and what must be seen then.

use std::fmt;

use crate::chaos::proxy::Said;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Hangs,
    Eio,
    Euclean,
    Enospc,
    Edquot,
    NoInode,
    Eacces,
    Vanished,
    Junk,
    Symlink,
    Fifo,
}

/// With what it is wrong: first what is here, then what is at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    File,
    HashFolder,
    Suffix,
    Partition,
    HashesPkl,
    HashesInvalid,
    Lock,
    LockReplication,
    Datadir,
    Device,
    Tmp,
    TargetFile,
    TargetFolder,
    TargetDevice,
    Rsyncd,
    Module,
    Answer,
}

/// Whether partitions are compared with those of their other homes, or brought home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Update,
    Revert,
}

/// The `sync_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Rsync,
    Ssync,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub row: Row,
    pub column: Column,
    pub flow: Flow,
    pub method: Method,
    pub batch: u32,
}

pub const ROWS: [(Row, &str); 11] = [
    (Row::Hangs, "hangs"),
    (Row::Eio, "EIO"),
    (Row::Euclean, "EUCLEAN"),
    (Row::Enospc, "ENOSPC"),
    (Row::Edquot, "EDQUOT"),
    (Row::NoInode, "no inode"),
    (Row::Eacces, "EACCES"),
    (Row::Vanished, "vanished"),
    (Row::Junk, "junk in its place"),
    (Row::Symlink, "symlink"),
    (Row::Fifo, "fifo"),
];

pub const COLUMNS: [(Column, &str); 17] = [
    (Column::File, "file"),
    (Column::HashFolder, "hash folder"),
    (Column::Suffix, "suffix"),
    (Column::Partition, "partition"),
    (Column::HashesPkl, "hashes.pkl"),
    (Column::HashesInvalid, "hashes.invalid"),
    (Column::Lock, ".lock"),
    (Column::LockReplication, ".lock-replication"),
    (Column::Datadir, "datadir"),
    (Column::Device, "device"),
    (Column::Tmp, "tmp"),
    (Column::TargetFile, "target's file"),
    (Column::TargetFolder, "target's folder"),
    (Column::TargetDevice, "target's device"),
    (Column::Rsyncd, "rsyncd"),
    (Column::Module, "module"),
    (Column::Answer, "answer for a device"),
];

/// How a fault is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A file system that never answers is mounted in the place.
    Hang,
    /// A file system that answers everything with this error is mounted in the place.
    Error(i32),
    /// The device is full.
    Full,
    /// The device has no inode left.
    NoInodes,
    /// The device is unmounted.
    Unmounted,
    /// The place is empty.
    Removed,
    /// A folder where a file should be, a file where a folder should be, or bytes that mean nothing.
    Junk,
    /// What was there is somewhere else, and a link leads to it.
    Link,
    /// A fifo, which makes wait who opens it.
    Fifo,
    /// In place of the rsync daemon somebody takes connections, and says this, or nothing.
    Talker(&'static str),
    /// Nothing listens in place of the rsync daemon.
    Down,
    /// Lines of rsyncd.conf, which end in the module's section.
    Config(&'static str),
    /// The module's path is not the folder of devices but a place with this fault.
    Path(&'static How),
    /// The object server says this of the one device.
    Says(Said),
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EUCLEAN: i32 = 117;
const EDQUOT: i32 = 122;

/// Why a cell is not made.
pub type Reason = &'static str;

const READS: Reason = "It is only read, which needs neither space nor an inode.";
const WHOLE_DEVICE: Reason = "It is the device that is full; that is made in the device's column.";
const ROOT: Reason =
    "Root, as which the tests run, is above quotas; the error itself is made in the columns of files that are written.";
const MOUNT_POINT: Reason = "A device is a mount point, which cannot be anything but a folder; see \"vanished\".";
const NO_ERRNO: Reason = "Whoever connects to a daemon learns nothing of errors of its files; see its module's column.";
const BEGINS_SO: Reason = "Every partition begins without it, and so does every test.";
const PUSH: Reason = "That is what a push is for.";
const SAME_ANSWER: Reason = "The answer is that of EIO or ENOSPC.";
const NOT_A_FILE: Reason = "A daemon or an answer is nothing that a file system could have in its place.";
const NO_RSYNC: Reason = "SSYNC needs no rsync daemon.";

impl Row {
    fn errno(self) -> Option<i32> {
        Some(match self {
            Self::Eio => EIO,
            Self::Euclean => EUCLEAN,
            Self::Enospc => ENOSPC,
            Self::Edquot => EDQUOT,
            Self::Eacces => EACCES,
            Self::Vanished => ENOENT,
            Self::Hangs | Self::NoInode | Self::Junk | Self::Symlink | Self::Fifo => return None,
        })
    }
}

impl Column {
    /// Whether it is here, not at the target.
    pub fn is_local(self) -> bool {
        self.is_of_objects() || self.is_bookkeeping() || matches!(self, Self::Datadir | Self::Device | Self::Tmp)
    }

    /// Whether it is the partition with what is stored in it.
    pub fn is_of_objects(self) -> bool {
        matches!(self, Self::File | Self::HashFolder | Self::Suffix | Self::Partition)
    }

    /// Whether it is one of a partition's own files.
    pub fn is_bookkeeping(self) -> bool {
        matches!(self, Self::HashesPkl | Self::HashesInvalid | Self::Lock | Self::LockReplication)
    }

    /// Whether it should be a file.
    pub fn is_file(self) -> bool {
        self.is_bookkeeping() || matches!(self, Self::File | Self::TargetFile)
    }
}

/// How a fault is made in a place, or why it is not.
pub fn how(row: Row, column: Column) -> Result<How, Reason> {
    match column {
        Column::Rsyncd => of_rsyncd(row),
        Column::Module => of_module(row),
        Column::Answer => of_answer(row),
        Column::Device | Column::TargetDevice => of_device(row),
        _ => of_place(row, column),
    }
}

fn of_place(row: Row, column: Column) -> Result<How, Reason> {
    let is_target = matches!(column, Column::TargetFile | Column::TargetFolder);
    match row {
        Row::Hangs => Ok(How::Hang),
        Row::Enospc | Row::Edquot if column.is_of_objects() || column == Column::Datadir => Err(READS),
        Row::Enospc | Row::Edquot if column == Column::Tmp => Err(WHOLE_DEVICE),
        Row::NoInode if column.is_of_objects() || column == Column::Datadir => Err(READS),
        Row::NoInode => Err(WHOLE_DEVICE),
        Row::Vanished if is_target => Err(PUSH),
        Row::Vanished if column.is_bookkeeping() || column == Column::Tmp => Err(BEGINS_SO),
        Row::Vanished if column == Column::Datadir => Ok(How::Removed),
        Row::Junk => Ok(How::Junk),
        Row::Symlink => Ok(How::Link),
        Row::Fifo => Ok(How::Fifo),
        Row::Eio | Row::Euclean | Row::Enospc | Row::Edquot | Row::Eacces | Row::Vanished => {
            row.errno().map(How::Error).ok_or(READS)
        }
    }
}

fn of_device(row: Row) -> Result<How, Reason> {
    match row {
        Row::Hangs => Ok(How::Hang),
        Row::Eio | Row::Euclean | Row::Eacces => row.errno().map(How::Error).ok_or(READS),
        Row::Enospc => Ok(How::Full),
        Row::NoInode => Ok(How::NoInodes),
        Row::Edquot => Err(ROOT),
        Row::Vanished => Ok(How::Unmounted),
        Row::Junk | Row::Symlink | Row::Fifo => Err(MOUNT_POINT),
    }
}

fn of_rsyncd(row: Row) -> Result<How, Reason> {
    match row {
        Row::Hangs => Ok(How::Talker("")),
        Row::Eacces => Ok(How::Config("hosts deny = *")),
        Row::Vanished => Ok(How::Down),
        Row::Junk => Ok(How::Talker("220 smtp.example.org ESMTP\r\n")),
        Row::Symlink | Row::Fifo => Err(NOT_A_FILE),
        Row::Eio | Row::Euclean | Row::Enospc | Row::Edquot | Row::NoInode => Err(NO_ERRNO),
    }
}

fn of_module(row: Row) -> Result<How, Reason> {
    match row {
        Row::Hangs => Ok(How::Path(&How::Hang)),
        Row::Eio => Ok(How::Path(&How::Error(EIO))),
        Row::Euclean => Ok(How::Path(&How::Error(EUCLEAN))),
        Row::Eacces => Ok(How::Config("read only = yes")),
        Row::Vanished => Ok(How::Path(&How::Removed)),
        Row::Junk => Ok(How::Path(&How::Junk)),
        Row::Symlink => Ok(How::Path(&How::Link)),
        Row::Fifo => Ok(How::Path(&How::Fifo)),
        Row::Enospc | Row::Edquot | Row::NoInode => Err(WHOLE_DEVICE),
    }
}

fn of_answer(row: Row) -> Result<How, Reason> {
    match row {
        Row::Hangs => Ok(How::Says(Said::Nothing)),
        Row::Eio => Ok(How::Says(Said::Status("500 Internal Error"))),
        Row::Enospc => Ok(How::Says(Said::Status("507 Insufficient Storage"))),
        Row::Eacces => Ok(How::Says(Said::Status("403 Forbidden"))),
        Row::Vanished => Ok(How::Says(Said::Closes)),
        Row::Junk => Ok(How::Says(Said::Junk)),
        Row::Euclean | Row::Edquot | Row::NoInode => Err(SAME_ANSWER),
        Row::Symlink | Row::Fifo => Err(NOT_A_FILE),
    }
}

/// Whether something must be said and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It is a failure: counted, and named.
    Failure,
    /// Two readings are right: what is only bookkeeping can be done without, and what is no object need not be told.
    Either,
    /// Nothing is wrong for who only replicates.
    Quiet,
}

impl Cell {
    /// How it is made, or why it is not.
    pub fn how(&self) -> Result<How, Reason> {
        if self.method == Method::Ssync && matches!(self.column, Column::Rsyncd | Column::Module) {
            return Err(NO_RSYNC);
        }
        how(self.row, self.column)
    }

    /// In how many passes all that is healthy must have arrived. What hangs may take its batch with it once: which one it
    /// was is known only after a time limit.
    pub fn passes(&self) -> usize {
        if self.row == Row::Hangs { 3 } else { 1 }
    }

    /// What must be said of it.
    pub fn notice(&self) -> Notice {
        use Column::*;
        match (self.row, self.column) {
            (Row::Symlink, Module) | (Row::Junk, HashesPkl | HashesInvalid) => Notice::Quiet,
            (_, Tmp) => Notice::Either,
            (_, column) if column.is_bookkeeping() => Notice::Either,
            (Row::Vanished, column) if column.is_local() => Notice::Either,
            (Row::Junk | Row::Symlink | Row::Fifo, column) if column.is_local() => Notice::Either,
            // A name that is there is in the hashes, and they are equal: nobody looks further.
            (_, TargetFile) if self.flow == Flow::Update => Notice::Either,
            (Row::Symlink | Row::Fifo, TargetFile | TargetFolder) => Notice::Either,
            // What is to be read is there, and nothing need be written here.
            (Row::Enospc | Row::NoInode, Device) => Notice::Either,
            // With SSYNC the receiver puts away what cannot be an object.
            (Row::Junk, TargetFile | TargetFolder) if self.method == Method::Ssync => Notice::Either,
            _ => Notice::Failure,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = ROWS.iter().find(|(row, _)| *row == self.row).expect("every row has a name").1;
        let column = COLUMNS.iter().find(|(column, _)| *column == self.column).expect("every column has a name").1;
        write!(f, "{row} | {column} | {:?} | {:?} | {}", self.flow, self.method, self.batch)
    }
}

/// Every cell that can be made.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (row, _) in ROWS {
        for (column, _) in COLUMNS {
            for flow in [Flow::Update, Flow::Revert] {
                for method in [Method::Rsync, Method::Ssync] {
                    for batch in [1, 128] {
                        cells.push(Cell { row, column, flow, method, batch });
                    }
                }
            }
        }
    }
    cells.retain(|cell| cell.how().is_ok());
    cells
}

/// One cell in so many of those that differ in row and column only is run in the short form.
const SHORT: usize = 3;

/// The cells of the short form: every third fault, each in another way.
pub fn short() -> Vec<Cell> {
    let cells = all();
    let mut chosen: Vec<Cell> = Vec::new();
    let mut faults: Vec<(Row, Column)> = cells.iter().map(|cell| (cell.row, cell.column)).collect();
    faults.dedup();
    for (place, fault) in faults.into_iter().enumerate().filter(|(place, _)| place % SHORT == 0) {
        let ways: Vec<&Cell> = cells.iter().filter(|cell| (cell.row, cell.column) == fault).collect();
        chosen.push(*ways[place / SHORT % ways.len()]);
    }
    chosen
}
