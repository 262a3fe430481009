//! Shows a search while it runs: a line for each scale that is done, a bar for the whole.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ttsvar_search::{Event, Listener, Plan, Scale, Warning};

use super::{numbers::counted, talk::Talk};

/// A bar for work of known length with the time left; hidden where nobody would see it.
pub(super) fn bar(talk: &Talk, length: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), target(talk));
    let style = ProgressStyle::with_template(
        "{bar:28}  {pos} of {len} {msg}, {elapsed} so far, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar.with_message(what)
}

/// A bar for a download, hidden likewise.
pub(super) fn bytes_bar(talk: &Talk, bytes: u64, file: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), target(talk));
    let style = ProgressStyle::with_template(
        "{bar:28}  {bytes} of {total_bytes} {msg}, {bytes_per_sec}, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(file.to_owned())
}

fn target(talk: &Talk) -> ProgressDrawTarget {
    if talk.terminal && !talk.quiet {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// Letters that the widest batch is drawn with.
const FUNNEL: usize = 24;

/// Follows one search after the other. On a terminal it draws; elsewhere, or when quiet, only
/// warnings are heard.
pub(super) struct Progress {
    talk: Talk,
    bar: ProgressBar,
    /// A list of prompts gets no line for each scale.
    terse: bool,
    plan: Option<Plan>,
    widest: usize,
    scales: usize,
    scale: Option<Line>,
    /// When the present scale began.
    began: Instant,
    /// The best score so far.
    best: Option<f32>,
}

/// What is said of one scale.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    scale: usize,
    grid: Scale,
    rows: usize,
    /// The best score of this scale.
    best: Option<f32>,
    /// How rows were chosen and how many go on.
    choice: Option<(String, usize)>,
}

impl Progress {
    /// `terse` leaves out the lines of the scales.
    pub(super) fn new(talk: &Talk, terse: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(talk));
        let template = "{prefix}{bar:28}  {msg}  {elapsed}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            talk: *talk,
            bar,
            terse,
            plan: None,
            widest: 1,
            scales: 0,
            scale: None,
            began: Instant::now(),
            best: None,
        }
    }

    /// Says which of several prompts is painted.
    pub(super) fn title(&self, text: String) {
        self.bar.set_prefix(text);
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&mut self, plan: &Plan, scales: &[Scale], widths: &[usize]) {
        self.plan = Some(plan.clone());
        self.widest = widths.iter().copied().max().unwrap_or(1);
        self.scales = scales.len();
        (self.scale, self.best) = (None, None);
        let work = scales
            .iter()
            .zip(widths)
            .map(|(scale, rows)| scale.tokens() * rows)
            .sum::<usize>()
            * plan.rounds();
        self.bar.reset();
        self.bar.set_length(work as u64);
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// Prints the line of the scale that is over.
    fn flush(&mut self) {
        if let Some(line) = self.scale.take().filter(|_| !self.terse) {
            self.bar
                .println(line.words(self.widest, self.began.elapsed()));
        }
    }

    fn say(&self) {
        let Some(line) = &self.scale else { return };
        let best = self
            .best
            .map_or(String::new(), |best| format!(", best {best:.3}"));
        let rows = counted(line.rows, "row");
        self.bar.set_message(format!(
            "scale {} of {}, {rows}{best}",
            line.scale,
            self.scales.saturating_sub(1)
        ));
    }

    fn scored(&mut self, scores: &[f32]) {
        let best = scores
            .iter()
            .copied()
            .filter(|score| !score.is_nan())
            .reduce(f32::max);
        self.best = self.best.into_iter().chain(best).reduce(f32::max);
        if let Some(line) = &mut self.scale {
            line.best = best;
        }
        self.say();
    }

    fn warn(&self, warning: &Warning) {
        self.bar
            .suspend(|| self.talk.warn(&warning.to_string(), Some(warning.advice())));
    }

    fn chosen(&mut self, scale: usize, on: usize) {
        let select = self
            .plan
            .as_ref()
            .and_then(|plan| plan.stage(scale))
            .map(|stage| stage.select.to_string());
        if let Some((line, select)) = self.scale.as_mut().zip(select) {
            line.choice = Some((select, on));
        }
    }
}

impl Listener for Progress {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        match event {
            Event::Started {
                plan,
                scales,
                widths,
                ..
            } => self.begin(plan, scales, widths),
            Event::ScaleBegun { scale, ids, grid } => {
                self.flush();
                self.began = Instant::now();
                self.scale = Some(Line {
                    scale: *scale,
                    grid: *grid,
                    rows: ids.len(),
                    best: None,
                    choice: None,
                });
                self.say();
            }
            Event::ScaleDone { rows, .. } => {
                if let Some(line) = &self.scale {
                    self.bar.inc((line.grid.tokens() * rows) as u64);
                }
            }
            Event::Scored { scores, .. } => self.scored(scores),
            Event::Selected { scale, fates, .. } => {
                self.chosen(*scale, fates.iter().map(|fate| fate.children.len()).sum());
            }
            Event::Warned(warning) => self.warn(warning),
            Event::Finished { .. } => {
                self.flush();
                self.clear();
            }
            Event::Decoded { .. } => {}
        }
        Ok(())
    }
}

impl Line {
    /// The whole line; `widest` is the widest batch of the search.
    fn words(&self, widest: usize, took: Duration) -> String {
        let Scale { height, width } = self.grid;
        let funnel = "■".repeat((self.rows * FUNNEL).div_ceil(widest.max(1)).min(FUNNEL));
        let choice = self
            .choice
            .as_ref()
            .map_or(String::new(), |(select, on)| format!("→ {on} by {select}"));
        let best = self
            .best
            .map_or(String::new(), |best| format!("best {best:.3}"));
        let (scale, grid, rows) = (
            self.scale,
            format!("{height}×{width}"),
            counted(self.rows, "row"),
        );
        let line = format!(
            "scale {scale:>2}  {grid:<7} {funnel:<FUNNEL$}  {rows:<8} {choice:<36} {:>7.2} s  {best}",
            took.as_secs_f64()
        );
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_width_the_choice_and_the_best_score() {
        let took = Duration::from_millis(123);
        let line = Line {
            scale: 2,
            grid: Scale {
                height: 4,
                width: 4,
            },
            rows: 8,
            best: None,
            choice: None,
        };
        assert_eq!(
            line.words(8, took),
            "scale  2  4×4     ■■■■■■■■■■■■■■■■■■■■■■■■  8 rows                                           0.12 s"
        );
        let chosen = Line {
            rows: 1,
            best: Some(-0.5),
            choice: Some(("cluster pca".to_owned(), 1)),
            ..line
        };
        assert_eq!(
            chosen.words(8, took),
            "scale  2  4×4     ■■■                       1 row    → 1 by cluster pca                      0.12 s  best -0.500"
        );
    }
}
