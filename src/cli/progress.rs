//! Shows the progress of a search: one line per finished scale and a bar for the whole search.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ttsvar_search::{Budget, Event, Listener, Plan, Scale, Stage, StageRecord};

use super::{console::Console, numbers::counted};
use crate::quoting;

/// A bar for work of known length, with the remaining time; hidden without a terminal.
pub(super) fn bar(console: &Console, length: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), target(console));
    let style = ProgressStyle::with_template(
        "{bar:28}  {pos} of {len} {msg}, {elapsed} so far, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar.with_message(what)
}

/// A bar for a download; hidden without a terminal.
pub(super) fn bytes_bar(console: &Console, bytes: u64, file: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), target(console));
    let style = ProgressStyle::with_template(
        "{bar:28}  {bytes} of {total_bytes} {msg}, {bytes_per_sec}, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(quoting::line(file))
}

fn target(console: &Console) -> ProgressDrawTarget {
    if console.terminal && !console.quiet {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// Characters of the bar for the widest batch.
const FUNNEL: usize = 24;

/// Follows one search after the other. It draws on a terminal only; otherwise, or with `--quiet`,
/// it only prints warnings.
pub(super) struct Progress {
    notices: Notices,
    bar: ProgressBar,
    /// Whether to omit the lines of the scales, as for lists of prompts.
    terse: bool,
    plan: Option<Plan>,
    widest: usize,
    scales: usize,
    scale: Option<ScaleLine>,
    /// Start of the current scale.
    began: Instant,
    /// The best score so far.
    best: Option<f32>,
    /// Rounds of the plan that have begun.
    rounds: usize,
    /// What the search may spend, if that is limited.
    budget: Option<Budget>,
}

/// The line of one scale.
#[derive(Clone, Debug, PartialEq)]
struct ScaleLine {
    scale: usize,
    grid: Scale,
    rows: usize,
    /// The best score of this scale.
    best: Option<f32>,
    /// The selection and the number of rows that continue.
    selected: Option<(String, usize)>,
}

impl Progress {
    /// `terse` omits the lines of the scales.
    pub(super) fn new(console: &Console, terse: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(console));
        let template = "{prefix}{bar:28}  {msg}  {elapsed}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            notices: Notices::new(console, bar.clone()),
            bar,
            terse,
            plan: None,
            widest: 1,
            scales: 0,
            scale: None,
            began: Instant::now(),
            best: None,
            rounds: 0,
            budget: None,
        }
    }

    /// Names the present one of `count` prompts, counted from 1, on the bar and in warnings.
    pub(super) fn set_prompt(&mut self, number: usize, count: usize) {
        self.bar.set_prefix(format!("{number}/{count}  "));
        self.notices.set_prompt(number);
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn begin(&mut self, plan: &Plan, scales: &[Scale], widths: &[usize], budget: Option<Budget>) {
        self.plan = Some(plan.clone());
        self.widest = widths.iter().copied().max().unwrap_or(1);
        self.scales = scales.len();
        self.scale = None;
        self.best = None;
        self.rounds = 0;
        let work = scales
            .iter()
            .zip(widths)
            .map(|(scale, rows)| scale.tokens() * rows)
            .sum::<usize>()
            * plan.rounds();
        self.bar.reset();
        match budget {
            Some(_) => self.bar.unset_length(),
            None => self.bar.set_length(work as u64),
        }
        self.budget = budget;
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// Whether each line shows a candidate: the plan generates one after the other.
    fn one_by_one(&self) -> bool {
        let plan = self.plan.as_ref();
        plan.is_some_and(|plan| plan.start() == 1 && plan.rounds() > 1)
    }

    /// Prints a line about the present candidate.
    fn candidate(&self, text: &str) {
        if !self.terse {
            let line = format!("candidate {:>2}  {text}", self.rounds);
            self.bar.println(line);
        }
    }

    /// Prints the line of the finished scale.
    fn flush(&mut self) {
        let shown = !self.terse && !self.one_by_one();
        if let Some(line) = self.scale.take().filter(|_| shown) {
            self.bar
                .println(line.text(self.widest, self.began.elapsed()));
        }
    }

    fn update_message(&self) {
        let Some(line) = &self.scale else { return };
        let best = self
            .best
            .map_or(String::new(), |best| format!(", best {best:.3}"));
        let rows = match self.one_by_one() {
            true => format!("candidate {}", self.rounds),
            false => counted(line.rows, "row"),
        };
        let budget = self
            .budget
            .map_or(String::new(), |budget| format!(", budget {budget}"));
        self.bar.set_message(format!(
            "scale {} of {}, {rows}{best}{budget}",
            line.scale,
            self.scales.saturating_sub(1)
        ));
    }

    fn scored(&mut self, scale: usize, scores: &[f32]) {
        if self.one_by_one() && scale + 1 == self.scales {
            self.candidate(&format!("finished   score {:.3}", scores[0]));
        }
        let best = scores
            .iter()
            .copied()
            .filter(|score| !score.is_nan())
            .reduce(f32::max);
        self.best = self.best.into_iter().chain(best).reduce(f32::max);
        if let Some(line) = &mut self.scale {
            line.best = best;
        }
        self.update_message();
    }

    fn selected(&mut self, scale: usize, kept: usize) {
        let select = self
            .plan
            .as_ref()
            .and_then(|plan| plan.stage(scale))
            .map(Stage::description);
        if let Some((line, select)) = self.scale.as_mut().zip(select) {
            line.selected = Some((select, kept));
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
                budget,
                ..
            } => self.begin(plan, scales, widths, *budget),
            Event::ScaleBegun { scale, ids, grid } => {
                self.flush();
                self.rounds += usize::from(*scale == 0);
                self.began = Instant::now();
                self.scale = Some(ScaleLine {
                    scale: *scale,
                    grid: *grid,
                    rows: ids.len(),
                    best: None,
                    selected: None,
                });
                self.update_message();
            }
            Event::ScaleDone { rows, .. } => {
                if let Some(line) = &self.scale {
                    self.bar.inc((line.grid.tokens() * rows) as u64);
                }
            }
            Event::Scored { scale, scores, .. } => self.scored(*scale, scores),
            Event::Selected { choice, .. } if self.one_by_one() => {
                if let Some(text) = outcome(choice) {
                    self.candidate(&text);
                }
            }
            Event::Selected { scale, fates, .. } => {
                self.selected(*scale, fates.iter().map(|fate| fate.children.len()).sum());
            }
            Event::Warned(_) | Event::Steered { .. } => self.notices.on(event)?,
            Event::Finished { .. } => {
                self.flush();
                self.clear();
            }
            Event::Decoded { .. } => {}
        }
        Ok(())
    }
}

/// Prints what a user should know about a search beside a progress bar.
pub(super) struct Notices {
    console: Console,
    bar: ProgressBar,
    /// What notices begin with: the present one of several prompts.
    of_which: String,
}

impl Notices {
    /// `bar` is hidden while a notice is printed.
    pub(super) fn new(console: &Console, bar: ProgressBar) -> Self {
        Self {
            console: *console,
            bar,
            of_which: String::new(),
        }
    }

    /// Names the present one of several prompts, counted from 1.
    pub(super) fn set_prompt(&mut self, number: usize) {
        self.of_which = format!("prompt {number}: ");
    }
}

impl Listener for Notices {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        let of_which = &self.of_which;
        match event {
            Event::Warned(warning) => self.bar.suspend(|| {
                let text = format!("{of_which}{warning}");
                self.console.warn(&text, Some(&warning.advice()));
            }),
            Event::Steered { steering } => self.bar.suspend(|| {
                self.console.note(&format!("{of_which}{steering}"));
            }),
            _ => {}
        }
        Ok(())
    }
}

/// The outcome of a stage that one candidate reached, if it ends or resumes there.
fn outcome(choice: &StageRecord) -> Option<String> {
    let score = choice.scores.first().copied().unwrap_or(f32::NAN);
    let scale = choice.scale;
    if choice.resumes {
        return Some(format!(
            "resuming the candidate with score {score:.3} after scale {scale}"
        ));
    }
    choice
        .kept
        .is_empty()
        .then(|| format!("suspended  score {score:.3} after scale {scale}"))
}

impl ScaleLine {
    /// The text of the line; `widest` is the widest batch of the search.
    fn text(&self, widest: usize, took: Duration) -> String {
        let Scale { height, width } = self.grid;
        let funnel = "■".repeat((self.rows * FUNNEL).div_ceil(widest.max(1)).min(FUNNEL));
        let selected = self
            .selected
            .as_ref()
            .map_or(String::new(), |(select, kept)| {
                format!("→ {kept} by {select}")
            });
        let best = self
            .best
            .map_or(String::new(), |best| format!("best {best:.3}"));
        let scale = self.scale;
        let grid = format!("{height}×{width}");
        let rows = counted(self.rows, "row");
        let line = format!(
            "scale {scale:>2}  {grid:<7} {funnel:<FUNNEL$}  \
             {rows:<8} {selected:<36} {:>7.2} s  {best}",
            took.as_secs_f64()
        );
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_width_the_selection_and_the_best_score() {
        let took = Duration::from_millis(123);
        let line = ScaleLine {
            scale: 2,
            grid: Scale {
                height: 4,
                width: 4,
            },
            rows: 8,
            best: None,
            selected: None,
        };
        assert_eq!(
            line.text(8, took),
            concat!(
                "scale  2  4×4     ■■■■■■■■■■■■■■■■■■■■■■■■  8 rows   ",
                "                                        0.12 s"
            )
        );
        let chosen = ScaleLine {
            rows: 1,
            best: Some(-0.5),
            selected: Some(("cluster pca".to_owned(), 1)),
            ..line
        };
        assert_eq!(
            chosen.text(8, took),
            concat!(
                "scale  2  4×4     ■■■                       1 row    ",
                "→ 1 by cluster pca                      0.12 s  best -0.500"
            )
        );
    }
}
