//! Runs of a replicator: the reference's or ours, for one node of a cluster.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::cluster::{Cluster, Disk};
use super::guard::{read_lossy, until, with_etc};
use super::node::Node;
use super::oracle::venv;
use super::rsync::FakeRsync;
use super::syslog::{Line, Syslog};

/// Whose replicator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Reference,
    Ours,
}

impl Which {
    /// The program.
    pub fn program(self) -> PathBuf {
        match self {
            Self::Reference => venv("swift-object-replicator"),
            Self::Ours => ours(),
        }
    }
}

/// What was built: what cargo says, or what lies beside the folder of the running example or benchmark.
fn ours() -> PathBuf {
    if let Some(program) = option_env!("CARGO_BIN_EXE_swift-object-replicator") {
        return program.into();
    }
    let running = std::env::current_exe().expect("the running program's path");
    let target = running.parent().and_then(|folder| folder.parent()).expect("target/<profile>/examples");
    target.join("swift-object-replicator")
}

/// A pass to be run.
pub struct Pass<'a> {
    which: Which,
    node: &'a Node,
    options: Vec<(String, String)>,
    words: Vec<String>,
    path: Option<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// In bytes.
    memory: Option<u64>,
    /// In columns.
    terminal: Option<u16>,
    is_in_script: bool,
    limit: Duration,
}

/// Options that the reference does not know.
const OURS_ONLY: [&str; 6] =
    ["rsync_batch", "rsync_nodelay", "handoff_verify", "handoff_fsync", "target_reserve", "handoffs_only"];

impl Cluster {
    /// A pass of a replicator on one node, with the tests' usual options.
    pub fn pass(&self, which: Which, node: usize) -> Pass<'_> {
        Pass::of(which, &self.nodes[node])
    }

    /// Runs a pass with the tests' usual options.
    pub fn replicate(&self, which: Which, node: usize) -> Outcome {
        self.pass(which, node).run()
    }
}

impl<'a> Pass<'a> {
    /// A pass of a replicator on a node, with the tests' usual options.
    pub fn of(which: Which, node: &'a Node) -> Self {
        let words = vec!["once".to_owned(), "-v".to_owned()];
        let (options, limit) = (Vec::new(), Duration::from_secs(240));
        let environment = Vec::new();
        Self {
            which,
            node,
            options,
            words,
            path: None,
            environment,
            memory: None,
            terminal: None,
            is_in_script: false,
            limit,
        }
    }

    /// With this option in the configuration.
    pub fn set(mut self, option: &str, value: impl ToString) -> Self {
        self.options.retain(|(name, _)| name != option);
        self.options.push((option.to_owned(), value.to_string()));
        self
    }

    /// Not one pass, but passes until it is told to stop.
    pub fn forever(mut self) -> Self {
        self.words.retain(|word| word != "once");
        self
    }

    /// With these words on the command line, after `CONFIG once -v`.
    pub fn words(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// With this stand-in for rsync.
    pub fn rsync(mut self, fake: &FakeRsync) -> Self {
        let mut path = fake.folder().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a PATH"));
        self.path = Some(path);
        self
    }

    /// With this `PATH`.
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With this variable in its environment.
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With every partition pushed by an rsync of its own, whose arguments are the reference's; what ours can do beyond
    /// that is switched off.
    pub fn plainly(self) -> Self {
        let pass = self.set("rsync_batch", 1);
        pass.set("rsync_nodelay", "no").set("handoff_verify", "no").set("handoff_fsync", "no")
    }

    /// With no more memory for its data than so many bytes.
    pub fn memory(mut self, limit: u64) -> Self {
        self.memory = Some(limit);
        self
    }

    /// On a terminal with so many columns, without `-v`. What the terminal gets is its standard output.
    pub fn on_terminal(mut self, columns: u16) -> Self {
        self.words.retain(|word| word != "-v");
        self.terminal = Some(columns);
        self
    }

    /// On a terminal, started by a script that has another line behind it.
    pub fn in_a_script(mut self, columns: u16) -> Self {
        self = self.on_terminal(columns);
        self.is_in_script = true;
        self
    }

    /// With more time than a test would give it.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the replicator.
    pub fn start(mut self) -> Running {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let folder = self.node.runs().join(RUNS.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&folder).expect("the cluster's folder is writable");
        let syslog = Syslog::start();
        if !self.options.iter().any(|(name, _)| name == "log_address") {
            self = self.set("log_address", syslog.path().display());
        }
        if self.which == Which::Reference {
            self.options.retain(|(name, _)| !OURS_ONLY.contains(&name.as_str()));
        }
        let conf = folder.join("object-server.conf");
        fs::write(&conf, self.node.conf(&self.options)).expect("the cluster's folder is writable");
        let recon = self.node.recon().join("object.recon");
        let _ = fs::remove_file(&recon);
        let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
        let file = |path| File::create(path).expect("the cluster's folder is writable");
        // The program is reached through others that give it its limit and its search path, if it is to have any: the
        // shell before them still has to find `mount`.
        let mut words = Vec::<OsString>::new();
        if let Some(limit) = self.memory {
            words.extend(["prlimit".into(), format!("--data={limit}").into()]);
        }
        if let Some(path) = self.path {
            let mut setting = OsString::from("PATH=");
            setting.push(path);
            words.extend(["env".into(), setting]);
        }
        if let Some(columns) = self.terminal {
            let run = if self.is_in_script { "$*; echo the script goes on" } else { "exec $*" };
            let shell = format!("stty cols {columns} rows 24; export TERM=xterm; {run}");
            words.extend(["sh", "-c", &format!("exec script -qefc \"{shell}\" /dev/null"), "sh"].map(Into::into));
        }
        words.push(self.which.program().into());
        let mut command = with_etc(self.node.etc(), Path::new(&words[0]));
        command
            .args(&words[1..])
            .arg(&conf)
            .args(&self.words)
            .envs(self.environment)
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .process_group(0);
        let started = Instant::now();
        let child = command.spawn().expect("unshare is installed: `make setup` does it");
        Running {
            child: Some(Leash(child)),
            started,
            which: self.which,
            conf,
            options: self.options,
            stdout,
            stderr,
            recon,
            syslog,
            limit: self.limit,
        }
    }

    /// Runs the replicator to its end.
    pub fn run(self) -> Outcome {
        self.start().finish()
    }
}

/// A process that does not outlive the test.
struct Leash(Child);

impl Drop for Leash {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            kill(&mut self.0);
        }
    }
}

/// A replicator that runs.
pub struct Running {
    child: Option<Leash>,
    started: Instant,
    which: Which,
    conf: PathBuf,
    options: Vec<(String, String)>,
    stdout: PathBuf,
    stderr: PathBuf,
    recon: PathBuf,
    syslog: Syslog,
    limit: Duration,
}

impl Running {
    /// Gives an option of its configuration another value; it was started on this node.
    pub fn set(&mut self, node: &Node, option: &str, value: impl ToString) {
        self.options.retain(|(name, _)| name != option);
        self.options.push((option.to_owned(), value.to_string()));
        fs::write(&self.conf, node.conf(&self.options)).expect("the cluster's folder is writable");
    }

    /// What it has written to the console until now.
    pub fn console(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").0.id()
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was not waited for");
        child.0.try_wait().expect("the child is ours").is_some()
    }

    /// Waits for the end; kills it and fails if that takes too long.
    pub fn finish(mut self) -> Outcome {
        let mut child = self.child.take().expect("it runs");
        let mut status = None;
        until(self.limit, || {
            status = child.0.try_wait().expect("the child is ours");
            status.is_some()
        });
        let Some(status) = status else {
            kill(&mut child.0);
            panic!("{:?} did not end in {:?}:\n{}", self.which, self.limit, self.console());
        };
        let recon = fs::read_to_string(&self.recon).ok();
        Outcome {
            which: self.which,
            status,
            elapsed: self.started.elapsed(),
            stdout: read_lossy(&self.stdout),
            console: read_lossy(&self.stderr).lines().map(str::to_owned).collect(),
            syslog: self.syslog.stop(),
            recon: recon.map(|text| serde_json::from_str(&text).expect("the recon cache is JSON")),
        }
    }
}

/// Kills a replicator that does not end, with the session that it may have made and the rsyncs in it.
fn kill(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

/// What a run did, as far as others can see it.
#[derive(Debug)]
pub struct Outcome {
    pub which: Which,
    pub status: ExitStatus,
    pub elapsed: Duration,
    pub stdout: String,
    /// The lines on standard error.
    pub console: Vec<String>,
    pub syslog: Vec<Line>,
    /// The recon cache's content.
    pub recon: Option<Value>,
}

impl Outcome {
    /// The messages of the log, without the program's name before them.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.syslog.iter().map(|line| line.text.strip_prefix("object-replicator: ").unwrap_or(&line.text))
    }

    /// How many messages have this text in them.
    pub fn count(&self, text: &str) -> usize {
        self.messages().filter(|message| message.contains(text)).count()
    }

    /// Fails unless some message has this text in it.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.count(text) > 0, "no line says {text:?}:\n{}", self.all());
        self
    }

    /// Fails if some message has this text in it.
    #[track_caller]
    pub fn does_not_say(&self, text: &str) -> &Self {
        assert!(self.count(text) == 0, "some line says {text:?}:\n{}", self.all());
        self
    }

    /// Fails unless the replicator ended well and nothing was logged above WARNING.
    #[track_caller]
    pub fn clean(&self) -> &Self {
        self.ended(0);
        let bad = self.syslog.iter().any(|line| line.severity() <= 3);
        assert!(!bad, "an error was logged:\n{}", self.all());
        self
    }

    /// Fails unless the replicator ended with this exit code.
    #[track_caller]
    pub fn ended(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.all());
        self
    }

    /// A counter of the pass, as recon tells it.
    #[track_caller]
    pub fn counter(&self, name: &str) -> i64 {
        let stats = self.recon.as_ref().map(|recon| &recon["replication_stats"][name]);
        stats.and_then(Value::as_i64).unwrap_or_else(|| panic!("recon has no {name}: {:?}\n{}", self.recon, self.all()))
    }

    /// Fails unless these counters have these values.
    #[track_caller]
    pub fn counts(&self, expected: &[(&str, i64)]) -> &Self {
        let actual: Vec<_> = expected.iter().map(|&(name, _)| (name, self.counter(name))).collect();
        assert_eq!(actual, expected, "{}", self.all());
        self
    }

    /// How often recon says that a device failed.
    pub fn counter_of_failures(&self, disk: &Disk) -> i64 {
        let recon = self.recon.as_ref().expect("recon was written");
        let nodes = &recon["replication_stats"]["failure_nodes"];
        nodes[disk.address.to_string()][&disk.name].as_i64().unwrap_or(0)
    }

    /// Everything that was seen of the run, for a failing test's message.
    pub fn all(&self) -> String {
        let lines: Vec<String> = self.syslog.iter().map(|line| format!("<{}>{}", line.priority, line.text)).collect();
        format!(
            "{:?}: {}\nstdout:\n{}\nconsole:\n{}\nsyslog:\n{}\nrecon: {:?}",
            self.which,
            self.status,
            self.stdout,
            self.console.join("\n"),
            lines.join("\n"),
            self.recon
        )
    }
}
