//! What documents say of this repository is true as far as a test can see: files and links are there, and the packages
//! are those of the manifest.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::oracle::project;

/// Where the names of files in documents begin.
const FOLDERS: [&str; 9] = [".ci", "benches", "docs", "examples", "fuzz", "man", "packaging", "src", "tests"];

/// Facts about the reference, which name the files of Swift.
const NOT_OURS: &str = "behaviour.md";

/// The documents, by their paths in the repository.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(project().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ext| ext == "md") && !path.ends_with(NOT_OURS));
    let mut documents: Vec<_> = docs.map(|path| path.strip_prefix(project()).unwrap().to_owned()).collect();
    documents.extend(["README.md", "CONTRIBUTING.md"].map(PathBuf::from));
    documents.sort();
    documents
}

fn read(name: &Path) -> String {
    fs::read_to_string(project().join(name)).unwrap_or_else(|error| panic!("{}: {error}", name.display()))
}

/// The text without what is set off as code: blocks between fences, and lines that are indented.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with("    ") {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The words between backticks.
fn quoted(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Whether a word is the name of a file or folder of this repository, or can only be meant as one.
fn is_file_name(word: &str) -> bool {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/@".contains(&byte));
    let begins_in = word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder));
    is_plain && (begins_in || word.ends_with(".rs"))
}

/// A name counts from the repository's root or from `src/`; the bare name of a source counts wherever it is.
fn exists(name: &str) -> bool {
    match name.contains('/') {
        true => project().join(name).exists() || project().join("src").join(name).exists(),
        false => {
            ["src", "tests", "benches", "examples", "fuzz"].iter().any(|folder| has(&project().join(folder), name))
        }
    }
}

fn has(folder: &Path, name: &str) -> bool {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.any(|path| path.ends_with(name) || path.is_dir() && has(&path, name))
}

/// Names in a document that are nowhere.
fn missing_files(text: &str) -> Vec<String> {
    quoted(text).into_iter().filter(|word| is_file_name(word) && !exists(word)).collect()
}

/// Where the links of a text lead to, but for those to other sites.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The names by which links find the headings of a text.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| heading.chars().filter_map(anchor_of).collect()).collect()
}

fn anchor_of(letter: char) -> Option<char> {
    match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
    }
}

/// Links of a document with this text that lead nowhere.
fn dead_links(document: &Path, text: &str) -> Vec<String> {
    let leads_somewhere = |link: &String| {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match file {
            "" => document.to_owned(),
            _ => document.with_file_name("").join(file),
        };
        let has_anchor = || anchors(&read(&target)).contains(anchor);
        project().join(&target).exists() && (anchor.is_empty() || has_anchor())
    };
    links(text).into_iter().filter(|link| !leads_somewhere(link)).collect()
}

/// Fails unless this finds nothing in any document.
#[track_caller]
fn nothing_is_found(find: impl Fn(&Path, &str) -> Vec<String>) {
    let found = documents().into_iter().flat_map(|document| {
        let found = find(&document, &read(&document));
        found.into_iter().map(move |name| format!("{}: {name}", document.display()))
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "not there: {found:#?}");
}

/// The packages that the manifest asks for.
fn packages_of_the_manifest(manifest: &str) -> BTreeSet<String> {
    let sections = ["[dependencies]", "[dev-dependencies]"];
    let mut is_wanted = false;
    let mut packages = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_wanted = sections.contains(&line.trim());
        } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| is_wanted && !name.starts_with('#')) {
            packages.insert(name.to_owned());
        }
    }
    packages
}

/// The packages in the first column of the tables about them.
fn packages_of_the_design(design: &str) -> BTreeSet<String> {
    let (_, section) = design.split_once("\n## Packages\n").expect("the design has a section about packages");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    nothing_is_found(|_, text| missing_files(text));
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    nothing_is_found(dead_links);
}

#[test]
fn the_packages_in_the_design_are_those_of_the_manifest() {
    let manifest = packages_of_the_manifest(&read(Path::new("Cargo.toml")));
    let design = packages_of_the_design(&read(Path::new("docs/design.md")));
    assert!(manifest.len() > 20, "{manifest:?}");
    assert_eq!(design, manifest);
}

#[test]
fn a_name_of_no_file_is_found_wherever_it_stands() {
    let text = "`src/lib.rs`, `pass/mod.rs`, `mod.rs`, `docs/*.md`, `/etc/swift` and `make`\n\
                `src/away.rs`, `pass/away.rs`, `away.rs`,\n`packaging/away DEB`\n\
                ```\n`src/code.rs`\n```\n    `src/indented.rs`\n";
    assert_eq!(missing_files(text), ["src/away.rs", "pass/away.rs", "away.rs", "packaging/away"]);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let text = "[a](design.md) [b](../README.md#speed) [c](https://example.org/x) [d](away.md)\n\
                [e](design.md#away) ![f](report.png) [g](design.md)";
    assert_eq!(dead_links(Path::new("docs/x.md"), text), ["away.md", "design.md#away"]);
}
