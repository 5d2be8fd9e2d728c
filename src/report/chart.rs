//! Lines and bars as inline SVG, coloured by the page's style sheet.

use std::fmt;

/// The picture's size, and the room for the axes in it: small enough that a phone shows it without making the
/// letters of its labels too small to read.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 28.0;
/// Intervals between ticks of time that people count in, in seconds.
const TIMES: [f64; 14] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0,
];
/// About as many ticks as a picture bears.
const TICKS: f64 = 6.0;
/// Width and height of a character of a label, where it is largest.
const LABEL: f64 = 8.0;
const LETTER: f64 = 13.0;

/// What stands along an axis.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub most: f64,
    pub time: bool,
    pub words: fn(f64) -> String,
}

/// A line, named in the legend.
#[derive(Clone)]
pub(super) struct Curve {
    pub class: &'static str,
    pub name: &'static str,
    /// Points in order of x.
    pub points: Vec<(f64, f64)>,
    /// Stays until the next point instead of going straight to it.
    pub stepped: bool,
}

/// Bars on top of each other; one height for each bin.
#[derive(Clone)]
pub(super) struct Bars {
    pub class: &'static str,
    pub name: &'static str,
    pub heights: Vec<f64>,
}

/// Something that happened at a place along the axis, with a text to hover over.
#[derive(Clone)]
pub(super) struct Mark {
    pub x: f64,
    pub class: &'static str,
    /// A few characters above the line.
    pub label: String,
    pub title: String,
}

/// A text to hover over, up to a place along the axis.
#[derive(Clone)]
pub(super) struct Spot {
    pub x: f64,
    pub title: String,
}

/// Lines over time or bars over a quantity.
#[derive(Clone)]
pub(super) struct Chart {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Curve>,
    pub bars: Vec<Bars>,
    /// A height worth knowing, and what it is called.
    pub rule: Option<(f64, &'static str)>,
    /// In order of x.
    pub marks: Vec<Mark>,
    /// In order of x.
    pub spots: Vec<Spot>,
}

impl Axis {
    fn step(self) -> f64 {
        let least = self.most / TICKS;
        if self.time {
            let day = 86_400.0;
            let whole_days = (least / day).ceil() * day;
            return TIMES
                .into_iter()
                .find(|&step| step >= least)
                .unwrap_or(whole_days);
        }
        let digit = 10_f64.powf(least.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .find(|factor| factor * digit >= least);
        factor.unwrap_or(10.0) * digit
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        let step = self.step();
        let count = (self.most / step + 1e-9).floor() as usize;
        (0..=count).map(move |i| i as f64 * step)
    }
}

impl Chart {
    fn across(&self, x: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (x / self.x.most).clamp(0.0, 1.0)
    }

    fn up(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (y / self.y.most).clamp(0.0, 1.0)
    }

    fn grid(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = (LEFT, WIDTH - RIGHT);
        for y in self.y.ticks() {
            let (at, text) = (self.up(y), html(&(self.y.words)(y)));
            writeln!(
                f,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 6.0,
                at + 4.0
            )?;
        }
        for x in self.x.ticks() {
            let (at, text) = (self.across(x), html(&(self.x.words)(x)));
            writeln!(
                f,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                HEIGHT - 8.0
            )?;
        }
        Ok(())
    }

    fn path(&self, line: &Curve) -> String {
        let mut path = String::new();
        for (i, &(x, y)) in line.points.iter().enumerate() {
            let (x, y) = (self.across(x), self.up(y));
            path += &match (i, line.stepped) {
                (0, _) => format!("M{x:.1} {y:.1}"),
                (_, true) => format!("H{x:.1}V{y:.1}"),
                (_, false) => format!("L{x:.1} {y:.1}"),
            };
        }
        path
    }

    fn columns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bins = self.bars.iter().map(|bars| bars.heights.len()).max();
        let bins = bins.unwrap_or_default();
        let width = (WIDTH - LEFT - RIGHT) / bins.max(1) as f64;
        for bin in 0..bins {
            let mut base = 0.0;
            for bars in &self.bars {
                let height = bars.heights.get(bin).copied().unwrap_or_default();
                if height > 0.0 {
                    let (top, bottom) = (self.up(base + height), self.up(base));
                    writeln!(
                        f,
                        "<rect class=\"{}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                        bars.class,
                        LEFT + bin as f64 * width + 0.5,
                        (width - 1.0).max(0.5),
                        bottom - top
                    )?;
                }
                base += height;
            }
        }
        Ok(())
    }

    /// Invisible columns, each from the spot before it.
    fn spots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = LEFT;
        for spot in &self.spots {
            let right = self.across(spot.x);
            writeln!(
                f,
                "<rect class=\"spot\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                right - left,
                HEIGHT - BOTTOM - TOP,
                html(&spot.title)
            )?;
            left = right;
        }
        Ok(())
    }

    /// Labels that would cover the one before are left out; the text is there to hover over.
    fn marks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut free = 0.0;
        for mark in &self.marks {
            let x = self.across(mark.x);
            write!(
                f,
                "<g class=\"mark {}\"><title>{}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\"/>",
                mark.class,
                html(&mark.title),
                HEIGHT - BOTTOM
            )?;
            if x >= free {
                write!(
                    f,
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    TOP - 4.0,
                    html(&mark.label)
                )?;
                free = x + LABEL * (mark.label.chars().count() + 1) as f64;
            }
            writeln!(f, "</g>")?;
        }
        Ok(())
    }

    fn legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.iter().map(|line| (line.class, line.name));
        let bars = self
            .bars
            .iter()
            .filter(|bars| bars.heights.iter().any(|&height| height > 0.0))
            .map(|bars| (bars.class, bars.name));
        for (class, name) in lines.chain(bars) {
            write!(f, "<span><i class=\"{class}\"></i>{}</span> ", html(name))?;
        }
        Ok(())
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = html(self.title);
        writeln!(f, "<figure><figcaption><b>{title}</b> ")?;
        self.legend(f)?;
        writeln!(
            f,
            "</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
        )?;
        self.grid(f)?;
        if let Some((height, name)) = self.rule {
            let at = self.up(height);
            // Below the line where the labels of marks stand above it, and beside the mark of the end.
            let above = at - TOP > LETTER + 4.0;
            let baseline = if above { at - 4.0 } else { at + LETTER };
            writeln!(
                f,
                "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 6.0,
                baseline,
                html(name)
            )?;
        }
        self.columns(f)?;
        for line in &self.lines {
            match line.points[..] {
                // A line of one point could not be seen.
                [(x, y)] => writeln!(
                    f,
                    "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                    line.class,
                    self.across(x),
                    self.up(y)
                )?,
                _ => writeln!(
                    f,
                    "<path class=\"{}\" d=\"{}\"/>",
                    line.class,
                    self.path(line)
                )?,
            }
        }
        self.spots(f)?;
        self.marks(f)?;
        writeln!(f, "</svg></figure>")
    }
}

/// Text that a browser shows as it is.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let words: fn(f64) -> String = |number| number.to_string();
        for (most, time, expected) in [
            (1.0, false, vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (7.0, false, vec![0.0, 2.0, 4.0, 6.0]),
            (430.0, true, vec![0.0, 120.0, 240.0, 360.0]),
            (100.0, true, vec![0.0, 30.0, 60.0, 90.0]),
        ] {
            let ticks: Vec<f64> = Axis { most, time, words }
                .ticks()
                .map(|tick| (tick * 1e6).round() / 1e6)
                .collect();
            assert_eq!(ticks, expected);
        }
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(html("<0.1% & \"x\""), "&lt;0.1% &amp; &quot;x&quot;");
    }
}
