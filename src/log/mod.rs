//! The log: one line per record, `<log_name>: <thread's prefix><message>`, to syslog and with `-v` to the console
//! (B12.1-B12.3). A line break in a message is `#012` in the line, as in the reference's; what else a terminal or a syslog
//! daemon would act on is written in the same form (`printable.rs`).
//!
//! Everything in this crate logs through the `log` crate's macros. That knows neither NOTICE nor CRITICAL, so
//! [`notice!`](crate::notice) and [`critical!`](crate::critical) are records of the level below or above which they
//! stand, with a target of their own. What other crates log is not for operators, and left out.

mod console;
mod outlet;
mod severity;
pub mod statsd;
pub(crate) mod syslog;
mod udp;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::panic;
use std::sync::{Arc, RwLock};

#[doc(hidden)]
pub use ::log as facade;
use ::log::{Level, LevelFilter, Log, Metadata, Record};

use self::console::Console;
pub use self::severity::Severity;
use self::syslog::Syslog;
use crate::config::settings::LogSettings;
use crate::locks::{read, write};
use crate::printable::printable;

/// The target that makes an INFO record a NOTICE.
#[doc(hidden)]
pub const NOTICE: &str = concat!(env!("CARGO_CRATE_NAME"), "::notice");
/// The target that makes an ERROR record CRITICAL.
#[doc(hidden)]
pub const CRITICAL: &str = concat!(env!("CARGO_CRATE_NAME"), "::critical");
/// The target of what the reference's root logger has.
#[doc(hidden)]
pub const ROOT: &str = concat!(env!("CARGO_CRATE_NAME"), "::root");

/// What stands between the two halves of a line that was too long.
const CUT: &str = " ... ";

/// Logs at NOTICE: between INFO and WARNING, shown when INFO is.
#[macro_export]
macro_rules! notice {
    ($($message:tt)+) => {
        $crate::log::facade::info!(target: $crate::log::NOTICE, $($message)+)
    };
}

/// Logs at CRITICAL, above ERROR.
#[macro_export]
macro_rules! critical {
    ($($message:tt)+) => {
        $crate::log::facade::error!(target: $crate::log::CRITICAL, $($message)+)
    };
}

/// Logs at ERROR what the reference logs past its own logger, and so in another shape: `STDERR: ERROR:root:...` (B1.15).
#[macro_export]
macro_rules! root_error {
    ($($message:tt)+) => {
        $crate::log::facade::error!(
            target: $crate::log::ROOT,
            "STDERR: ERROR:root:{}",
            format_args!($($message)+)
        )
    };
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up logging: {0}")]
pub struct InitError(#[from] ::log::SetLoggerError);

/// Makes this the log of the process, and has panics logged at CRITICAL (B1.14).
///
/// With `verbose`, lines go to stderr too.
///
/// # Errors
/// [`InitError`] if the process has a logger already.
pub fn init(settings: &LogSettings, verbose: bool) -> Result<(), InitError> {
    install(Logger::new(settings, verbose))
}

fn install(logger: Logger) -> Result<(), InitError> {
    ::log::set_logger(&CURRENT)?;
    CURRENT.replace(logger);
    panic::set_hook(Box::new(|panic| critical!("UNCAUGHT EXCEPTION\n{panic}")));
    Ok(())
}

/// The same, but for stderr only; without `verbose` what is below WARNING is left out.
///
/// # Errors
/// [`InitError`] if the process has a logger already.
pub fn init_console(settings: &LogSettings, verbose: bool) -> Result<(), InitError> {
    let mut logger = Logger { syslog: None, ..Logger::new(settings, true) };
    if !verbose {
        logger.threshold = logger.threshold.min(Severity::Warning);
    }
    install(logger)
}

/// Lets the log of the process follow other settings; what goes to the console still does.
pub fn renew(settings: &LogSettings) {
    let verbose = CURRENT.read(|logger| logger.console.is_some()).unwrap_or(false);
    CURRENT.replace(Logger::new(settings, verbose));
}

/// The log of the process, once there is one.
struct Current(RwLock<Option<Logger>>);

static CURRENT: Current = Current(RwLock::new(None));

impl Current {
    fn read<T>(&self, look: impl FnOnce(&Logger) -> T) -> Option<T> {
        read(&self.0).as_ref().map(look)
    }

    fn replace(&self, logger: Logger) {
        let max_level = logger.max_level();
        *write(&self.0) = Some(logger);
        ::log::set_max_level(max_level);
    }
}

impl Log for Current {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.read(|logger| logger.enabled(metadata)).unwrap_or(false)
    }

    fn log(&self, record: &Record<'_>) {
        self.read(|logger| logger.log(record));
    }

    fn flush(&self) {}
}

thread_local! {
    static PREFIX: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// From now on the message of each line of this thread begins with the prefix, like `[worker 1/2 pid=7] ` (B5.21).
pub fn set_thread_prefix(prefix: impl Into<Arc<str>>) {
    PREFIX.set(Some(prefix.into()));
}

/// This thread's prefix, for [`set_thread_prefix`] in a thread that works for this one.
pub fn thread_prefix() -> Arc<str> {
    PREFIX.with_borrow(|prefix| prefix.clone()).unwrap_or_default()
}

/// Turns records into lines, and sends those on.
pub struct Logger {
    name: String,
    threshold: Severity,
    /// In characters; 0 means no limit.
    max_line_length: usize,
    syslog: Option<Syslog>,
    console: Option<Console>,
}

impl Logger {
    /// A logger that is not the process's yet.
    pub fn new(settings: &LogSettings, verbose: bool) -> Self {
        Self {
            name: settings.name.clone(),
            threshold: threshold(&settings.level),
            max_line_length: settings.max_line_length,
            syslog: Some(Syslog::new(settings)),
            console: verbose.then(|| Console::new(&settings.name)),
        }
    }

    /// The level up to which records need to be made at all.
    fn max_level(&self) -> LevelFilter {
        match self.threshold {
            Severity::Debug => LevelFilter::Debug,
            Severity::Info | Severity::Notice => LevelFilter::Info,
            Severity::Warning => LevelFilter::Warn,
            Severity::Error | Severity::Critical => LevelFilter::Error,
        }
    }

    fn line(&self, message: &fmt::Arguments<'_>) -> String {
        let line = PREFIX
            .try_with(|prefix| format!("{}: {}{message}", self.name, prefix.borrow().as_deref().unwrap_or_default()))
            .unwrap_or_else(|_| format!("{}: {message}", self.name));
        let line = match printable(&line) {
            Cow::Borrowed(_) => line,
            Cow::Owned(printable) => printable,
        };
        shortened(line, self.max_line_length)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata.target()) && severity(metadata) <= self.threshold
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = self.line(record.args());
        if let Some(syslog) = &self.syslog {
            syslog.send(severity(record.metadata()), &line);
        }
        if let Some(console) = &self.console {
            console.write(&line);
        }
    }

    fn flush(&self) {}
}

/// The least that is logged at a `log_level`.
fn threshold(level: &str) -> Severity {
    match level.to_uppercase().as_str() {
        "DEBUG" => Severity::Debug,
        "WARNING" | "WARN" | "NOTSET" => Severity::Warning,
        "ERROR" => Severity::Error,
        "CRITICAL" | "FATAL" => Severity::Critical,
        _ => Severity::Info,
    }
}

fn severity(metadata: &Metadata<'_>) -> Severity {
    match metadata.level() {
        Level::Error if metadata.target() == CRITICAL => Severity::Critical,
        Level::Error => Severity::Error,
        Level::Warn => Severity::Warning,
        Level::Info if metadata.target() == NOTICE => Severity::Notice,
        Level::Info => Severity::Info,
        Level::Debug | Level::Trace => Severity::Debug,
    }
}

/// Whether a record comes from this crate, whose records have their module as target.
fn is_ours(target: &str) -> bool {
    target.strip_prefix(env!("CARGO_CRATE_NAME")).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The line, without its middle if it has more characters than allowed (B12.3).
fn shortened(line: String, max_length: usize) -> String {
    // A line has at least as many bytes as characters, so most lines need not be counted.
    if max_length == 0 || line.len() <= max_length {
        return line;
    }
    let length = line.chars().count();
    if length <= max_length {
        return line;
    }
    let end_of = |characters: usize| line.char_indices().nth(characters).map_or(line.len(), |(at, _)| at);
    if max_length < CUT.len() + 2 {
        return line[..end_of(max_length)].to_owned();
    }
    let half = (max_length - CUT.len()) / 2;
    [&line[..end_of(half)], CUT, &line[end_of(length - half)..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(log_level: &str) -> LogSettings {
        LogSettings {
            name: "name".to_owned(),
            level: log_level.to_owned(),
            facility: String::new(),
            address: String::new(),
            udp_host: Some("127.0.0.1".to_owned()),
            udp_port: 9,
            max_line_length: 0,
        }
    }

    /// Whether a logger with this `log_level` takes a record.
    fn shows(log_level: &str, level: Level, target: &str) -> bool {
        let logger = Logger::new(&settings(log_level), false);
        level <= logger.max_level() && logger.enabled(&Metadata::builder().level(level).target(target).build())
    }

    #[test]
    fn notice_stands_between_info_and_warning() {
        for (log_level, shown) in [("DEBUG", true), ("INFO", true), ("NOTICE", true), ("WARNING", false)] {
            assert_eq!(shows(log_level, Level::Info, NOTICE), shown, "{log_level}");
        }
    }

    #[test]
    fn critical_stands_above_error() {
        assert!(shows("ERROR", Level::Error, module_path!()));
        assert!(!shows("CRITICAL", Level::Error, module_path!()));
        assert!(shows("CRITICAL", Level::Error, CRITICAL));
        assert!(!shows("CRITICAL", Level::Warn, module_path!()));
    }

    #[test]
    fn what_other_crates_log_is_left_out() {
        assert!(shows("DEBUG", Level::Debug, module_path!()));
        assert!(shows("DEBUG", Level::Debug, "swift_object_replicator"));
        for other in ["ureq::pool", "rayon", "", "swift_object_replicator_of_others", "swift"] {
            assert!(!shows("DEBUG", Level::Error, other), "{other:?}");
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_others_wrote_into_it() {
        let logger = Logger::new(&settings("INFO"), false);
        let line = |message: &str| logger.line(&format_args!("{message}"));
        assert_eq!(line("a\nname: forged\r\u{1b}[2J\0"), "name: a#012name: forged#015#033[2J#000");
        assert_eq!(line("Größe\u{2028}\u{202e}x"), "name: Größe#342#200#250#342#200#256x");
    }

    #[test]
    fn a_long_line_loses_its_middle_by_characters() {
        let line = "äbcdefghïjklmnöp";
        let cut = |max| shortened(line.to_owned(), max);
        assert_eq!((cut(0), cut(16), cut(99)), (line.to_owned(), line.to_owned(), line.to_owned()));
        assert_eq!((cut(15), cut(8), cut(7)), ("äbcde ... lmnöp".into(), "ä ... p".into(), "ä ... p".into()));
        assert_eq!((cut(6), cut(1)), ("äbcdef".into(), "ä".into()));
    }

    #[test]
    fn a_prefix_is_of_one_thread_until_another_takes_it_over() {
        set_thread_prefix("[worker 1/2 pid=7] ");
        let prefix = thread_prefix();
        std::thread::spawn(move || {
            assert_eq!(&*thread_prefix(), "");
            set_thread_prefix(prefix);
            assert_eq!(&*thread_prefix(), "[worker 1/2 pid=7] ");
        })
        .join()
        .unwrap();
    }
}
