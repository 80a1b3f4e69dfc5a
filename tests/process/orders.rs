//! Orders to a running daemon (`--pause`, `--resume`, `--set`, `quiet_hours`), and what is answered where there is none.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::daemon::Daemon;
use super::{Ending, Home};

const PASS: &str = "Object replication complete.";

impl Daemon {
    /// Starts it, with orders taken by the time its first pass has ended.
    fn with_orders(options: &str) -> Self {
        let daemon = Self::start(options);
        let socket = daemon.home.path("recon/object-replicator.sock");
        let begun = Instant::now();
        while !socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// Gives an order that is obeyed; what is said.
    #[track_caller]
    fn order(&self, words: &[&str]) -> String {
        let ending = self.home.run(words);
        assert_eq!((ending.code, ending.stderr.as_str()), (Some(0), ""), "{words:?}: {ending:?}");
        ending.stdout
    }

    /// A connection to the socket.
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.home.path("recon/object-replicator.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

/// What `--status` says, as JSON.
fn status(home: &Home) -> Value {
    serde_json::from_str(&home.run(&["--status", "--json"]).stdout).unwrap()
}

/// The rest of what comes, as JSON.
fn answer(stream: UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn a_paused_daemon_begins_nothing_and_says_who_why_and_until_when() {
    let mut daemon = Daemon::with_orders("interval = 0.3");
    let said = daemon.order(&["--pause", "--for", "2h", "--reason", "new\nrack"]);
    assert!(said.starts_with("everything is paused, by root since ") && said.contains(": new#012rack\n"), "{said}");
    let line = daemon.wait_for("Orders: everything is paused, by root since ");
    assert!(line.contains(", until ") && line.ends_with(": new#012rack"), "{line}");
    // A pass that was about to end may do so.
    std::thread::sleep(Duration::from_millis(1500));
    let table = daemon.home.run(&["--status"]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.stdout.contains("Orders: everything is paused, by root since "), "{table:?}");
    assert!(table.stdout.contains("No pass is under way."), "{table:?}");
    let pause = &status(&daemon.home)["status"]["orders"]["pauses"][0];
    assert_eq!(
        (&pause["what"], &pause["by"], &pause["reason"]),
        (&"everything".into(), &"root".into(), &"new#012rack".into())
    );
    assert_eq!(pause["until"].as_f64().unwrap() - pause["since"].as_f64().unwrap(), 7200.0);
    assert!(daemon.order(&["--resume"]).starts_with("everything resumed, by root\n"));
    let meanwhile = daemon.read_up_to("Orders: everything resumed, by root");
    assert!(meanwhile.matches("Starting object replication pass.").count() <= 1, "{meanwhile}");
    daemon.wait_for(PASS);
    assert_eq!(status(&daemon.home)["status"]["orders"]["pauses"], Value::Array(Vec::new()));
    assert_eq!(daemon.order(&["--resume"]), "Nothing was paused\n");
}

#[test]
fn a_pause_ends_by_itself_and_a_paused_only_device_keeps_the_next_pass_from_beginning() {
    let mut daemon = Daemon::with_orders("interval = 0.1");
    daemon.order(&["--pause", "-d", "sda", "--for", "2s"]);
    daemon.wait_for("Orders: device sda is paused, by root since ");
    let meanwhile = daemon.read_up_to("The time is over for which device sda was paused by root");
    assert!(meanwhile.matches(PASS).count() <= 2, "{meanwhile}");
    daemon.wait_for(PASS);
}

#[test]
fn a_paused_daemon_ends_at_once_and_a_reload_goes_on_with_the_pause() {
    let mut daemon = Daemon::with_orders("interval = 0.3");
    daemon.order(&["--pause"]);
    daemon.wait_for("Orders: everything is paused");
    kill_process(daemon.pid(), Signal::HUP).unwrap();
    daemon.wait_for("the configuration is read again");
    daemon.wait_for("Starting object replicator in daemon mode.");
    assert!(daemon.order(&["--set"]).contains("everything is paused, by root"));
    let begun = Instant::now();
    let (status, rest) = daemon.end(Signal::TERM);
    assert!(status.success() && begun.elapsed() < Duration::from_secs(3), "{status:?}");
    assert!(!rest.contains(PASS), "{rest}");
}

#[test]
fn the_service_manager_is_told_that_all_is_well_while_everything_is_paused() {
    let home = Home::new("interval = 0.1");
    let socket = home.path("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = home.command(&["-v"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "1000000");
    let mut daemon = Daemon::spawn_command(home, command);
    daemon.wait_for("Report: pass complete");
    daemon.order(&["--pause"]);
    daemon.wait_for("Orders: everything is paused");
    let begun = Instant::now();
    let mut fed = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        let mut message = [0; 64];
        let length = listener.recv(&mut message).unwrap();
        fed += usize::from(&message[..length] == b"WATCHDOG=1");
    }
    assert!(fed >= 4, "{fed}");
}

#[test]
fn limits_are_set_shown_and_given_back_and_the_log_has_the_old_and_the_new_value() {
    let mut daemon = Daemon::with_orders("interval = 600\nconcurrency = 8");
    assert_eq!(
        daemon.order(&["--set"]),
        "concurrency is 8, as in the configuration\nrsync_bwlimit is 0, as in the configuration\n"
    );
    let said = daemon.order(&["--set", "concurrency=2", "rsync_bwlimit=20m", "--for", "8h", "--reason", "clients"]);
    assert!(said.contains("concurrency is 2 (8 in the configuration), by root since "), "{said}");
    let line = daemon.wait_for("Limits: concurrency is 2 (8 in the configuration), by root since ");
    assert!(line.ends_with(": clients; it was 8"), "{line}");
    daemon.wait_for("Limits: rsync_bwlimit is 20m (0 in the configuration), by root");
    let limits = &status(&daemon.home)["status"]["orders"]["limits"];
    assert_eq!((&limits[0]["value"], &limits[1]["value"]), (&"2".into(), &"20m".into()));
    assert!(daemon.home.run(&["--status"]).stdout.contains("Orders: concurrency is 2 (8 in the configuration)"));
    daemon.order(&["--set", "concurrency=default"]);
    daemon.wait_for("Limits: concurrency is 8, as in the configuration; it was 2");
    let refused = daemon.home.run(&["--set", "concurrency=0"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
}

#[test]
fn what_is_not_there_is_not_paused_and_it_is_said_what_is() {
    let daemon = Daemon::with_orders("interval = 600");
    for (words, line) in [
        (["--pause", "-d", "sdb"], "no device here is \"sdb\": this node has sda\n"),
        (["--pause", "--to", "10.0.0.7"], "no other node of the rings is 10.0.0.7: there are none\n"),
    ] {
        let ending = daemon.home.run(&words);
        assert_eq!((ending.code, ending.stdout.as_str(), ending.stderr.as_str()), (Some(1), "", line));
    }
    assert_eq!(status(&daemon.home)["status"]["orders"]["pauses"], Value::Array(Vec::new()));
    assert_eq!(daemon.order(&["--resume", "-d", "sdb"]), "device sdb was not paused by itself\n");
}

#[test]
fn without_a_daemon_that_listens_it_is_said_why_with_code_2() {
    let home = Home::new("interval = 600");
    let refusal = |home: &Home| home.run(&["--pause"]).refusal_with(2).to_owned();
    assert!(refusal(&home).starts_with("no daemon runs with this configuration: there is no "));
    drop(UnixListener::bind(home.path("recon/object-replicator.sock")).unwrap());
    assert!(refusal(&home).ends_with("object-replicator.sock is left from one that is gone"));
    // A single pass takes no orders, and leaves what it finds.
    assert_eq!(home.run(&["once"]).code, Some(0));
    assert!(refusal(&home).ends_with("object-replicator.sock is left from one that is gone"));
    let mut daemon = Daemon::spawn(home, &["-v"]);
    daemon.wait_for("Report: pass complete");
    let begun = Instant::now();
    while daemon.home.run(&["--set"]).code != Some(0) {
        assert!(begun.elapsed() < Duration::from_secs(20), "what a dead one left is replaced");
    }
    assert!(fs::read_dir(daemon.home.path("recon")).unwrap().count() > 1);
    let socket = daemon.home.path("recon/object-replicator.sock");
    kill_process(daemon.pid(), Signal::TERM).unwrap();
    daemon.child.wait().unwrap();
    assert!(!socket.exists(), "it goes with the daemon");
}

#[test]
fn a_daemon_without_a_socket_is_told_from_none_and_makes_it_anew() {
    let home = Home::new("interval = 600");
    fs::write(home.path("recon/object-replicator.sock"), "precious").unwrap();
    let mut daemon = Daemon::spawn(home, &["-v"]);
    let line = daemon.wait_for("No orders (--pause, --set and the like) can be taken: ");
    assert!(line.ends_with("/object-replicator.sock is in the way: it is not a socket"), "{line}");
    fs::remove_file(daemon.home.path("recon/object-replicator.sock")).unwrap();
    let ending = daemon.home.run(&["--pause"]);
    assert!(ending.refusal_with(2).contains(", but takes no orders: there is no "), "{ending:?}");
    daemon.wait_for("Orders are taken again");
    daemon.order(&["--set"]);
}

#[test]
fn another_user_may_not_give_orders_and_root_may_give_them_to_any() {
    let daemon = Daemon::with_orders("interval = 600\nuser = games");
    daemon.order(&["--pause"]);
    let run_as = |user: &str| -> Ending {
        let starter = ["setpriv", user, "--regid=nogroup", "--clear-groups"];
        daemon.home.command_behind(&starter, &["--resume"]).output().unwrap().into()
    };
    let ending = run_as("--reuid=nobody");
    assert!(ending.refusal_with(2).starts_with("only root and the user of the daemon may give it orders: "));
    let ending = run_as("--reuid=games");
    assert_eq!((ending.code, ending.stdout.as_str()), (Some(0), "everything resumed, by games\n"), "{ending:?}");
}

#[test]
fn clients_that_are_silent_endless_or_mad_keep_nobody_from_giving_orders() {
    let daemon = Daemon::with_orders("interval = 600");
    let silent: Vec<_> = (0..100).map(|_| daemon.connect()).collect();
    let begun = Instant::now();
    daemon.order(&["--set"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "each is let go in the end");
    }
    let mut endless = daemon.connect();
    let sent = (0..4096).take_while(|_| endless.write_all(&[b'x'; 1024]).is_ok()).count();
    assert!(sent < 4096, "nobody reads a line without an end");
    for (line, error) in [
        (&b"\xff\xfe\0\n"[..], "does not understand the request: "),
        (b"\n", "does not understand the request: "),
        (b"{\"verb\":\"dance\"}\n", "unknown variant `dance`"),
        (b"{\"verb\":\"pause\",\"terms\":{\"seconds\":-1}}\n", "an order cannot be for -1 seconds"),
        (b"{\"verb\":\"set\",\"limits\":[\"concurrency=0\"]}\n", "must be an integer from 1"),
    ] {
        let mut mad = daemon.connect();
        mad.write_all(line).unwrap();
        let answer = answer(mad);
        assert!(answer["error"].as_str().unwrap().contains(error), "{answer}");
        assert_eq!(answer["orders"]["pauses"].as_array().map(Vec::len), Some(0), "{answer}");
    }
    daemon.order(&["--set"]);
}

#[test]
fn a_restart_forgets_all_but_what_is_kept_and_junk_is_ignored_with_a_warning() {
    let mut daemon = Daemon::with_orders("interval = 600");
    daemon.order(&["--pause", "-d", "sda", "--keep", "--reason", "broken"]);
    daemon.order(&["--pause"]);
    daemon.order(&["--set", "concurrency=3", "--keep"]);
    daemon.wait_for("Limits: concurrency is 3");
    kill_process(daemon.pid(), Signal::KILL).unwrap();
    let home = daemon.into_home();
    let mut daemon = Daemon::spawn(home, &["-v"]);
    let line = daemon.wait_for("Orders: device sda is paused, by root since ");
    assert!(line.ends_with(", kept over a restart: broken"), "{line}");
    daemon.wait_for("Orders: concurrency is 3 (1 in the configuration), by root");
    daemon.wait_for("Starting object replicator in daemon mode.");
    let begun = Instant::now();
    while daemon.home.run(&["--set"]).code != Some(0) {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    assert!(!daemon.order(&["--set"]).contains("everything"));
    daemon.order(&["--resume"]);
    daemon.wait_for("Report: pass complete");
    daemon.order(&["--set", "concurrency=default"]);
    assert!(!daemon.home.path("recon/object-replicator.orders").exists(), "the last order takes the file along");
    kill_process(daemon.pid(), Signal::KILL).unwrap();
    let home = daemon.into_home();
    fs::write(home.path("recon/object-replicator.orders"), "junk").unwrap();
    let mut daemon = Daemon::spawn(home, &["-v"]);
    let seen = daemon.read_up_to("Report: pass complete");
    assert_eq!(seen.matches("Orders that were to be kept are ignored: ").count(), 1, "{seen}");
}

#[test]
fn quiet_hours_are_told_by_the_clock_of_the_daemons_time_zone_and_give_way_to_orders() {
    let minutes = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 60;
    // In the zone that is seven hours ahead, an hour has begun half an hour ago.
    let clock = |shift: u64| {
        let minute = (minutes + 7 * 60 + shift) % (24 * 60);
        format!("{:02}:{:02}", minute / 60, minute % 60)
    };
    let hours = format!("{}-{}", clock(24 * 60 - 30), clock(30));
    let home = Home::new(&format!("interval = 600\nconcurrency = 8\nquiet_hours = {hours} concurrency=1"));
    let quiet = format!("concurrency is 1 (8 in the configuration), by quiet_hours {hours} of local time");
    let once = |zone: &str| -> Ending {
        let mut command = home.command(&["once", "-v"]);
        command.env("TZ", zone).output().unwrap().into()
    };
    assert!(once("AHEAD-7").stderr.contains(&format!("Orders: {quiet}\n")));
    assert!(!once("UTC").stderr.contains("quiet_hours"));
    let mut command = home.command(&["-v"]);
    command.env("TZ", "AHEAD-7");
    let mut daemon = Daemon::spawn_command(home, command);
    daemon.wait_for(&format!("Orders: {quiet}"));
    daemon.wait_for("Report: pass complete");
    daemon.order(&["--set", "concurrency=4"]);
    daemon.wait_for("Limits: concurrency is 4 (8 in the configuration), by root since ");
    daemon.order(&["--set", "concurrency=default"]);
    daemon.wait_for(&format!("Limits: {quiet}; it was 4"));
}

#[test]
fn quiet_hours_that_are_none_are_refused_like_any_bad_value() {
    let home = Home::new("quiet_hours = 8-19 concurrency=1");
    let line = home.run(&["once"]).refusal().to_owned();
    assert!(
        line.contains("quiet_hours = \"8-19 concurrency=1\": must be hours and limits, like \"08:00-19:00 "),
        "{line}"
    );
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_warned_of_and_costs_nothing_else() {
    let home = Home::new("");
    let long = home.path(&"r".repeat(120));
    fs::create_dir(&long).unwrap();
    let conf = fs::read_to_string(home.path("o.conf")).unwrap();
    let recon = home.path("recon").display().to_string();
    home.write("o.conf", &conf.replace(&recon, &long.display().to_string()));
    let mut daemon = Daemon::spawn(home, &["-v"]);
    let line = daemon.wait_for("No orders (--pause, --set and the like) can be taken: the path ");
    assert!(line.contains("may have 107: choose a shorter recon_cache_path"), "{line}");
    let ending = daemon.home.run(&["--pause"]);
    assert!(ending.refusal_with(2).starts_with("no daemon can take orders: the path "), "{ending:?}");
}
