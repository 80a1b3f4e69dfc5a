//! The table and the plot, from the figures of all rows.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::launch::Cost;
use crate::{plot, scale};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Figure {
    /// User and system time.
    Cpu,
    /// Time from start to exit.
    Wall,
    /// The most that was resident.
    Memory,
}

/// What a figure should not exceed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    None,
    /// The reference's figure divided by this.
    Share(f64),
    /// In all.
    Seconds(f64),
    Bytes(f64),
    /// This times what something else took, in seconds.
    Times(f64, String, f64),
    /// Nothing, but so many seconds are what something else took.
    Beside(String, f64),
}

/// One kind of work, done several times by both.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    /// Times are given for each of so many parts of the work, partitions; 1 is the whole.
    pub parts: u32,
    pub reference: Vec<Cost>,
    pub ours: Vec<Cost>,
    bounds: Vec<(Figure, Bound)>,
}

impl Case {
    /// The costs of the reference's runs, and of ours.
    pub fn new(name: &str, (reference, ours): (Vec<Cost>, Vec<Cost>)) -> Self {
        Self { name: name.to_owned(), parts: 1, reference, ours, bounds: Vec::new() }
    }

    /// Done for so many partitions.
    pub fn per(mut self, partitions: u32) -> Self {
        self.parts = partitions;
        self
    }

    /// Shows a figure, with its bound.
    pub fn bound(mut self, figure: Figure, bound: Bound) -> Self {
        self.bounds.push((figure, bound));
        self
    }

    /// The median of a figure of the reference.
    pub fn reference_median(&self, figure: Figure) -> f64 {
        figure.median(&self.reference)
    }

    /// The median of a figure of ours.
    pub fn ours_median(&self, figure: Figure) -> f64 {
        figure.median(&self.ours)
    }

    fn lines(&self) -> Vec<[String; 6]> {
        self.bounds.iter().map(|(figure, bound)| self.line(*figure, bound)).collect()
    }

    fn line(&self, figure: Figure, bound: &Bound) -> [String; 6] {
        let (reference, ours) = (figure.median(&self.reference), figure.median(&self.ours));
        let limit = match bound {
            Bound::None | Bound::Beside(..) => f64::INFINITY,
            Bound::Share(share) => reference / share,
            Bound::Seconds(limit) | Bound::Bytes(limit) => *limit,
            Bound::Times(factor, _, seconds) => factor * seconds,
        };
        let parts = if figure == Figure::Memory { 1.0 } else { f64::from(self.parts) };
        let show = |value: f64| figure.show(value / parts);
        let target = match bound {
            Bound::None => String::new(),
            Bound::Share(share) => format!("1/{share}"),
            Bound::Times(factor, what, seconds) => format!("{factor} x {what}, {}", show(*seconds)),
            Bound::Beside(what, seconds) => format!("{what} {}", show(*seconds)),
            Bound::Seconds(_) | Bound::Bytes(_) => figure.show(limit),
        };
        let met = if bound == &Bound::None {
            ""
        } else if ours <= limit {
            ", met"
        } else {
            ", missed"
        };
        let each = if parts > 1.0 { " per partition" } else { "" };
        [
            self.name.clone(),
            format!("{}{each}", figure.name()),
            show(reference),
            show(ours),
            format!("1/{:.1}", reference / ours),
            format!("{target}{met}"),
        ]
    }
}

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Wall => "time",
            Self::Memory => "memory",
        }
    }

    fn of(self, cost: &Cost) -> f64 {
        match self {
            Self::Cpu => cost.cpu,
            Self::Wall => cost.wall,
            Self::Memory => cost.memory,
        }
    }

    fn median(self, costs: &[Cost]) -> f64 {
        median(&mut costs.iter().map(|cost| self.of(cost)).collect::<Vec<_>>())
    }

    /// A value of this kind with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Memory => format!("{:.1} MB", value / 1e6),
            _ if value >= 1.0 => format!("{value:.2} s"),
            _ if value >= 1e-3 => format!("{:.2} ms", value * 1e3),
            _ => format!("{:.0} \u{b5}s", value * 1e6),
        }
    }
}

/// The middle one; not a number if there is none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn folder() -> PathBuf {
    crate::support::oracle::project().join("target/bench")
}

/// Keeps the figures of a row.
pub fn save(row: &str, cases: &[Case]) {
    fs::create_dir_all(folder()).expect("target/ is writable");
    let text = serde_json::to_string_pretty(cases).expect("plain values");
    fs::write(folder().join(format!("{row}.json")), text).expect("target/ is writable");
}

fn load(row: &str) -> Vec<Case> {
    let text = fs::read_to_string(folder().join(format!("{row}.json"))).unwrap_or_else(|_| "[]".to_owned());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("target/bench/{row}.json is of another version: {e}"))
}

/// Prints the table of these rows, as far as they have been measured, and draws the plot.
pub fn show(rows: &[&str]) {
    let lines: Vec<_> = rows.iter().flat_map(|row| load(row)).flat_map(|case| case.lines()).collect();
    let table = table(&lines);
    fs::write(folder().join("table.md"), &table).expect("target/ is writable");
    println!("{table}");
    let scale = load(scale::ROW);
    if !scale.is_empty() {
        let plot = plot::cost_by_partitions(&scale);
        fs::write(folder().join("cost.svg"), plot).expect("target/ is writable");
    }
}

fn table(lines: &[[String; 6]]) -> String {
    let head = ["work", "", "Swift's", "ours", "ratio", "target"].map(str::to_owned);
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let width = |line: &[String; 6]| line[column].chars().count();
        lines.iter().chain([&head]).map(width).max().unwrap_or_default()
    });
    let mut text = String::new();
    let mut write = |line: &[String; 6]| {
        line.iter().zip(widths).for_each(|(cell, width)| write!(text, "| {cell:<width$} ").expect("a String takes it"));
        text.push_str("|\n");
    };
    write(&head);
    write(&widths.map(|width| "-".repeat(width)));
    lines.iter().for_each(write);
    text
}
