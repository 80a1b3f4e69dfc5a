//! What rsync is started with: arguments, folder, input, environment.

use std::os::fd::AsFd as _;

use super::*;
use crate::device::drive::hold;

#[test]
fn a_batch_is_told_by_a_list_that_begins_in_the_datadir() {
    let script = Script::new("printf '%s\\n' \"$@\" > args; cat > list; ls -d /proc/$$/cwd > /dev/null");
    let local = Local::with(&["1/abc/h/1.data", "1/def/h/1.data", "2/abc/h/1.data"]);
    let parts = [part(1, &["abc", "def"]), part(2, &["abc"])];
    let compressed = RsyncSettings { compress: true, ..options() };
    let rsync = Rsync::new(compressed).with_program(script.program());
    let to = device_on(7);
    rsync.push(&Push { across_regions: true, ..local.push(&parts, &to) }, &()).unwrap();
    let args = script.read("args");
    let args: Vec<_> = args.lines().collect();
    let of_the_batch = [
        "--compress",
        "--sockopts=TCP_NODELAY",
        "--no-motd",
        "--from0",
        "--files-from=-",
        "--relative",
        "--no-implied-dirs",
        ".",
        "rsync://127.0.0.1:7/object/sdb/objects-1/.",
    ];
    assert_eq!(args[args.len() - of_the_batch.len()..], of_the_batch);
    assert!(args[args.len() - of_the_batch.len() - 1].starts_with("--exclude="));
    assert_eq!(script.read("list"), "1/abc\u{0}1/def\u{0}2/abc\u{0}");
}

#[test]
fn rsync_gets_no_unwanted_variables_and_no_input_of_ours() {
    let script =
        Script::new("echo \"${CARGO_MANIFEST_DIR-none} ${PATH:+path}\" > variables; readlink /proc/$$/fd/0 > stdin");
    let local = Local::with(&["1/abc/h/1.data"]);
    let rsync = Rsync::new(options()).with_program(script.program());
    let mut rsync = Rsync { unwanted_variables: vec!["CARGO_MANIFEST_DIR".into()], ..rsync };
    rsync.push(&local.push(&[part(1, &["abc"])], &device_on(1)), &()).unwrap();
    let input = "/memfd:rsync-sources (deleted)";
    assert_eq!((script.read("variables").trim(), script.read("stdin").trim()), ("none path", input));
    rsync.options.nodelay = false;
    rsync.push(&local.push(&[part(1, &["abc"])], &device_on(1)), &()).unwrap();
    assert_eq!((script.read("variables").trim(), script.read("stdin").trim()), ("none path", "/dev/null"));
}

#[test]
fn what_is_pushed_is_in_the_folder_that_is_held_whatever_its_path_leads_to() {
    let script = Script::new("cat > list; cat \"$OLDPWD/1/abc/h/1.data\" > found");
    let local = Local::with(&["1/abc/h/1.data"]);
    fs::write(local.datadir.join("1/abc/h/1.data"), "ours").unwrap();
    let held = hold(&local.datadir).unwrap();
    fs::rename(&local.datadir, local.datadir.with_extension("away")).unwrap();
    fs::create_dir_all(local.datadir.join("1/abc/h")).unwrap();
    fs::write(local.datadir.join("1/abc/h/1.data"), "somebody else's").unwrap();
    fs::create_dir_all(local.datadir.join("1/def")).unwrap();

    let (to, parts) = (device_on(1), [part(1, &["abc", "def"])]);
    let rsync = Rsync::new(options()).with_program(script.program());
    let push = Push { folder: Some(held.as_fd()), ..local.push(&parts, &to) };
    rsync.push(&push, &()).unwrap();
    assert_eq!(script.read("list"), "1/abc\0", "def is not in it");
    assert_eq!(script.read("found"), "ours");
}
