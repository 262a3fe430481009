//! A drawing as a list of strokes, which can be written as SVG or drawn as pixels.

use std::fmt::Write;

use ttsvar_search::Image;

use super::super::{
    canvas::{Canvas, Colour, Point, Rect},
    text::{self, Face},
};
use crate::quoting::escaped;

/// The alignment of a text at its point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The shape of a point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Disc,
    Square,
    Diamond,
    Ring,
}

enum Stroke {
    Line {
        from: Point,
        to: Point,
        thickness: f32,
        colour: Colour,
    },
    Text {
        at: Point,
        anchor: Anchor,
        size: f32,
        colour: Colour,
        words: String,
    },
    Marker {
        marker: Marker,
        at: Point,
        radius: f32,
        colour: Colour,
    },
}

/// The drawing.
pub(super) struct Sketch {
    size: Point,
    background: Colour,
    strokes: Vec<Stroke>,
}

impl Sketch {
    pub(super) fn new(size: Point, background: Colour) -> Self {
        Self {
            size,
            background,
            strokes: vec![],
        }
    }

    pub(super) fn line(&mut self, from: Point, to: Point, thickness: f32, colour: Colour) {
        self.strokes.push(Stroke::Line {
            from,
            to,
            thickness,
            colour,
        });
    }

    pub(super) fn text(
        &mut self,
        at: Point,
        anchor: Anchor,
        size: f32,
        colour: Colour,
        words: &str,
    ) {
        self.strokes.push(Stroke::Text {
            at,
            anchor,
            size,
            colour,
            words: words.to_owned(),
        });
    }

    pub(super) fn marker(&mut self, marker: Marker, at: Point, radius: f32, colour: Colour) {
        self.strokes.push(Stroke::Marker {
            marker,
            at,
            radius,
            colour,
        });
    }

    pub(super) fn to_svg(&self, title: &str, description: &str) -> String {
        let (width, height) = self.size;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" font-family=\"Ubuntu, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
             <title>{}</title>\n<desc>{}</desc>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{}\"/>\n",
            escaped(title),
            escaped(description),
            hex(self.background)
        );
        for stroke in &self.strokes {
            stroke
                .write(&mut svg, self.background)
                .expect("writing to a string cannot fail");
        }
        svg + "</svg>\n"
    }

    /// Draws the sketch, scaled by `times`.
    pub(super) fn to_image(&self, times: usize) -> Image {
        let width = self.size.0 as usize * times;
        let height = self.size.1 as usize * times;
        let mut canvas = Canvas::new(width, height, self.background);
        for stroke in &self.strokes {
            stroke.draw(&mut canvas, times as f32, self.background);
        }
        canvas.into_image()
    }
}

impl Stroke {
    fn write(&self, svg: &mut String, background: Colour) -> std::fmt::Result {
        match self {
            Self::Line {
                from,
                to,
                thickness,
                colour,
            } => writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{}\" stroke-width=\"{thickness}\" \
                 stroke-linecap=\"round\"/>",
                from.0,
                from.1,
                to.0,
                to.1,
                hex(*colour)
            ),
            Self::Text {
                at,
                anchor,
                size,
                colour,
                words,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
                    at.0,
                    at.1,
                    hex(*colour),
                    escaped(words)
                )
            }
            Self::Marker {
                marker,
                at: (x, y),
                radius,
                colour,
            } => {
                let colour = hex(*colour);
                let side = 2.0 * radius * 0.9;
                match marker {
                    Marker::Disc => {
                        writeln!(
                            svg,
                            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>"
                        )
                    }
                    Marker::Ring => writeln!(
                        svg,
                        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"{}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                        radius - 0.5,
                        hex(background)
                    ),
                    Marker::Square | Marker::Diamond => {
                        let turn = if *marker == Marker::Diamond { 45 } else { 0 };
                        let left = x - side / 2.0;
                        let top = y - side / 2.0;
                        writeln!(
                            svg,
                            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" \
                             fill=\"{colour}\" transform=\"rotate({turn} {x:.1} {y:.1})\"/>"
                        )
                    }
                }
            }
        }
    }

    fn draw(&self, canvas: &mut Canvas, times: f32, background: Colour) {
        let large = |(x, y): Point| (x * times, y * times);
        match self {
            Self::Line {
                from,
                to,
                thickness,
                colour,
            } => canvas.line(large(*from), large(*to), thickness * times, *colour),
            Self::Text {
                at,
                anchor,
                size,
                colour,
                words,
            } => {
                let face = Face::Words(size * 1.15 * times);
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => text::width(face, words) / 2.0,
                    Anchor::End => text::width(face, words),
                };
                let at = large(*at);
                canvas.text(face, at.0 - back, at.1, words, *colour);
            }
            Self::Marker {
                marker,
                at,
                radius,
                colour,
            } => {
                let ((x, y), radius) = (large(*at), radius * times);
                match marker {
                    Marker::Disc => canvas.line((x, y), (x, y), 2.0 * radius, *colour),
                    Marker::Ring => {
                        canvas.line((x, y), (x, y), 2.0 * radius, *colour);
                        canvas.line((x, y), (x, y), radius, background);
                    }
                    Marker::Square => canvas.fill(square((x, y), 0.9 * radius), *colour),
                    Marker::Diamond => diamond(canvas, (x, y), 1.25 * radius, *colour),
                }
            }
        }
    }
}

fn square((x, y): Point, half: f32) -> Rect {
    let whole = |value: f32| value.max(0.0).round() as usize;
    let side = whole(2.0 * half);
    Rect {
        left: whole(x - half),
        top: whole(y - half),
        width: side,
        height: side,
    }
}

/// A diamond of horizontal lines.
fn diamond(canvas: &mut Canvas, (x, y): Point, half: f32, colour: Colour) {
    let mut down = -half;
    while down <= half {
        let wide = half - down.abs();
        canvas.line((x - wide, y + down), (x + wide, y + down), 1.0, colour);
        down += 0.5;
    }
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}
