//! Curves as SVG, with logarithmic axes: how a cost grows is then a slope. Pure.

use std::fmt::Write as _;

/// One curve.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// Points that a logarithm cannot show are left out.
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        let points = points.into_iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        Self {
            name: name.into(),
            points: points.collect(),
        }
    }
}

/// A picture of some curves.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// Of the file, without `.svg`.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
}

const SIZE: (f64, f64) = (720.0, 420.0);
/// Left, top, right, bottom.
const MARGIN: (f64, f64, f64, f64) = (80.0, 40.0, 180.0, 50.0);
/// Distinct to colour-blind eyes too (Okabe and Ito).
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// A logarithmic axis over whole decades.
struct Axis {
    from: i32,
    to: i32,
    start: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, start: f64, length: f64) -> Self {
        let least = values.clone().fold(f64::MAX, f64::min);
        let most = values.fold(f64::MIN_POSITIVE, f64::max);
        let (from, to) = if least <= most {
            (decade(least.log10().floor()), decade(most.log10().ceil()))
        } else {
            (0, 1)
        };
        Self {
            from,
            to: to.max(from + 1),
            start,
            length,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.start + share * self.length
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|exponent| 10_f64.powi(exponent))
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "decimal exponents of what is measured are small"
)]
fn decade(exponent: f64) -> i32 {
    exponent as i32
}

impl Plot {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let (left, top, right, bottom) = MARGIN;
        let (width, height) = (SIZE.0 - left - right, SIZE.1 - top - bottom);
        let points = self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::over(points.clone().map(|p| p.0), left, width);
        let y = Axis::over(points.map(|p| p.1), top + height, -height);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{left}\" y=\"22\" font-size=\"14\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            SIZE.0,
            SIZE.1,
            escaped(self.title),
            left + width / 2.0,
            SIZE.1 - 12.0,
            escaped(self.x),
            top + height / 2.0,
            escaped(self.y),
        );
        for value in x.decades() {
            let at = x.at(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {top} v{height}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                top + height + 18.0,
                short(value)
            );
        }
        for value in y.decades() {
            let at = y.at(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {at:.1} h{width}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                at + 4.0,
                short(value)
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let path: Vec<String> = line
                .points
                .iter()
                .map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for point in &path {
                let (px, py) = point.split_once(',').unwrap_or_default();
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{px}\" cy=\"{py}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let at = top + 14.0 + 18.0 * index as f64;
            let _ = writeln!(
                svg,
                "<path d=\"M{} {at} h20\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\">{}</text>",
                left + width + 12.0,
                left + width + 38.0,
                at + 4.0,
                escaped(&line.name)
            );
        }
        svg + "</svg>\n"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A power of ten as people write it.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_inside_and_every_line_has_a_name() {
        let plot = Plot {
            name: "a",
            title: "a < b",
            x: "x",
            y: "y",
            lines: vec![
                Line::new("first", vec![(1.0, 0.5), (100.0, 30_000.0), (0.0, 1.0)]),
                Line::new("second", vec![(10.0, 2.0)]),
            ],
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">second</text>"));
        let circles: Vec<(f64, f64)> = svg
            .lines()
            .filter(|l| l.starts_with("<circle"))
            .map(|l| {
                let of = |name: &str| {
                    let from = l.split_once(&format!("{name}=\"")).expect("it").1;
                    from.split('"')
                        .next()
                        .expect("a value")
                        .parse()
                        .expect("a number")
                };
                (of("cx"), of("cy"))
            })
            .collect();
        assert_eq!(circles.len(), 3, "{svg}");
        for (x, y) in circles {
            assert!(
                (80.0..=540.0).contains(&x) && (40.0..=370.0).contains(&y),
                "{x} {y}"
            );
        }
    }

    #[test]
    fn a_plot_of_nothing_is_a_picture() {
        let plot = Plot {
            name: "a",
            title: "",
            x: "",
            y: "",
            lines: Vec::new(),
        };
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}
