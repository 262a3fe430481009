//! Positions of numbers along an axis, and its tick marks.

/// One axis of a chart.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its label, with a unit.
    pub label: String,
    /// The scale of the axis.
    pub spacing: Spacing,
}

/// The scale of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Linear.
    Even,
    /// Logarithmic, with marks at powers of two.
    Doubling,
    /// Logarithmic, with marks at 1, 2, 5, 10, ...
    Ratio,
}

impl Axis {
    /// Returns whether a number can be shown on this axis.
    pub(super) fn takes(&self, value: f64) -> bool {
        value.is_finite() && (self.spacing == Spacing::Even || value > 0.0)
    }
}

/// An axis for given numbers.
pub(super) struct Ticks {
    spacing: Spacing,
    from: f64,
    to: f64,
    pixels: (f32, f32),
    /// Positions and labels of the marks.
    pub marks: Vec<(f32, String)>,
}

impl Ticks {
    /// An axis from the first to the second pixel that covers all values.
    pub(super) fn new(axis: &Axis, values: impl Iterator<Item = f64>, pixels: (f32, f32)) -> Self {
        let spacing = axis.spacing;
        let values: Vec<f64> = values
            .filter(|value| axis.takes(*value))
            .map(|value| transform(spacing, value))
            .collect();
        let low = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
        let high = values.iter().copied().reduce(f64::max).unwrap_or(1.0);
        let (low, high) = between_marks(spacing, low, high);
        let room = if high > low { 0.04 * (high - low) } else { 0.5 };
        let mut ticks = Self {
            spacing,
            from: low - room,
            to: high + room,
            pixels,
            marks: vec![],
        };
        ticks.marks = ticks
            .numbers()
            .into_iter()
            .map(|value| (ticks.place(value), label_of(value)))
            .collect();
        ticks
    }

    /// The pixel of a number.
    pub(super) fn place(&self, value: f64) -> f32 {
        let share = (transform(self.spacing, value) - self.from) / (self.to - self.from);
        self.pixels.0 + (self.pixels.1 - self.pixels.0) * share as f32
    }

    /// The numbers of the marks, up to about eight.
    fn numbers(&self) -> Vec<f64> {
        let from = self.from;
        let to = self.to;
        match self.spacing {
            Spacing::Even => {
                let step = round_step((to - from) / 6.0);
                steps(from / step, to / step, 1)
                    .into_iter()
                    .map(|i| i * step)
                    .collect()
            }
            Spacing::Doubling => {
                let every = ((to - from) / 8.0).ceil().max(1.0) as usize;
                steps(from, to, every).into_iter().map(f64::exp2).collect()
            }
            Spacing::Ratio => {
                let every = ((to - from) / 8.0).ceil().max(1.0) as usize;
                let parts: &[f64] = if to - from < 3.0 {
                    &[1.0, 2.0, 5.0]
                } else {
                    &[1.0]
                };
                let decades = steps(from - 1.0, to, every);
                let all = decades
                    .into_iter()
                    .flat_map(|i| parts.iter().map(move |part| part * 10f64.powf(i)));
                all.filter(|value| (from..=to).contains(&value.log10()))
                    .collect()
            }
        }
    }
}

/// The range of a logarithmic axis, widened to the marks around it: data beyond the last mark could
/// not be read off.
fn between_marks(spacing: Spacing, low: f64, high: f64) -> (f64, f64) {
    const ROUNDING: f64 = 1e-9; // a number that is a mark stays the end
    match spacing {
        Spacing::Even => (low, high),
        Spacing::Doubling => ((low + ROUNDING).floor(), (high - ROUNDING).ceil()),
        Spacing::Ratio => {
            let marks =
                |decade: f64| [1f64, 2.0, 5.0, 10.0].map(|part| decade.floor() + part.log10());
            let below = marks(low + ROUNDING)
                .into_iter()
                .filter(|mark| *mark <= low + ROUNDING);
            let above = marks(high - ROUNDING)
                .into_iter()
                .filter(|mark| *mark >= high - ROUNDING);
            (
                below.fold(f64::NEG_INFINITY, f64::max),
                above.fold(f64::INFINITY, f64::min),
            )
        }
    }
}

/// The position of a number before scaling to pixels.
fn transform(spacing: Spacing, value: f64) -> f64 {
    match spacing {
        Spacing::Even => value,
        Spacing::Doubling => value.log2(),
        Spacing::Ratio => value.log10(),
    }
}

/// Every `every`-th integer between two ends.
fn steps(from: f64, to: f64, every: usize) -> Vec<f64> {
    let first = from.ceil();
    (0..=((to - first).max(-1.0) as i64).min(100))
        .step_by(every)
        .map(|i| first + i as f64)
        .filter(|i| *i <= to)
        .collect()
}

/// The next of 1, 2, 5, 10, ... times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let part = rough / power;
    power
        * if part <= 1.0 {
            1.0
        } else if part <= 2.0 {
            2.0
        } else if part <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// A number with the digits that a mark needs.
fn label_of(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(spacing: Spacing, values: &[f64]) -> Vec<String> {
        let axis = Axis {
            label: String::new(),
            spacing,
        };
        let ticks = Ticks::new(&axis, values.iter().copied(), (0.0, 100.0));
        assert!(
            ticks
                .marks
                .iter()
                .all(|(place, _)| (0.0..=100.0).contains(place))
        );
        ticks.marks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn marks_are_round_numbers() {
        assert_eq!(
            marks(Spacing::Even, &[0.0, 1.0]),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(marks(Spacing::Doubling, &[1.0, 8.0]), ["1", "2", "4", "8"]);
        assert_eq!(
            marks(Spacing::Ratio, &[2.0, 150.0]),
            ["2", "5", "10", "20", "50", "100", "200"]
        );
        assert_eq!(
            marks(Spacing::Ratio, &[1.9, 40.0]),
            ["1", "2", "5", "10", "20", "50"],
            "data do not end beyond the last mark"
        );
        assert_eq!(marks(Spacing::Doubling, &[1.0, 6.0]), ["1", "2", "4", "8"]);
    }
}
