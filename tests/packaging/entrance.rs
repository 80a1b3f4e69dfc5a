//! What make says where it cannot do what it is asked for: one line each, before anything is downloaded or built.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::oracle::project;

/// What the script itself calls, but for Rust: that may be in a home where root, as whom the tests run, does not look.
const TOOLS: [&str; 21] = [
    "sh", "sed", "sort", "cut", "id", "mktemp", "rm", "mkdir", "stat", "uname", "getent", "dirname", "cc", "as", "ld",
    "perl", "unshare", "mount", "true", "apt-get", "setpriv",
];

/// A clone that has nothing but the script, and a machine that has nothing but its tools.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        let place = |name: &str| machine.folder.path().join(name);
        fs::set_permissions(machine.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        ["bin", "tests", "target", "home"].iter().for_each(|name| fs::create_dir(place(name)).unwrap());
        fs::copy(project().join("tests/preflight"), place("tests/preflight")).unwrap();
        fs::copy(project().join("Cargo.toml"), place("Cargo.toml")).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for tool in TOOLS {
            let found = std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|program| program.exists());
            let found = found.unwrap_or_else(|| panic!("{tool} is not on the PATH"));
            machine.tool(tool, &format!("exec {} \"$@\"", found.display()));
        }
        machine.tool("cargo", "echo 'cargo 1.99.0 (0 2030-01-01)'");
        machine.tool("rustc", "echo 'rustc 1.99.0 (0 2030-01-01)'");
        machine
    }

    fn bin(&self) -> PathBuf {
        self.folder.path().join("bin")
    }

    /// Puts a tool in place of what there is.
    fn tool(&self, name: &str, script: &str) {
        executable(&self.bin().join(name), script);
    }

    fn without(self, tools: &[&str]) -> Self {
        tools.iter().for_each(|tool| fs::remove_file(self.bin().join(tool)).unwrap());
        self
    }

    /// Asks the script, which another command starts: its output.
    fn ask_by(&self, starter: &[&str], needs: &[&str]) -> Output {
        let mut words = starter.to_vec();
        words.extend(["env", "-i"]);
        let (path, home) = (format!("PATH={}", self.bin().display()), self.folder.path().join("home"));
        let (home, script) = (format!("HOME={}", home.display()), self.folder.path().join("tests/preflight"));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args([path, home]).arg("sh").arg(script).args(needs);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// Fails unless the script has these lines to say.
    #[track_caller]
    fn says(&self, starter: &[&str], needs: &[&str], lines: &[&str]) {
        let output = self.ask_by(starter, needs);
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().collect();
        let fits = |(said, line): (&&str, &&str)| said.contains(*line);
        assert!(said.len() == lines.len() && said.iter().zip(lines).all(fits), "{output:?} is not {lines:?}");
        assert_eq!(output.status.code(), Some(i32::from(!lines.is_empty())), "{output:?}");
    }
}

fn executable(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// As root without a right of root's.
const NOBODY: [&str; 5] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];

/// As root who does this first, in mounts of its own, in the clone.
fn after(script: &str) -> [String; 5] {
    let script = format!("{script} && exec \"$@\"");
    ["unshare".to_owned(), "--mount".to_owned(), "sh".to_owned(), "-c".to_owned(), script]
}

#[test]
fn where_nothing_is_missing_nothing_is_said() {
    Machine::new().says(&["env"], &["rust", "root", "namespaces", "xattrs", "fuse", "--"], &[]);
}

#[test]
fn missing_rust_is_said_with_what_brings_it() {
    let machine = Machine::new().without(&["cargo"]);
    machine.says(&["env"], &["rust", "root"], &["Rust is missing: 1.88 or newer is needed, which https://rustup.rs"]);
    let installed = machine.folder.path().join("home/.cargo/bin");
    fs::create_dir_all(&installed).unwrap();
    executable(&installed.join("cargo"), "");
    machine.says(&["env"], &["rust"], &["home/.cargo/bin, which is not on the PATH: . "]);
}

#[test]
fn rust_that_is_too_old_is_said_with_what_is_needed() {
    let machine = Machine::new();
    machine.tool("rustc", "echo 'rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)'");
    machine.says(&["env"], &["rust"], &["Rust 1.85.0 is too old"]);
    machine.tool("rustc", "echo 'rustc 1.88.0 (6b00bc388 2025-06-23)'");
    machine.says(&["env"], &["rust"], &[]);
    machine.tool("cargo", "echo 'error: rustup could not choose a version of cargo to run' >&2; exit 1");
    machine.says(&["env"], &["rust"], &["cargo does not run (rustup default stable may help): error: rustup could"]);
}

#[test]
fn a_compiler_that_links_nothing_is_said() {
    let machine = Machine::new();
    machine.tool("cc", "echo 'cannot find Scrt1.o' >&2; exit 1");
    machine.says(&["env"], &["rust"], &["links no program, as Rust needs it to: apt-get install gcc libc6-dev"]);
    machine.without(&["cc"]).says(&["env"], &["rust"], &["A C compiler is missing"]);
}

#[test]
fn all_that_is_missing_is_said_at_once() {
    let machine = Machine::new().without(&["cargo", "cc"]);
    machine.says(&["env"], &["rust"], &["Rust is missing", "A C compiler is missing"]);
}

#[test]
fn a_user_who_cannot_be_root_is_told_once() {
    let machine = Machine::new();
    machine.says(&NOBODY, &["root", "namespaces", "fuse"], &["Root is needed, and sudo is missing"]);
    machine.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    machine.says(&NOBODY, &["root", "namespaces", "fuse"], &["Root is needed, and sudo does not make "]);
}

#[test]
fn root_who_cannot_make_mount_namespaces_is_told() {
    let container = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"];
    Machine::new().says(&container, &["root", "namespaces"], &["Mount namespaces cannot be made here"]);
}

#[test]
fn a_file_system_without_user_xattrs_is_named() {
    let machine = Machine::new();
    let starter = after("mount -t ramfs ramfs target");
    let starter: Vec<&str> = starter.iter().map(String::as_str).chain(["sh"]).collect();
    machine.says(&starter, &["xattrs"], &["target/ is on ramfs, which takes no user xattrs here"]);
    executable(&machine.bin().join("python3"), "exec /usr/bin/env -i /usr/bin/python3 \"$@\"");
    machine.says(&starter, &["xattrs"], &["target/ is on ramfs, which takes no user xattrs here"]);
}

#[test]
fn a_target_folder_of_another_user_is_said() {
    Machine::new().says(&NOBODY, &["xattrs"], &["target/ cannot be written to by "]);
}

#[test]
fn a_machine_without_fuse_is_said() {
    let starter = after("touch none && mount --bind none /dev/fuse");
    let starter: Vec<&str> = starter.iter().map(String::as_str).chain(["sh"]).collect();
    Machine::new().says(&starter, &["fuse"], &["/dev/fuse cannot be opened"]);
}

#[test]
fn packages_that_nothing_here_can_install_are_named() {
    let machine = Machine::new().without(&["apt-get"]);
    machine.says(&["env"], &["--", "rsync", "nginx-light"], &["what Debian has as rsync nginx-light"]);
}

#[test]
fn make_install_says_make_build_where_nothing_was_built() {
    let root = tempfile::tempdir().unwrap();
    let destination = format!("DESTDIR={}", root.path().display());
    let nothing = format!("BINARY={}", root.path().join("none").display());
    let output =
        Command::new("make").args(["install", &destination, &nothing]).current_dir(project()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.lines().count() == 1 && said.contains("make build"), "{output:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
