//! The plot: what a partition costs, against how many there are.

use std::fmt::Write as _;

use crate::report::{Case, Figure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// One line of the plot: a name, a colour, and points of partitions and seconds.
struct Series {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// A logarithmic axis over whole powers of ten, from one place of the picture to another.
struct Axis {
    low: i32,
    high: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (value.min(low), value.max(high)));
        Self { low: low.log10().floor() as i32, high: high.log10().ceil() as i32, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low).max(1.0);
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, f64)> {
        (self.low..=self.high).map(|power| 10_f64.powi(power)).map(|value| (value, self.place(value)))
    }
}

/// The plot as SVG. The cases are of more and more partitions.
pub fn cost_by_partitions(cases: &[Case]) -> String {
    let points = |seconds: fn(&Case) -> f64| {
        let point = |case: &Case| (f64::from(case.parts), seconds(case) / f64::from(case.parts));
        cases.iter().map(point).collect()
    };
    let series = [
        Series { name: "Swift's", colour: "#c44e52", points: points(|case| case.reference_median(Figure::Cpu)) },
        Series { name: "ours", colour: "#4c72b0", points: points(|case| case.ours_median(Figure::Cpu)) },
    ];
    let all = || series.iter().flat_map(|series| &series.points);
    let across = Axis::over(all().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let up = Axis::over(all().map(|point| point.1), HEIGHT - BOTTOM, TOP);

    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="{LEFT}" y="24" font-size="15">A pass over partitions that are in sync: CPU time of each</text>
"#
    );
    for (value, x) in across.ticks() {
        line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM));
        text(&mut svg, (x, HEIGHT - BOTTOM + 20.0), "middle", &format!("{value}"));
    }
    for (value, y) in up.ticks() {
        line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
        text(&mut svg, (LEFT - 8.0, y + 4.0), "end", &Figure::Cpu.show(value));
    }
    text(&mut svg, ((LEFT + WIDTH) / 2.0, HEIGHT - 15.0), "middle", "partitions on the device");
    series.iter().for_each(|series| draw(&mut svg, series, &across, &up));
    svg + "</svg>\n"
}

fn draw(svg: &mut String, series: &Series, across: &Axis, up: &Axis) {
    let Series { name, colour, points } = series;
    let places: Vec<_> = points.iter().map(|(x, y)| (across.place(*x), up.place(*y))).collect();
    let path: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = path.join(" ");
    let _ = writeln!(svg, r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
    for ((x, y), (_, seconds)) in places.iter().zip(points) {
        let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#);
        text(svg, (x - 6.0, y - 10.0), "middle", &Figure::Cpu.show(*seconds));
    }
    if let Some((x, y)) = places.first() {
        text(svg, (x + 12.0, y + 20.0), "start", name);
    }
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(svg, r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#ddd"/>"##);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}
