//! What a process does: arguments, exit codes, streams, and how it starts and ends.

mod configuration;
mod daemon;
mod foreign;
mod inherited;
mod orders;
mod report;
mod supervisor;
mod swift_conf;
mod usage;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::guard::need_etc_swift;

/// The program as it was built.
const PROGRAM: &str = env!("CARGO_BIN_EXE_swift-object-replicator");

/// How a process ended.
#[derive(Debug)]
struct Ending {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ending {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ending {
    /// The process refused to go on: exit code 1 and one line on stderr, which is returned.
    fn refusal(&self) -> &str {
        self.refusal_with(1)
    }

    /// The same with another exit code.
    fn refusal_with(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        let line = self.stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {self:?}"));
        assert!(!line.contains('\n'), "more than a line: {line}");
        line
    }
}

/// Runs the program without a `swift.conf` of its own.
fn run(arguments: &[&str]) -> Ending {
    assert_cmd::Command::new(PROGRAM).args(arguments).output().expect("the program starts").into()
}

/// A node with one empty device, which is the only one of its ring; nothing listens anywhere.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// One with these lines in its `[object-replicator]`.
    fn new(options: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().expect("there is room for a folder") };
        // For tests that become another user.
        for folder in ["", "etc", "devices", "devices/sda", "recon"] {
            let path = home.path(folder);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        }
        home.write("etc/swift.conf", "[swift-hash]\nswift_hash_path_suffix = salt\n");
        fs::write(home.path("etc/object.ring.gz"), ring()).unwrap();
        let (devices, etc, recon) = (home.path("devices"), home.path("etc"), home.path("recon"));
        home.write(
            "o.conf",
            &format!(
                "[DEFAULT]\ndevices = {}\nmount_check = false\nswift_dir = {}\nuser = root\nlog_udp_host = 127.0.0.1\n\
                 log_udp_port = 9\n[object-replicator]\nrecon_cache_path = {}\nring_ip = 127.0.0.1\n{options}\n",
                devices.display(),
                etc.display(),
                recon.display()
            ),
        );
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The program with the node's configuration, and the node's `etc` as `/etc/swift`.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_behind(&[], arguments)
    }

    /// The same, started by the words before.
    fn command_behind(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let (first, rest) = starter.split_first().unwrap_or((&PROGRAM, &[]));
        let mut command = self.command_of(first);
        command.args(rest);
        if !starter.is_empty() {
            command.arg(PROGRAM);
        }
        command.arg(self.path("o.conf")).args(arguments);
        command
    }

    /// Any program, with the node's `etc` as `/etc/swift`.
    fn command_of(&self, program: &str) -> Command {
        // Only root may mount.
        need_etc_swift();
        let mut command = Command::new("unshare");
        command
            // Whoever runs the tests in the background may have had SIGINT ignored.
            .args([
                "-m",
                "sh",
                "-c",
                "mount --bind \"$1\" /etc/swift && shift && exec env --default-signal=INT,QUIT \"$@\"",
                "sh",
            ])
            .arg(self.path("etc"))
            .arg(program);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ending {
        self.command(arguments).output().expect("unshare starts").into()
    }
}

/// A ring (version 1) of two partitions on one device.
fn ring() -> Vec<u8> {
    let device = r#"{"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": 6200, "device": "sda", "weight": 1.0,
        "meta": "", "replication_ip": "127.0.0.1", "replication_port": 6200}"#;
    let json = format!(r#"{{"byteorder": "little", "devs": [{device}], "part_shift": 31, "replica_count": 1}}"#);
    let length = u32::try_from(json.len()).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    for part in [&b"R1NG\0\x01"[..], &length.to_be_bytes(), json.as_bytes(), &[0; 4]] {
        gzip.write_all(part).unwrap();
    }
    gzip.finish().unwrap()
}

/// A file of its own with this content, to be a configuration.
fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, content).unwrap();
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
