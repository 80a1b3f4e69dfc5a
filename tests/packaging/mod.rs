//! What is installed beside the program: completions, manual pages, units, the Debian package's papers.

mod entrance;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::completions;
use crate::support::oracle::project;

#[test]
fn the_completions_are_those_of_the_command_line() {
    for (name, script) in completions::all() {
        let kept = fs::read(project().join("packaging/completions").join(name)).unwrap();
        assert!(kept == script, "{name} is out of step: `make completions` mends it");
    }
}

#[test]
fn bash_completes_options_by_them() {
    let script = project().join("packaging/completions/swift-object-replicator.bash");
    let ask = "source \"$0\"; COMP_WORDS=(swift-object-replicator --par); COMP_CWORD=1; \
               _swift__object__replicator swift-object-replicator --par swift-object-replicator; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["--norc", "-c", ask]).arg(script).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--partitions\n", "{output:?}");
}

#[test]
fn the_debian_changelog_tells_of_this_version() {
    let changelog = fs::read_to_string(project().join("packaging/debian/changelog")).unwrap();
    let newest = changelog.lines().next().unwrap();
    let version = format!("swift-object-replicator ({}-", env!("CARGO_PKG_VERSION"));
    assert!(newest.starts_with(&version), "{newest}");
}

#[test]
fn make_install_puts_everything_below_the_prefix() {
    let root = tempfile::tempdir().unwrap();
    let variables = [
        format!("DESTDIR={}", root.path().display()),
        "PREFIX=/opt/swift".to_owned(),
        format!("BINARY={}", env!("CARGO_BIN_EXE_swift-object-replicator")),
    ];
    let output = Command::new("make").arg("install").args(variables).current_dir(project()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut installed = Vec::new();
    list(root.path(), root.path(), &mut installed);
    installed.sort();
    assert_eq!(
        installed,
        [
            "opt/swift/bin/swift-object-replicator",
            "opt/swift/lib/systemd/system/swift-object-replicator.service",
            "opt/swift/lib/systemd/system/swift-object-replicator.service.d/native.conf",
            "opt/swift/share/bash-completion/completions/swift-object-replicator",
            "opt/swift/share/doc/swift-object-replicator/alerts.yml",
            "opt/swift/share/doc/swift-object-replicator/alerts_test.yml",
            "opt/swift/share/doc/swift-object-replicator/grafana/swift-object-replicator.json",
            "opt/swift/share/fish/vendor_completions.d/swift-object-replicator.fish",
            "opt/swift/share/man/man1/swift-object-replicator.1",
            "opt/swift/share/man/man5/swift-object-replicator.conf.5",
            "opt/swift/share/zsh/site-functions/_swift-object-replicator",
        ]
    );
    let unit = fs::read_to_string(root.path().join(&installed[1])).unwrap();
    assert!(
        unit.contains("\nExecStart=/opt/swift/bin/swift-object-replicator /etc/swift/object-server.conf\n"),
        "{unit}"
    );
}

/// The files below `folder`, by their paths from `root` on.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            files.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}
