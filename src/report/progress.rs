//! A bar for each device, for whoever waits at a terminal for a single pass.
//!
//! What a bar says is made here, to fit the terminal's width; indicatif draws the bars and redraws them in place. Rate and
//! time left come from the last half minute: partitions differ so much that the mean of the whole pass misleads, and
//! so does that of a moment.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;

use super::pass_report::coverage;
use super::status::Progress;
use super::units::{bytes, duration};
use crate::locks::lock;
use crate::printable::printable;

/// What the rate is the mean of, in seconds.
const WINDOW: f64 = 30.0;
/// Narrower terminals get no bar, only figures.
const NARROW: usize = 60;
/// The most columns of a device's name.
const NAME: usize = 12;
/// The most columns of the figures beside a bar.
const FIGURES: usize = 48;
/// The most drawings in a second. Without a limit a bar would be drawn anew with each of its counts.
const DRAWINGS: u8 = 8;
/// The size of a terminal that does not say how large it is.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Bars on a terminal.
pub(crate) struct Bars {
    bars: MultiProgress,
    devices: BTreeMap<String, Bar>,
    width: Box<dyn Fn() -> usize + Send>,
}

struct Bar {
    bar: ProgressBar,
    window: Window,
    sent: Window,
}

impl Bar {
    fn new(bar: ProgressBar) -> Self {
        Self { bar, window: Window::default(), sent: Window::default() }
    }
}

impl Bars {
    /// Bars on this terminal; `width` tells how many columns it has at the moment.
    pub(crate) fn new(terminal: impl TermLike + 'static, width: impl Fn() -> usize + Send + 'static) -> Self {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal), DRAWINGS);
        let bars = MultiProgress::with_draw_target(target);
        Self { bars, devices: BTreeMap::new(), width: Box::new(width) }
    }

    /// Shows how far the devices are, so many seconds after the first time.
    pub(crate) fn show(&mut self, now: f64, devices: &[Progress]) {
        let width = (self.width)();
        for device in devices {
            let bars = &self.bars;
            let Bar { bar, window, sent } =
                self.devices.entry(device.device.clone()).or_insert_with(|| Bar::new(bars.add(ProgressBar::new(0))));
            window.note(now, device.done());
            sent.note(now, device.bytes);
            bar.set_style(style(width));
            // A bar of nothing would be full from the beginning.
            bar.set_length(device.found.max(1));
            bar.set_position(if device.is_listed && device.found == 0 { 1 } else { device.done() });
            bar.set_prefix(name(&device.device, width));
            let (columns, figures) = (room(width), figures(device, window, sent, room(width)));
            bar.set_message(if width < NARROW { figures } else { format!("{figures:<columns$}") });
            bar.tick();
        }
    }

    /// Leaves the bars as they are; the cursor stands at the end of the last.
    pub(crate) fn end(self) {
        self.devices.values().for_each(|device| device.bar.abandon());
    }
}

/// A line without its name and bar. An ill-formed template would be a mistake in here; then there is a plain bar.
fn style(width: usize) -> ProgressStyle {
    let template = if width < NARROW { "{prefix} {msg}" } else { "{prefix} [{wide_bar}] {msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// The columns of the figures.
fn room(width: usize) -> usize {
    // The last column is left free: some terminals begin a new line with it.
    let left = width.saturating_sub(name_columns(width) + 2);
    if width < NARROW { left } else { left.saturating_sub(12).min(FIGURES) }
}

fn name_columns(width: usize) -> usize {
    NAME.min(width / 4)
}

/// The device's name, as wide as every other.
fn name(device: &str, width: usize) -> String {
    let columns = name_columns(width);
    let shown: String = printable(device).chars().take(columns).collect();
    format!("{shown:<columns$}")
}

/// As many figures as there is room for, the important ones first.
fn figures(device: &Progress, window: &Window, sent: &Window, room: usize) -> String {
    let left = device.found.saturating_sub(device.done());
    let percent = format!("{:.0}%", (coverage(device.done(), device.found) * 100.0).floor());
    let mut pieces = match device {
        Progress { set_aside: true, .. } => vec![(0, percent), (5, "hangs".to_owned())],
        Progress { is_listed: false, .. } => vec![(0, "listing".to_owned())],
        _ => vec![(0, percent)],
    };
    if device.failures > 0 {
        pieces.push((6, format!("{} failed", device.failures)));
    }
    if left > 0
        && let Some(rate) = window.rate()
    {
        pieces.push((4, format!("{} left", duration(left as f64 / rate))));
        pieces.push((2, format!("{rate:.1}/s")));
    }
    if left > 0
        && let Some(rate) = sent.rate()
    {
        pieces.push((3, format!("{}/s", bytes(rate as u64))));
    }
    pieces.push((1, format!("{}/{}", device.attempted, device.found)));
    let mut columns = 0;
    pieces.retain(|(_, piece)| {
        let wanted = piece.len() + if columns > 0 { 2 } else { 0 };
        let fits = columns + wanted <= room;
        columns += if fits { wanted } else { 0 };
        fits
    });
    pieces.sort_by_key(|(place, _)| *place);
    pieces.into_iter().map(|(_, piece)| piece).collect::<Vec<_>>().join("  ")
}

/// How many there were in the last seconds.
#[derive(Debug, Default)]
struct Window {
    /// Time and count, oldest first.
    samples: VecDeque<(f64, u64)>,
}

impl Window {
    fn note(&mut self, now: f64, count: u64) {
        self.samples.push_back((now, count));
        // The one that begins the window stays.
        while self.samples.get(1).is_some_and(|(time, _)| now - time >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// How many in a second, if any.
    fn rate(&self) -> Option<f64> {
        let ((begin, first), (end, last)) = (self.samples.front()?, self.samples.back()?);
        let rate = last.saturating_sub(*first) as f64 / (end - begin);
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

/// A terminal by its descriptor, whatever becomes of the process's own streams.
#[derive(Debug)]
pub(crate) struct Screen {
    file: File,
    /// What is written all at once.
    pending: Mutex<Vec<u8>>,
}

impl Screen {
    /// The terminal that this is open on.
    pub(crate) fn new(file: File) -> Self {
        Self { file, pending: Mutex::default() }
    }

    fn append(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        lock(&self.pending).write_fmt(text)
    }
}

/// Columns and lines of a terminal at the moment.
pub(crate) fn size(terminal: &File) -> (u16, u16) {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL_SIZE,
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size(&self.file).0
    }

    fn height(&self) -> u16 {
        size(&self.file).1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.append(format_args!("\x1b[{n}A")) } else { Ok(()) }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.append(format_args!("\x1b[{n}B")) } else { Ok(()) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.append(format_args!("\x1b[{n}C")) } else { Ok(()) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.append(format_args!("\x1b[{n}D")) } else { Ok(()) }
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.append(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.append(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.append(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let pending = std::mem::take(&mut *lock(&self.pending));
        (&self.file).write_all(&pending)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn device(found: u64, attempted: u64, failures: u64) -> Progress {
        Progress { device: "sda".into(), found, attempted, failures, is_listed: true, ..Progress::default() }
    }

    fn window(samples: &[(f64, u64)]) -> Window {
        let mut window = Window::default();
        samples.iter().for_each(|&(time, count)| window.note(time, count));
        window
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        assert_eq!(window(&[]).rate(), None);
        assert_eq!(window(&[(0.0, 5)]).rate(), None);
        assert_eq!(window(&[(0.0, 0), (10.0, 0)]).rate(), None);
        assert_eq!(window(&[(0.0, 0), (10.0, 20)]).rate(), Some(2.0));
        // An hour at ten a second, then half a minute at one.
        let mut samples: Vec<_> = (0..3600).map(|second| (f64::from(second), 10 * second as u64)).collect();
        samples.extend((0..=30).map(|second| (f64::from(3600 + second), 36_000 + second as u64)));
        assert_eq!(window(&samples).rate(), Some(1.0));
    }

    #[test]
    fn a_device_whose_name_would_move_the_cursor_is_shown_without() {
        assert_eq!(name("a\u{1b}[2J\u{9b}", 100), "a#033[2J#302");
    }

    #[test]
    fn what_does_not_fit_is_left_out_the_unimportant_first() {
        let window = window(&[(0.0, 0), (10.0, 1200)]);
        let device = device(5000, 1200, 3);
        let none = Window::default();
        let shown = |room| figures(&device, &window, &none, room);
        assert_eq!(shown(80), "24%  1200/5000  120.0/s  31s left  3 failed");
        assert_eq!(shown(34), "24%  120.0/s  31s left  3 failed");
        assert_eq!(shown(24), "24%  31s left  3 failed");
        assert_eq!(shown(13), "24%  3 failed");
        assert_eq!((shown(3), shown(0)), ("24%".to_owned(), String::new()));
    }

    #[test]
    fn a_device_that_is_not_done_is_never_at_100_percent() {
        let shown = |device: Progress| figures(&device, &Window::default(), &Window::default(), 80);
        assert_eq!(shown(device(1000, 999, 0)), "99%  999/1000");
        assert_eq!(shown(Progress { ahead: 500, ..device(1000, 500, 0) }), "99%  500/1000");
        assert_eq!(shown(device(1000, 1000, 0)), "100%  1000/1000");
        assert_eq!(shown(Progress { is_listed: false, ..device(0, 0, 0) }), "listing  0/0");
        assert_eq!(shown(Progress { set_aside: true, ..device(10, 3, 1) }), "30%  3/10  hangs  1 failed");
    }

    #[test]
    fn a_long_push_moves_its_bar_and_its_rates_before_a_partition_is_done() {
        let device = Progress { ahead: 30, ..device(100, 10, 0) };
        let (done, sent) = (window(&[(0.0, 10), (10.0, 40)]), window(&[(0.0, 0), (10.0, 30 << 20)]));
        assert_eq!(figures(&device, &done, &sent, 80), "40%  10/100  3.0/s  3.0 MiB/s  20s left");
        assert_eq!(figures(&device, &Window::default(), &sent, 80), "40%  10/100  3.0 MiB/s");
    }

    /// A terminal as far as it is used here: what is written beyond the last column goes to the next line.
    #[derive(Clone, Debug)]
    struct Paper {
        width: usize,
        page: Arc<Mutex<Page>>,
    }

    #[derive(Debug, Default)]
    struct Page {
        lines: Vec<Vec<char>>,
        line: usize,
        column: usize,
    }

    impl Paper {
        fn put(&self, c: char) {
            let mut page = self.page.lock().unwrap();
            if c == '\n' || (page.column == self.width && c != '\r') {
                (page.line, page.column) = (page.line + 1, 0);
            }
            if c == '\r' {
                page.column = 0;
            }
            if c.is_control() {
                return;
            }
            let Page { line, column, .. } = *page;
            let lines = page.lines.len().max(line + 1);
            page.lines.resize(lines, vec![' '; self.width]);
            page.lines[line][column] = c;
            page.column += 1;
        }

        fn text(&self) -> Vec<String> {
            let page = self.page.lock().unwrap();
            page.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            self.width as u16
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            self.page.lock().unwrap().line -= n;
            Ok(())
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.page.lock().unwrap().line += n;
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            text.chars().for_each(|c| self.put(c));
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            let mut page = self.page.lock().unwrap();
            let line = page.line;
            if let Some(line) = page.lines.get_mut(line) {
                line.fill(' ');
            }
            page.column = 0;
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a terminal of this width shows of two devices in the end, after ten seconds.
    fn shown(width: usize) -> Vec<String> {
        let paper = Paper { width, page: Arc::default() };
        let mut bars = Bars::new(paper.clone(), move || width);
        for second in 0..=10_u64 {
            let other = Progress { device: "a-very-long-name-of-a-device".into(), ..device(200_000, second * 17, 12) };
            bars.show(second as f64, &[device(100, second * 10, 0), other]);
        }
        bars.end();
        paper.text()
    }

    #[test]
    fn every_bar_has_a_line_on_a_terminal_of_any_width() {
        let expected = [
            (20, ["sda   100%  100/100", "a-ver 0%  12 failed"]),
            (40, ["sda        100%  100/100", "a-very-lon 0%  3h 15m left  12 failed"]),
        ];
        for (width, lines) in expected {
            assert_eq!(shown(width), lines, "{width}");
        }
        for width in [80, 200] {
            let lines = shown(width);
            assert_eq!(lines.len(), 2, "{lines:#?}");
            assert!(lines[0].starts_with("sda          [=====") && lines[0].contains("=] 100%  100/100"), "{lines:#?}");
            assert!(lines[1].starts_with("a-very-long- [>    ") && lines[1].contains("] 0%  170/200000"), "{lines:#?}");
            assert!(lines[1].ends_with("12 failed"), "{lines:#?}");
        }
    }
}
