//! Line charts, as SVG and as PNG with the same content.

mod axis;
mod sketch;

use axis::Ticks;
pub use axis::{Axis, Spacing};
use sketch::{Anchor, Marker, Sketch};

use super::canvas::Colour;
use ttsvar_search::Image;

/// A chart of lines.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// Along the bottom.
    pub x: Axis,
    /// Up the side.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, left to right; points that are not finite are skipped.
    pub points: Vec<Point>,
}

/// A point of a line.
#[derive(Clone, Debug)]
pub struct Point {
    /// Along the bottom.
    pub x: f64,
    /// Up the side.
    pub y: f64,
    /// Confidence interval: low, high.
    pub interval: Option<(f64, f64)>,
    /// A short text beside the point.
    pub label: Option<String>,
}

const SIZE: (f32, f32) = (760.0, 460.0);
/// Left, top, right, bottom of the plotting area; the names of the lines are to the right of it.
const AREA: [f32; 4] = [70.0, 56.0, 590.0, 400.0];
const WHITE: Colour = [255; 3];
const INK: Colour = [34, 34, 40];
const QUIET: Colour = [96, 96, 108];
const GRID: Colour = [228, 228, 234];

/// Okabe and Ito's colours, which are distinct for colour-blind readers, without yellow, which is
/// too light for lines.
const COLOURS: [Colour; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [230, 159, 0],
    [60, 60, 60],
];

/// Horizontal offset in pixels between lines with intervals: whiskers should not hide each other.
const APART: f32 = 3.0;

impl Chart {
    /// The chart as an SVG document.
    pub fn to_svg(&self) -> String {
        self.sketch().to_svg(&self.title, &self.described())
    }

    /// The chart as an image, in double size for high-resolution screens.
    pub fn to_image(&self) -> Image {
        self.sketch().to_image(2)
    }

    /// A description for screen readers.
    fn described(&self) -> String {
        let names: Vec<&str> = self.lines.iter().map(|line| line.name.as_str()).collect();
        format!(
            "{} over {}: {}",
            self.y.label,
            self.x.label,
            names.join(", ")
        )
    }

    fn sketch(&self) -> Sketch {
        let valid = |point: &&Point| self.x.takes(point.x) && self.y.takes(point.y);
        let points: Vec<&Point> = self
            .lines
            .iter()
            .flat_map(|line| &line.points)
            .filter(valid)
            .collect();
        let ends = |point: &&Point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [low, point.y, high]
        };
        let x = Ticks::new(
            &self.x,
            points.iter().map(|point| point.x),
            (AREA[0], AREA[2]),
        );
        let y = Ticks::new(&self.y, points.iter().flat_map(ends), (AREA[3], AREA[1]));
        let mut sketch = Sketch::new(SIZE, WHITE);
        self.frame(&mut sketch, &x, &y);
        let mut names = vec![];
        for (i, line) in self.lines.iter().enumerate() {
            // On an axis of measured numbers a point stands where it was measured.
            let may_move = self.x.spacing == Spacing::Doubling;
            let intervals = line.points.iter().any(|point| point.interval.is_some());
            let shift = if may_move && intervals {
                (i as f32 - (self.lines.len() - 1) as f32 / 2.0) * APART
            } else {
                0.0
            };
            let points: Vec<&Point> = line.points.iter().filter(valid).collect();
            let place = |point: &&Point| (x.place(point.x) + shift, y.place(point.y));
            draw_line(&mut sketch, i, &points, |point| place(point), &y);
            names.extend(points.last().map(|last| (place(last).1, i)));
        }
        self.names(&mut sketch, names);
        sketch
    }

    fn frame(&self, sketch: &mut Sketch, x: &Ticks, y: &Ticks) {
        let [left, top, right, bottom] = AREA;
        sketch.text((left - 44.0, 30.0), Anchor::Start, 19.0, INK, &self.title);
        for (place, label) in &y.marks {
            sketch.line((left, *place), (right, *place), 1.0, GRID);
            sketch.text((left - 8.0, place + 4.5), Anchor::End, 13.0, QUIET, label);
        }
        for (place, label) in &x.marks {
            sketch.line((*place, top), (*place, bottom), 1.0, GRID);
            sketch.text((*place, bottom + 20.0), Anchor::Middle, 13.0, QUIET, label);
        }
        sketch.line((left, bottom), (right, bottom), 1.2, QUIET);
        sketch.text(
            ((left + right) / 2.0, bottom + 44.0),
            Anchor::Middle,
            14.0,
            INK,
            &self.x.label,
        );
        sketch.text(
            (left - 44.0, top - 8.0),
            Anchor::Start,
            13.0,
            QUIET,
            &self.y.label,
        );
    }

    /// The name of each line beside its end, moved to avoid overlaps.
    fn names(&self, sketch: &mut Sketch, mut ends: Vec<(f32, usize)>) {
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (place, i) in spread(&ends, 19.0, (AREA[1] + 4.0, AREA[3] - 4.0)) {
            let at = (AREA[2] + 22.0, place);
            sketch.marker(marker(i), at, 4.5, colour(i));
            sketch.text(
                (at.0 + 11.0, place + 4.5),
                Anchor::Start,
                14.0,
                INK,
                &self.lines[i].name,
            );
        }
    }
}

fn draw_line<'a>(
    sketch: &mut Sketch,
    i: usize,
    points: &[&'a Point],
    place: impl Fn(&&'a Point) -> (f32, f32),
    y: &Ticks,
) {
    for pair in points.windows(2) {
        sketch.line(place(&pair[0]), place(&pair[1]), 2.2, colour(i));
    }
    for point in points {
        let at = place(point);
        if let Some((low, high)) = point
            .interval
            .filter(|(low, high)| low.is_finite() && high.is_finite())
        {
            sketch.line((at.0, y.place(low)), (at.0, y.place(high)), 1.1, colour(i));
        }
        sketch.marker(marker(i), at, 4.5, colour(i));
        if let Some(label) = &point.label {
            let beside = (at.0 + 7.0, at.1 - 6.0);
            sketch.text(beside, Anchor::Start, 11.0, colour(i), label);
        }
    }
}

fn colour(i: usize) -> Colour {
    COLOURS[i % COLOURS.len()]
}

fn marker(i: usize) -> Marker {
    [Marker::Disc, Marker::Square, Marker::Diamond, Marker::Ring][i % 4]
}

/// Spreads sorted positions at least `gap` apart, within the limits if there is room, and close to
/// the original ones.
fn spread(ends: &[(f32, usize)], gap: f32, (top, bottom): (f32, f32)) -> Vec<(f32, usize)> {
    let mut placed: Vec<(f32, usize)> = vec![];
    for &(wanted, i) in ends {
        let free = placed.last().map_or(top, |last| last.0 + gap);
        placed.push((wanted.max(free), i));
    }
    let mut limit = bottom;
    for (place, _) in placed.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> Chart {
        let axis = |spacing| Axis {
            label: "a < b".to_owned(),
            spacing,
        };
        let line = |name: &str| Line {
            name: name.to_owned(),
            points: points.clone(),
        };
        Chart {
            title: "T & t".to_owned(),
            x: axis(Spacing::Doubling),
            y: axis(Spacing::Even),
            lines: vec![line("one"), line("two"), line("three")],
        }
    }

    #[test]
    fn odd_points_harm_nothing() {
        let point = |x, y| Point {
            x,
            y,
            interval: Some((y - 0.1, y + 0.1)),
            label: None,
        };
        let sets = [
            vec![],
            vec![point(1.0, 0.5)],
            vec![point(0.0, 0.5), point(-1.0, f64::NAN), point(2.0, 0.5)],
            vec![
                point(1e-9, 1e12),
                point(1e9, -1e12),
                point(f64::INFINITY, 1.0),
            ],
        ];
        for points in sets {
            let chart = chart(points);
            let svg = chart.to_svg();
            assert!(
                svg.contains("T &amp; t")
                    && svg.contains("a &lt; b")
                    && !svg.contains("NaN")
                    && !svg.contains("inf")
            );
            assert_eq!(
                (chart.to_image().width(), chart.to_image().height()),
                (1520, 920)
            );
        }
    }

    #[test]
    fn points_of_equal_cost_stand_above_each_other() {
        let point = |y| Point {
            x: 20.0,
            y,
            interval: Some((y - 0.1, y + 0.1)),
            label: Some("N = 4".to_owned()),
        };
        let mut chart = chart(vec![point(0.25)]);
        chart.x.spacing = Spacing::Ratio;
        chart.lines[1].points[0].y = 0.5;
        let svg = chart.to_svg();
        let vertical: Vec<&str> = svg
            .lines()
            .filter(|line| line.contains("stroke-width=\"1.1\""))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert!(
            vertical.len() == 3 && vertical.iter().all(|x| *x == vertical[0]),
            "{vertical:?}"
        );
        assert_eq!(svg.matches(">N = 4<").count(), 3);
    }

    #[test]
    fn names_never_overlap() {
        let ends: Vec<(f32, usize)> = [100.0, 101.0, 102.0, 390.0, 399.0]
            .into_iter()
            .zip(0..)
            .collect();
        let placed = spread(&ends, 19.0, (60.0, 396.0));
        assert!(placed.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 18.99));
        assert!(
            placed
                .iter()
                .all(|(place, _)| (60.0..=396.0).contains(place))
        );
    }
}
