//! One node of a cluster: a loopback address, its devices, an object server and an rsync daemon.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::guard::{Guarded, Mounts, must, wait_for_port, with_etc};
use super::oracle::venv;

/// The port of every object server: each node has an address of its own.
pub const OBJECT_PORT: u16 = 6200;
/// The folder of the tree that is not the devices.
const ELSEWHERE: &str = "elsewhere";
/// The port of every rsync daemon.
pub const RSYNC_PORT: u16 = 873;

/// What a node is made from.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    pub region: u32,
    pub zone: u32,
    /// How many devices it has: `sda`, `sdb`, ...
    pub devices: usize,
    /// Whether its servers run. A node without is in the rings, and a test may answer at its address.
    pub serving: bool,
    /// The megabytes of each device, if it is a file system of its own, in memory.
    pub memory: Option<u32>,
    /// Whether devices come and go while the servers run: these look whether a device is mounted, and see what the test
    /// mounts and unmounts below `devices` if that is a shared mount point.
    pub removable: bool,
}

/// A node of a running cluster.
pub struct Node {
    pub address: Ipv4Addr,
    pub spec: NodeSpec,
    folder: PathBuf,
    etc: PathBuf,
    /// What the rsync daemon's module is, if it is not the folder of the devices.
    module: Option<PathBuf>,
    object_server: Option<Guarded>,
    rsync_daemon: Option<Guarded>,
}

/// The name of a node's device by its place.
pub fn device_name(place: usize) -> String {
    format!("sd{}", char::from(b'a' + u8::try_from(place).expect("few devices")))
}

impl Node {
    /// Lays out the folder of a node; nothing runs yet.
    pub fn new(folder: PathBuf, address: Ipv4Addr, spec: NodeSpec, etc: &Path) -> Self {
        for part in ["devices", "recon", "runs"] {
            fs::create_dir_all(folder.join(part)).expect("the node's folder is writable");
        }
        let node =
            Self { address, spec, folder, etc: etc.to_owned(), module: None, object_server: None, rsync_daemon: None };
        for device in node.device_paths() {
            fs::create_dir(&device).expect("the node's folder is writable");
            if let Some(megabytes) = node.spec.memory {
                let size = format!("size={megabytes}m");
                must(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&device));
            }
        }
        fs::write(node.server_conf(), node.conf(&[])).expect("the node's folder is writable");
        node
    }

    /// The folder that holds the devices, as `devices` of the configuration.
    pub fn devices(&self) -> PathBuf {
        self.folder.join("devices")
    }

    /// The folders of the devices.
    pub fn device_paths(&self) -> impl Iterator<Item = PathBuf> {
        let devices = self.devices();
        (0..self.spec.devices).map(move |place| devices.join(device_name(place)))
    }

    /// The folder of the recon cache.
    pub fn recon(&self) -> PathBuf {
        self.folder.join("recon")
    }

    /// The folder that stands for `/etc/swift` in the node's processes.
    pub fn etc(&self) -> &Path {
        &self.etc
    }

    /// Where runs of a replicator keep their configuration and output.
    pub fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    /// Where the object server answers.
    pub fn object_address(&self) -> SocketAddr {
        (self.address, OBJECT_PORT).into()
    }

    /// The node's configuration file for all its object daemons, with more options for the replicator.
    ///
    /// Time limits on connections are longer than usual: tests run on machines that are busy with other tests.
    pub fn conf(&self, replicator: &[(String, String)]) -> String {
        let mut section = String::new();
        let defaults = [
            ("conn_timeout", "5".to_owned()),
            ("http_timeout", "20".to_owned()),
            ("recon_cache_path", self.recon().display().to_string()),
        ];
        let given = |key: &str| replicator.iter().any(|(option, _)| option == key);
        for (key, value) in defaults.iter().filter(|(key, _)| !given(key)) {
            writeln!(section, "{key} = {value}").expect("a String takes it");
        }
        for (key, value) in replicator {
            writeln!(section, "{key} = {value}").expect("a String takes it");
        }
        let (devices, recon, address) = (self.devices(), self.recon(), self.address);
        let (devices, recon) = (devices.display(), recon.display());
        format!(
            "[DEFAULT]
devices = {devices}
mount_check = {mount_check}
bind_ip = {address}
bind_port = {OBJECT_PORT}
user = {user}
workers = 0
fallocate_reserve = 0
log_address = /nonexistent

[pipeline:main]
pipeline = recon object-server

[app:object-server]
use = egg:swift#object

[filter:recon]
use = egg:swift#recon
recon_cache_path = {recon}

[object-auditor]
recon_cache_path = {recon}
files_per_second = 0
bytes_per_second = 0

[object-replicator]
{section}",
            mount_check = self.spec.removable,
            user = user()
        )
    }

    fn mounts(&self) -> Mounts {
        if self.spec.removable { Mounts::Followed } else { Mounts::Fixed }
    }

    /// The object server's configuration.
    pub fn server_conf(&self) -> PathBuf {
        self.folder.join("object-server.conf")
    }

    fn rsync_conf(&self) -> PathBuf {
        self.folder.join("rsyncd.conf")
    }

    fn rsyncd_conf(&self, more: &str) -> String {
        format!(
            "uid = 0
gid = 0
use chroot = no
reverse lookup = no
log file = {folder}/rsyncd.log
address = {address}
port = {RSYNC_PORT}
lock file = {folder}/rsyncd.lock
[object]
path = {tree}
read only = no
{more}
",
            folder = self.folder.display(),
            tree = self.module.clone().unwrap_or_else(|| self.devices()).display(),
            address = self.address
        )
    }

    /// Starts the servers that do not run, without waiting for them.
    pub fn start(&mut self) {
        self.configure_rsync_module("");
        if self.object_server.is_none() {
            let (program, conf) = (venv("swift-object-server"), self.server_conf());
            let command = [program.to_str(), conf.to_str(), Some("verbose")].map(|word| word.expect("paths are text"));
            self.object_server = Some(Guarded::start(&command, &self.etc, &self.object_log(), self.mounts()));
        }
        if self.rsync_daemon.is_none() {
            let config = format!("--config={}", self.rsync_conf().display());
            let command = ["rsync", "--daemon", "--no-detach", &config];
            let output = self.folder.join("rsyncd.out");
            self.rsync_daemon = Some(Guarded::start(&command, &self.etc, &output, self.mounts()));
        }
    }

    /// Waits until the servers that were started take requests.
    pub fn wait(&self) {
        if self.object_server.is_some() {
            wait_for_port(self.object_address(), &self.object_log());
        }
        if self.rsync_daemon.is_some() {
            wait_for_port((self.address, RSYNC_PORT).into(), &self.folder.join("rsyncd.out"));
        }
    }

    /// Kills the object server: the node refuses requests.
    pub fn stop_object_server(&mut self) {
        self.object_server = None;
    }

    /// Kills the rsync daemon: the node refuses pushes.
    pub fn stop_rsync_daemon(&mut self) {
        self.rsync_daemon = None;
    }

    /// Gives the rsync module these lines more, until the cluster is given back. The daemon reads its configuration for
    /// every connection.
    pub fn configure_rsync_module(&self, lines: &str) {
        fs::write(self.rsync_conf(), self.rsyncd_conf(lines)).expect("the node's folder is writable");
    }

    /// Lets the rsync daemon serve a tree that looks like the devices and is not what the object server serves.
    pub fn serve_another_tree(&mut self, elsewhere: bool) {
        for device in self.device_paths() {
            let twin = self.folder.join(ELSEWHERE).join(device.file_name().expect("devices have names"));
            let entries = fs::read_dir(&device).expect("the device is readable").flatten();
            let datadirs =
                entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("objects"));
            datadirs.for_each(|name| fs::create_dir_all(twin.join(name)).expect("the node's folder is writable"));
        }
        self.serve(elsewhere.then(|| self.folder.join(ELSEWHERE)));
    }

    /// Lets the rsync daemon's module be this place, or what it should be.
    pub fn serve(&mut self, module: Option<PathBuf>) {
        self.module = module;
        self.configure_rsync_module("");
    }

    /// Runs one of Swift's own tools on the node, with the node's configuration as its first argument; what it said.
    pub fn run_tool(&self, tool: &str, words: &[&str]) -> String {
        let mut command = with_etc(&self.etc, &venv(tool));
        let output = command.arg(self.server_conf()).args(words).output().expect("unshare starts");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{tool} failed: {}\n{text}", output.status);
        text
    }

    /// What the object server said.
    pub fn object_log(&self) -> PathBuf {
        self.folder.join("object-server.log")
    }
}

/// The user that the tests run as, whom the daemons are told to become.
pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(output.stdout).expect("a name").trim().to_owned()
}
