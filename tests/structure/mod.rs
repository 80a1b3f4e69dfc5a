//! The structure holds: no file of `src/` uses one of a room above its own, none uses one that uses it, and none grows too
//! long. What only tests use does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::support::oracle::project;

/// The rooms, from the ground up. One uses only those on floors below its own.
const FLOORS: [&[&str]; 11] = [
    &["bounded", "clock", "locks"],
    &["cause", "heartbeat", "heartbeats", "names", "printable", "python", "regular", "resolver", "sys"],
    &["orders"],
    &["child", "config", "format", "user"],
    &["device", "log", "report", "ring"],
    &["peer"],
    &["job"],
    &["pass"],
    &["cli"],
    &["check", "control", "daemon", "status"],
    &["dry_run"],
];
/// Not part of the program.
const ASIDE: [&str; 1] = ["fuzzing"];
/// The most lines of a function, and of a file.
const FUNCTION: usize = 60;
const FILE: usize = 500;

/// Which modules each module uses; by their paths, as in `peer::ssync::talk`.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The files with sources below a folder of the project.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut left = vec![project().join(folder)];
    let mut sources = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}

fn parse(path: &Path) -> syn::File {
    syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The module that a file of `src/` is; nothing for the roots.
fn module_of(path: &Path) -> Option<String> {
    let name = path.strip_prefix(project().join("src")).unwrap().with_extension("");
    let mut words: Vec<_> = name.iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    words.pop_if(|last| last == "mod");
    (!matches!(&words[..], [root] if root == "lib" || root == "main")).then(|| words.join("::"))
}

/// Collects what a file uses. Modules for tests are passed over, and name those of their files.
#[derive(Default)]
struct Reader {
    paths: Vec<Vec<String>>,
    /// Modules in files of their own that only tests have.
    for_tests: Vec<String>,
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let condition = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg") && {
            let syn::Meta::List(list) = &attribute.meta else { return false };
            let text = list.tokens.to_string();
            text == "test" || text.starts_with("any (test")
        }
    };
    attributes.iter().any(condition)
}

impl Reader {
    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.paths.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.paths.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.paths.push(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        } else if item.content.is_none() {
            self.for_tests.push(item.ident.to_string());
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    /// Who may see a thing is no use of anything.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// What a path that begins with `crate`, `self` or `super` leads to, from the root.
fn absolute(module: &str, path: &[String]) -> Option<Vec<String>> {
    let mut at: Vec<_> = module.split("::").map(str::to_owned).collect();
    let mut words = path.iter();
    match words.next()?.as_str() {
        "crate" => at.clear(),
        "self" => {}
        "super" => drop(at.pop()),
        _ => return None,
    }
    for word in words {
        match word.as_str() {
            "super" => drop(at.pop()),
            word => at.push(word.to_owned()),
        }
    }
    Some(at)
}

/// What each module of the program uses of the others.
fn uses() -> Uses {
    let (mut readers, mut for_tests) = (BTreeMap::new(), BTreeSet::new());
    for path in sources("src") {
        let module = module_of(&path);
        let mut reader = Reader::default();
        reader.visit_file(&parse(&path));
        let below = |name: &String| module.iter().chain([name]).map(String::as_str).collect::<Vec<_>>().join("::");
        for_tests.extend(reader.for_tests.iter().map(below));
        readers.extend(module.map(|module| (module, reader.paths)));
    }
    readers.retain(|module, _| {
        let is_below = |other: &String| module == other || module.starts_with(&format!("{other}::"));
        !for_tests.iter().any(is_below) && !ASIDE.contains(&room(module))
    });
    let module_at = |mut path: Vec<String>| {
        while !path.is_empty() && !readers.contains_key(&path.join("::")) {
            path.pop();
        }
        (!path.is_empty()).then(|| path.join("::"))
    };
    let used = |module: &String, paths: &[Vec<String>]| {
        let found = paths.iter().filter_map(|path| module_at(absolute(module, path)?));
        found.filter(|other| other != module).collect()
    };
    readers.iter().map(|(module, paths)| (module.clone(), used(module, paths))).collect()
}

fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Uses of rooms that are not below.
fn upward(uses: &Uses) -> Vec<String> {
    let arrows = uses.iter().flat_map(|(module, used)| used.iter().map(move |other| (module, other)));
    let is_upward = |(module, other): &(&String, &String)| {
        room(module) != room(other) && floor_of(room(module)) <= floor_of(room(other))
    };
    arrows.filter(is_upward).map(|(module, other)| format!("{module} uses {other}")).collect()
}

/// A circle of modules each of which uses the next, if there is one.
fn circle(uses: &Uses) -> Option<Vec<String>> {
    let mut left = uses.clone();
    // What uses nothing that is left is part of no circle.
    loop {
        let modules: BTreeSet<_> = left.keys().cloned().collect();
        left.retain(|_, used| used.iter().any(|other| modules.contains(other)));
        if left.len() == modules.len() {
            break;
        }
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?].iter().find(|other| left.contains_key(*other))?.clone();
        if let Some(begin) = way.iter().position(|module| *module == next) {
            return Some(way.split_off(begin));
        }
        way.push(next);
    }
}

#[test]
fn every_room_is_on_a_floor() {
    let rooms: BTreeSet<_> = uses().keys().map(|module| room(module).to_owned()).collect();
    let floors: BTreeSet<_> = FLOORS.iter().flat_map(|floor| floor.iter().map(|room| (*room).to_owned())).collect();
    assert_eq!(rooms, floors);
}

#[test]
fn no_room_uses_one_that_is_not_below_it() {
    assert_eq!(upward(&uses()), [] as [String; 0]);
}

#[test]
fn no_file_uses_one_that_uses_it() {
    assert_eq!(circle(&uses()), None);
}

#[test]
fn the_picture_in_the_design_has_every_room() {
    let design = fs::read_to_string(project().join("docs/design.md")).unwrap();
    let picture = design.split("## The rooms").nth(1).and_then(|rest| rest.split("```").nth(1)).unwrap();
    let words: BTreeSet<_> = picture.split_whitespace().collect();
    for room in FLOORS.iter().flat_map(|floor| floor.iter()) {
        assert!(words.contains(room), "{room} is not in the picture");
    }
}

/// Finds functions that are too long.
struct Ruler(Vec<String>);

impl Ruler {
    fn measure(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line + 1 - span.start().line;
        if lines > FUNCTION {
            self.0.push(format!("{name} has {lines} lines"));
        }
    }
}

impl<'ast> Visit<'ast> for Ruler {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_and_files_stay_short() {
    let mut long = Vec::new();
    for path in ["src", "tests", "benches", "examples", "fuzz"].into_iter().flat_map(sources) {
        let name = path.strip_prefix(project()).unwrap().display().to_string();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > FILE {
            long.push(format!("{name} has {lines} lines"));
        }
        let mut ruler = Ruler(Vec::new());
        ruler.visit_file(&parse(&path));
        long.extend(ruler.0.into_iter().map(|function| format!("{name}: {function}")));
    }
    assert_eq!(long, [] as [String; 0]);
}

/// Sees `unsafe` blocks, functions and implementations, and lints that are switched off by `allow`.
#[derive(Default)]
struct Watcher {
    is_unsafe: bool,
    allows: bool,
}

impl<'ast> Visit<'ast> for Watcher {
    fn visit_expr_unsafe(&mut self, _: &'ast syn::ExprUnsafe) {
        self.is_unsafe = true;
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.is_unsafe |= item.unsafety.is_some();
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.is_unsafe |= signature.unsafety.is_some();
        visit::visit_signature(self, signature);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        self.allows |= attribute.path().is_ident("allow");
    }
}

fn watched(file: &syn::File) -> Watcher {
    let mut watcher = Watcher::default();
    watcher.visit_file(file);
    watcher
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let unsafe_files = sources("src").into_iter().filter(|path| watched(&parse(path)).is_unsafe);
    let (inside, outside): (Vec<_>, Vec<_>) =
        unsafe_files.partition(|path| path.starts_with(project().join("src/sys")));
    assert!(!inside.is_empty());
    assert_eq!(outside, [] as [PathBuf; 0]);
}

#[test]
fn no_lint_is_allowed_in_the_program() {
    let allowing = sources("src").into_iter().filter(|path| watched(&parse(path)).allows);
    assert_eq!(allowing.collect::<Vec<_>>(), [] as [PathBuf; 0]);
    assert!(
        watched(&syn::parse_quote!(
            fn long() {
                #[allow(dead_code)]
                let x = 1;
            }
        ))
        .allows
    );
}

#[test]
fn an_arrow_upwards_and_a_circle_are_seen() {
    let made = |arrows: &[(&str, &str)]| {
        let mut uses = Uses::new();
        for (module, other) in arrows {
            uses.entry((*module).to_owned()).or_default().insert((*other).to_owned());
            uses.entry((*other).to_owned()).or_default();
        }
        uses
    };
    let upwards = made(&[("job::update", "pass::lanes"), ("pass", "job"), ("job::work", "job::view")]);
    assert_eq!(upward(&upwards), ["job::update uses pass::lanes"]);
    assert_eq!(circle(&upwards), None);
    let round = made(&[("job", "job::a"), ("job::a", "job::b"), ("job::b", "job::c"), ("job::c", "job::a")]);
    assert_eq!(circle(&round).map(|circle| circle.len()), Some(3));
}
