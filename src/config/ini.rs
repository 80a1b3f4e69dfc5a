//! The ini dialect of Swift's configuration files: that of Python's `ConfigParser` (B2.1-B2.5).
//!
//! A file is read line by line: blank lines and comments (`#` or `;` first on the line; there are no inline comments) are
//! passed over, a line indented deeper than the option above it continues that option's value, `[name]` opens a section,
//! and everything else is `key = value` or `key : value`. Several files can be read into one [`Ini`], the later ones
//! override the earlier. Options of `[DEFAULT]` belong to every section that does not set them itself.
//!
//! Values stay raw until they are asked for; then `%(name)s` is replaced by the value of another option. Each value keeps
//! the file and line where it was set, so that a complaint about it can name the place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::interpolation::{Interpolation, InterpolationError};
use crate::python::numbers::{is_space, strip, strip_end};

/// The section whose options belong to every section.
const DEFAULT: &str = "DEFAULT";

/// The line of a file where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.display(), self.line)
    }
}

/// Why a file is not of this dialect, or a value cannot be expanded.
#[derive(Debug, Error)]
pub enum IniError {
    #[error("{file}: not UTF-8 from line {line} on", file = .0.file.display(), line = .0.line)]
    NotUtf8(Place),
    #[error("{0}: an option before the first [section]: {1:?}")]
    NoSection(Place, String),
    #[error("{0}: neither a [section] nor \"key = value\": {1:?}")]
    NoOption(Place, String),
    #[error("{0}: section [{1}] stands in this file a second time")]
    DuplicateSection(Place, String),
    #[error("{0}: option {2} is set a second time in section [{1}] of this file")]
    DuplicateOption(Place, String, String),
    #[error("{place}: {key} = {value:?}: {reason}")]
    Interpolation { place: Place, key: String, value: String, reason: InterpolationError },
}

/// In what the readers of Swift's files differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// A section or option that stands twice in one file is an error; else the later one counts.
    pub strict: bool,
    /// Keys are lower-cased.
    pub lower_case_keys: bool,
}

impl Dialect {
    fn key(self, name: &str) -> String {
        if self.lower_case_keys { name.to_lowercase() } else { name.to_owned() }
    }
}

/// An option with its final value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub value: String,
    pub place: Place,
    /// It stands in `[DEFAULT]`, not in the section itself.
    pub inherited: bool,
}

/// The parsed files.
#[derive(Debug)]
pub(crate) struct Ini {
    dialect: Dialect,
    /// How many files were read.
    files: usize,
    defaults: Section,
    /// In the order in which they first stood in a file.
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    name: String,
    /// The last file that opened the section, by number.
    file: usize,
    options: Vec<RawOption>,
}

/// An option as it stands in a file.
#[derive(Debug)]
struct RawOption {
    key: String,
    value: String,
    place: Place,
    /// The file that set it, by number.
    file: usize,
}

/// Where the reader of a file is.
struct Cursor {
    section: Option<SectionId>,
    /// The option that deeper lines continue, by its place in the section.
    option: Option<usize>,
    /// How deep the last header or option was indented, in characters.
    indent: usize,
}

#[derive(Clone, Copy)]
enum SectionId {
    Defaults,
    Named(usize),
}

impl Ini {
    /// Without any section.
    pub(crate) fn new(dialect: Dialect) -> Self {
        let defaults = Section { name: DEFAULT.to_owned(), file: 0, options: Vec::new() };
        Self { dialect, files: 0, defaults, sections: Vec::new() }
    }

    /// Reads one more file's content; what it sets overrides what was set before.
    ///
    /// `file` is its name for messages.
    pub(crate) fn read(&mut self, file: &Path, text: &str) -> Result<(), IniError> {
        self.files += 1;
        let file: Arc<Path> = file.into();
        let mut cursor = Cursor { section: None, option: None, indent: 0 };
        for (index, line) in lines(text).enumerate() {
            self.read_line(&mut cursor, line, Place { file: Arc::clone(&file), line: index + 1 })?;
        }
        self.finish_values();
        Ok(())
    }

    fn read_line(&mut self, cursor: &mut Cursor, line: &str, place: Place) -> Result<(), IniError> {
        let text = strip(line);
        if text.starts_with(['#', ';']) {
            return Ok(());
        }
        if text.is_empty() {
            // A blank line is part of a value that goes on after it; finish_values removes those that end one.
            self.continue_value(cursor, "");
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if indent > cursor.indent && self.continue_value(cursor, text) {
            return Ok(());
        }
        cursor.indent = indent;
        if let Some(name) = section_header(text) {
            cursor.section = Some(self.open_section(name, place)?);
            cursor.option = None;
        } else if let Some(section) = cursor.section {
            cursor.option = Some(self.set_option(section, text, place)?);
        } else {
            return Err(IniError::NoSection(place, text.to_owned()));
        }
        Ok(())
    }

    /// Adds a line to the value at the cursor, if there is one.
    fn continue_value(&mut self, cursor: &Cursor, line: &str) -> bool {
        let (Some(section), Some(option)) = (cursor.section, cursor.option) else {
            return false;
        };
        let value = &mut self.section_mut(section).options[option].value;
        value.push('\n');
        value.push_str(line);
        true
    }

    fn open_section(&mut self, name: &str, place: Place) -> Result<SectionId, IniError> {
        if let Some(known) = self.sections.iter().position(|section| section.name == name) {
            let section = &mut self.sections[known];
            if self.dialect.strict && section.file == self.files {
                return Err(IniError::DuplicateSection(place, name.to_owned()));
            }
            section.file = self.files;
            return Ok(SectionId::Named(known));
        }
        if name == DEFAULT {
            return Ok(SectionId::Defaults);
        }
        self.sections.push(Section { name: name.to_owned(), file: self.files, options: Vec::new() });
        Ok(SectionId::Named(self.sections.len() - 1))
    }

    fn set_option(&mut self, section: SectionId, text: &str, place: Place) -> Result<usize, IniError> {
        let dialect = self.dialect;
        let file = self.files;
        let split = text.split_once(['=', ':']).map(|(key, value)| (strip_end(key), strip(value)));
        let Some((key, value)) = split.filter(|(key, _)| !key.is_empty()) else {
            return Err(IniError::NoOption(place, text.to_owned()));
        };
        let option = RawOption { key: dialect.key(key), value: value.to_owned(), place, file };
        let section = self.section_mut(section);
        if let Some(known) = section.options.iter().position(|o| o.key == option.key) {
            if dialect.strict && section.options[known].file == file {
                return Err(IniError::DuplicateOption(option.place, section.name.clone(), option.key));
            }
            section.options[known] = option;
            return Ok(known);
        }
        section.options.push(option);
        Ok(section.options.len() - 1)
    }

    /// Blank lines at the end of a value are not part of it.
    fn finish_values(&mut self) {
        for section in self.sections.iter_mut().chain([&mut self.defaults]) {
            for option in &mut section.options {
                option.value.truncate(strip_end(&option.value).len());
            }
        }
    }

    fn section_mut(&mut self, id: SectionId) -> &mut Section {
        match id {
            SectionId::Defaults => &mut self.defaults,
            SectionId::Named(index) => &mut self.sections[index],
        }
    }

    /// The names of the sections in the order of the file, without `[DEFAULT]`.
    pub(crate) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|section| section.name.as_str())
    }

    /// All options of a section, those of `[DEFAULT]` first; `None` if there is no such section.
    ///
    /// # Errors
    /// `IniError::Interpolation` if a reference in any of the values cannot be replaced, even in a value that nobody
    /// asks for (B2.5).
    pub(crate) fn items(&self, section: &str, interpolation: Interpolation) -> Result<Option<Vec<Item>>, IniError> {
        let Some(section) = self.section(section) else {
            return Ok(None);
        };
        let inherited = self.defaults.options.iter().filter(|option| section.find(&option.key).is_none());
        let inherited = inherited.map(|option| (option, true));
        let own = section.options.iter().map(|option| (option, false));
        let item = |(option, inherited): (&RawOption, bool)| {
            let value = self.expand(section, option, interpolation)?;
            Ok(Item { key: option.key.clone(), value, place: option.place.clone(), inherited })
        };
        inherited.chain(own).map(item).collect::<Result<_, _>>().map(Some)
    }

    /// One option of a section, by its key as it is kept; `None` if there is no such section, or no such option in it and
    /// in `[DEFAULT]`.
    pub(crate) fn get(
        &self,
        section: &str,
        key: &str,
        interpolation: Interpolation,
    ) -> Result<Option<String>, IniError> {
        let Some(section) = self.section(section) else {
            return Ok(None);
        };
        self.find(section, key).map(|option| self.expand(section, option, interpolation)).transpose()
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    fn find<'a>(&'a self, section: &'a Section, key: &str) -> Option<&'a RawOption> {
        section.find(key).or_else(|| self.defaults.find(key))
    }

    fn expand(&self, section: &Section, option: &RawOption, how: Interpolation) -> Result<String, IniError> {
        let lookup = |name: &str| {
            let option = self.find(section, &self.dialect.key(name))?;
            Some(option.value.as_str())
        };
        how.expand(&option.value, &lookup).map_err(|reason| IniError::Interpolation {
            place: option.place.clone(),
            key: option.key.clone(),
            value: option.value.clone(),
            reason,
        })
    }
}

impl Section {
    fn find(&self, key: &str) -> Option<&RawOption> {
        self.options.iter().find(|option| option.key == key)
    }
}

/// A file's bytes as text.
pub(crate) fn decode(file: &Path, bytes: Vec<u8>) -> Result<String, IniError> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        IniError::NotUtf8(Place { file: file.into(), line })
    })
}

/// The files of a configuration folder, in the order in which they are read: `*.conf`, not hidden, sorted (B2.1).
pub(crate) fn files_of_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".conf") && !bytes.starts_with(b".") {
            files.push(folder.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// Python's universal newlines: `\n`, `\r\n` and a lone `\r` end a line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(end) = rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, tail) = rest.split_at(end);
        rest = tail.strip_prefix("\r\n").unwrap_or(&tail[1..]);
        Some(line)
    })
}

/// The name in `[name]`; it goes up to the last bracket, and what follows is ignored.
fn section_header(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let name = &inner[..inner.rfind(']')?];
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Dialect = Dialect { strict: true, lower_case_keys: false };

    fn parse(text: &str) -> Result<Ini, IniError> {
        let mut ini = Ini::new(STRICT);
        ini.read(Path::new("a.conf"), text).map(|()| ini)
    }

    fn items(text: &str) -> Result<Vec<(String, String)>, String> {
        let ini = parse(text).map_err(|e| e.to_string())?;
        let items = ini.items("s", Interpolation::WhereReferred).map_err(|e| e.to_string())?;
        Ok(items.expect("[s] is there").into_iter().map(|item| (item.key, item.value)).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn both_delimiters_count_and_the_first_one_splits() {
        assert_eq!(
            items("[s]\na = 1\nb:2\nc=x:y\nd : e = f\n"),
            pairs(&[("a", "1"), ("b", "2"), ("c", "x:y"), ("d", "e = f")])
        );
    }

    #[test]
    fn keys_keep_their_case_and_paste_deploys_set_is_part_of_the_key() {
        assert_eq!(items("[s]\nLog = 1\nset log = 2\n"), pairs(&[("Log", "1"), ("set log", "2")]));
    }

    #[test]
    fn only_whole_lines_are_comments() {
        assert_eq!(items("# x\n[s]\na = 5 # x\n  ; y\nb = ;\n"), pairs(&[("a", "5 # x"), ("b", ";")]));
    }

    #[test]
    fn deeper_lines_continue_a_value_over_comments_and_blank_lines() {
        assert_eq!(items("[s]\na = 1\n 2\n# x\n\n  [3]\n\nb = 4\n"), pairs(&[("a", "1\n2\n\n[3]"), ("b", "4")]));
        assert_eq!(items("[s]\n  a = 1\n  b = 2\n c = 3\n"), pairs(&[("a", "1"), ("b", "2"), ("c", "3")]));
    }

    #[test]
    fn every_kind_of_newline_ends_a_line() {
        assert_eq!(items("[s]\ra = 1\r\nb = 2\n\rc = 3"), pairs(&[("a", "1"), ("b", "2"), ("c", "3")]));
    }

    #[test]
    fn a_section_overrides_the_defaults() {
        assert_eq!(items("[DEFAULT]\na = 1\nb = 2\n[s]\na = 3\n"), pairs(&[("b", "2"), ("a", "3")]));
        assert_eq!(items("[s]\na = 3\n[DEFAULT]\na = 1\n[DEFAULT]\nb = 2\n"), pairs(&[("b", "2"), ("a", "3")]));
    }

    #[test]
    fn duplicates_within_a_file_are_refused_with_their_line() {
        assert_eq!(
            items("[s]\na = 1\n\na = 2\n"),
            Err("a.conf line 4: option a is set a second time in section [s] of this file".into())
        );
        assert_eq!(
            items("[s]\n[t]\n[s]\n"),
            Err("a.conf line 3: section [s] stands in this file a second time".into())
        );
    }

    #[test]
    fn a_later_file_overrides_an_earlier_one_and_values_keep_their_place() {
        let mut ini = parse("[s]\na = 1\nb = 2\n").unwrap();
        ini.read(Path::new("b.conf"), "\n[s]\na = 3\n").unwrap();
        let items = ini.items("s", Interpolation::WhereReferred).unwrap().unwrap();
        let shown: Vec<_> = items.iter().map(|i| format!("{}={} at {}", i.key, i.value, i.place)).collect();
        assert_eq!(shown, ["a=3 at b.conf line 3", "b=2 at a.conf line 3"]);
    }

    #[test]
    fn lines_that_are_nothing_are_refused_with_their_line() {
        assert_eq!(items("x = 1\n"), Err("a.conf line 1: an option before the first [section]: \"x = 1\"".into()));
        for nothing in ["word", "= 1", "[]"] {
            let expected = format!("a.conf line 2: neither a [section] nor \"key = value\": {nothing:?}");
            assert_eq!(items(&format!("[s]\n{nothing}\n")), Err(expected));
        }
    }

    #[test]
    fn references_are_expanded_and_a_plain_percent_is_not_special() {
        assert_eq!(
            items("[DEFAULT]\nd = /srv\n[s]\na = %(d)s/node 5%%\nb = 1%\n"),
            pairs(&[("d", "/srv"), ("a", "/srv/node 5%"), ("b", "1%")])
        );
    }

    #[test]
    fn what_cannot_be_expanded_is_refused_with_its_place() {
        let unknown = "\"%(x)s\" refers to an option that is set neither in this section nor in [DEFAULT]";
        assert_eq!(items("[s]\na = %(x)s\n"), Err(format!("a.conf line 2: a = \"%(x)s\": {unknown}")));
    }

    #[test]
    fn references_are_lower_cased_where_keys_are() {
        let mut ini = Ini::new(Dialect { strict: false, lower_case_keys: true });
        ini.read(Path::new("a.conf"), "[s]\nKey = 1\nb = %(KEY)s\n").unwrap();
        assert_eq!(ini.get("s", "b", Interpolation::Always).unwrap().as_deref(), Some("1"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_line() {
        let error = decode(Path::new("a.conf"), b"[s]\na = 1\nb = \xff\n".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "a.conf: not UTF-8 from line 3 on");
    }
}
