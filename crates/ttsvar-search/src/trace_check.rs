//! The check of a trace that was read: its parts must fit each other, so that whatever shows it can
//! follow parents, index by ids and add up costs without looking again.

use std::collections::BTreeSet;

use crate::{
    Error, Result,
    answers::CandidateAnswers,
    mixer::Part,
    plan::{MAX_ROWS, Stage},
    tokens::TokenStatistics,
    trace::{Candidate, Cost, StageRecord, Trace},
};

/// The largest number of scales, and of rows or columns of a scale. Models have 7 to 13 scales of up
/// to 64 by 64 tokens.
const MAX_SCALES: usize = 256;
const MAX_SIDE: usize = 1 << 16;

/// The largest count and the largest number of seconds or operations that a cost may contain. Sums
/// of them are far from the limits of their types.
const MAX_COUNT: usize = 1 << 48;
const MAX_COST: f64 = 1e30;

/// The candidates that the stages so far ended.
#[derive(Default)]
struct Ended {
    all: BTreeSet<usize>,
    /// Those that may still be resumed.
    suspended: BTreeSet<usize>,
}

impl Trace {
    /// Checks that the trace does not contradict itself: ids are places in the list, parents come
    /// before their children, lists that belong together have the same length, and everything
    /// refers to something that exists.
    ///
    /// # Errors
    /// [`Error::Input`] names the first part that is wrong, what it is, and what was expected.
    pub fn check(&self) -> Result<()> {
        self.check_scales()?;
        self.plan.check(self.scales.len())?;
        if self.preview == Some(0) {
            return Err(damaged("preview", "0", "1 pixel or more"));
        }
        self.check_steering()?;
        for (place, candidate) in self.candidates.iter().enumerate() {
            self.check_candidate(place, candidate)?;
        }
        self.check_starts()?;
        let mut ended = Ended::default();
        for (number, stage) in self.stages.iter().enumerate() {
            self.check_stage(&format!("stages[{number}]"), stage, &mut ended)?;
        }
        self.check_finals()?;
        self.check_parts("parts", &self.parts)?;
        self.check_parts("held_out", &self.held_out)?;
        self.check_answers()?;
        check_cost(&self.cost)
    }

    fn check_scales(&self) -> Result<()> {
        let count = self.scales.len();
        if !(1..=MAX_SCALES).contains(&count) {
            let found = format!("a list of {count}");
            return Err(damaged(
                "scales",
                found,
                format!("1 to {MAX_SCALES} scales"),
            ));
        }
        for (scale, grid) in self.scales.iter().enumerate() {
            if grid.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
                let expected = format!("rows and columns from 1 to {MAX_SIDE}");
                return Err(damaged(
                    format!("scales[{scale}]"),
                    format!("{grid:?}"),
                    expected,
                ));
            }
        }
        Ok(())
    }

    fn check_steering(&self) -> Result<()> {
        let Some(steering) = &self.steering else {
            return Ok(());
        };
        let unknown = |scale: &&usize| **scale >= self.scales.len();
        if let Some(scale) = steering.scales.iter().find(unknown) {
            let expected = format!("less than the number of scales, {}", self.scales.len());
            return Err(damaged("steering.scales", scale, expected));
        }
        for (place, layout) in steering.layouts.iter().enumerate() {
            for (number, region) in layout.iter().enumerate() {
                if !region.is_possible() {
                    let at = format!("steering.layouts[{place}][{number}].box");
                    let found = format!("{:?}", region.bounds);
                    return Err(damaged(at, found, "a rectangle within the image"));
                }
            }
        }
        Ok(())
    }

    /// The number of layouts.
    fn layouts(&self) -> usize {
        let steering = self.steering.as_ref();
        steering.map_or(0, |steering| steering.layouts.len())
    }

    fn check_candidate(&self, place: usize, candidate: &Candidate) -> Result<()> {
        let at = |field: &str| format!("candidates[{place}].{field}");
        let Candidate {
            id,
            parent,
            scale,
            row,
            layout,
            ref history,
            ref tokens,
        } = *candidate;
        if id != place {
            return Err(damaged(at("id"), id, format!("its place, {place}")));
        }
        match parent {
            Some(parent) if parent >= place => {
                return Err(damaged(at("parent"), parent, "a candidate before it"));
            }
            Some(parent) if self.candidates[parent].scale >= scale => {
                return Err(damaged(at("scale"), scale, "a scale after its parent's"));
            }
            None if scale != 0 => {
                return Err(damaged(at("scale"), scale, "0, as it has no parent"));
            }
            _ => {}
        }
        if scale > self.scales.len() {
            return Err(damaged(at("scale"), scale, self.up_to_scales()));
        }
        if row >= MAX_ROWS {
            return Err(damaged(at("row"), row, format!("less than {MAX_ROWS}")));
        }
        if let Some(layout) = layout.filter(|layout| *layout >= self.layouts()) {
            let expected = format!("less than the number of layouts, {}", self.layouts());
            return Err(damaged(at("layout"), layout, expected));
        }
        let mut next = 0;
        for scored in history {
            if scored.scale < next || scored.scale >= self.scales.len() {
                let expected = "increasing scales of this trace";
                return Err(damaged(
                    at("history"),
                    format!("scale {}", scored.scale),
                    expected,
                ));
            }
            next = scored.scale + 1;
        }
        self.check_tokens(&at("tokens"), scale, tokens)
    }

    /// Checks the statistics of what a candidate drew from scale `first` on.
    fn check_tokens(&self, name: &str, first: usize, tokens: &[TokenStatistics]) -> Result<()> {
        let mut next = first;
        for drawn in tokens {
            if drawn.scale < next || drawn.scale >= self.scales.len() {
                let found = format!("scale {}", drawn.scale);
                return Err(damaged(name, found, "increasing scales that it draws"));
            }
            if !drawn.is_possible() {
                let found = format!("{} and {}", drawn.entropy, drawn.log_likelihood);
                return Err(damaged(name, found, TokenStatistics::possible()));
            }
            next = drawn.scale + 1;
        }
        Ok(())
    }

    /// Every round of the plan begins with as many candidates without a parent as the plan says.
    fn check_starts(&self) -> Result<()> {
        let starts = self
            .candidates
            .iter()
            .filter(|candidate| candidate.parent.is_none());
        let starts = starts.count();
        let width = self.plan.start();
        let most = width.saturating_mul(self.plan.rounds());
        if starts == 0 || starts > most || !starts.is_multiple_of(width) {
            let found = format!("{starts} without a parent");
            let expected = format!("{width} for each of up to {} rounds", self.plan.rounds());
            return Err(damaged("candidates", found, expected));
        }
        Ok(())
    }

    /// Checks a stage; `ended` are the candidates that earlier stages ended.
    fn check_stage(&self, name: &str, stage: &StageRecord, ended: &mut Ended) -> Result<()> {
        let at = |field: &str| format!("{name}.{field}");
        if stage.scale >= self.scales.len() {
            return Err(damaged(at("scale"), stage.scale, self.up_to_scales()));
        }
        for &id in &stage.ids {
            let candidate = self.candidates.get(id);
            let reached = candidate.is_some_and(|candidate| candidate.scale <= stage.scale);
            let in_order = match stage.resumes {
                true => ended.suspended.remove(&id),
                false => ended.all.insert(id),
            };
            if !reached || !in_order {
                return Err(damaged(
                    at("ids"),
                    id,
                    "candidates that reach this stage, once each",
                ));
            }
        }
        let rows = stage.ids.len();
        let per_row = [
            ("scores", stage.scores.len()),
            ("weights", stage.weights.len()),
            ("clusters", stage.clusters.len()),
        ];
        for (field, length) in per_row {
            if length != 0 && length != rows {
                return Err(damaged(
                    at(field),
                    length,
                    format!("one entry per row, {rows}"),
                ));
            }
        }
        if let Some(weight) = stage
            .weights
            .iter()
            .find(|weight| !(0.0..=1.0).contains(*weight))
        {
            return Err(damaged(at("weights"), weight, "probabilities from 0 to 1"));
        }
        if let Some(cluster) = stage
            .clusters
            .iter()
            .flatten()
            .find(|cluster| **cluster >= rows)
        {
            return Err(damaged(
                at("clusters"),
                cluster,
                format!("less than {rows}, the rows"),
            ));
        }
        self.check_children(name, stage)?;
        if self.suspends(stage) && !stage.resumes {
            let kept: BTreeSet<usize> = stage.kept.iter().copied().collect();
            let rows = stage.ids.iter().enumerate();
            let suspended = rows.filter(|(row, _)| !kept.contains(row));
            ended.suspended.extend(suspended.map(|(_, id)| id));
        }
        Ok(())
    }

    /// Returns whether a stage suspends the candidates that it does not keep.
    fn suspends(&self, stage: &StageRecord) -> bool {
        self.plan.stage(stage.scale).is_some_and(Stage::suspends)
    }

    /// Every child continues the row that was kept in its place.
    fn check_children(&self, name: &str, stage: &StageRecord) -> Result<()> {
        let StageRecord { kept, children, .. } = stage;
        if (kept.is_empty() && !self.suspends(stage)) || kept.len() != children.len() {
            let found = format!("{} beside {} children", kept.len(), children.len());
            return Err(damaged(
                format!("{name}.kept"),
                found,
                "one child for each kept row",
            ));
        }
        let mut seen = BTreeSet::new();
        for (&row, &child) in kept.iter().zip(children) {
            let Some(parent) = stage.ids.get(row) else {
                return Err(damaged(format!("{name}.kept"), row, "rows of this stage"));
            };
            let candidate = self.candidates.get(child);
            let continues = candidate.is_some_and(|candidate| {
                candidate.parent == Some(*parent) && candidate.scale == stage.scale + 1
            });
            if !continues || !seen.insert(child) {
                let expected = format!("a candidate that continues {parent}");
                return Err(damaged(format!("{name}.children"), child, expected));
            }
        }
        Ok(())
    }

    fn check_finals(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for last in &self.finals {
            if last.id >= self.candidates.len() || !seen.insert(last.id) {
                return Err(damaged(
                    "finals",
                    last.id,
                    "candidates of this trace, once each",
                ));
            }
        }
        if !seen.contains(&self.winner) {
            return Err(damaged("winner", self.winner, "one of the `finals`"));
        }
        Ok(())
    }

    /// The scores of several scorers, in the field `name`.
    fn check_parts(&self, name: &str, parts: &[Part]) -> Result<()> {
        for (number, part) in parts.iter().enumerate() {
            let at = |field: &str| format!("{name}[{number}].{field}");
            if part.scale >= self.scales.len() {
                return Err(damaged(at("scale"), part.scale, self.up_to_scales()));
            }
            if part.scores.len() != part.ids.len() {
                let expected = format!("one score per id, {}", part.ids.len());
                return Err(damaged(at("scores"), part.scores.len(), expected));
            }
            if let Some(id) = part.ids.iter().find(|id| **id >= self.candidates.len()) {
                return Err(damaged(at("ids"), id, "candidates of this trace"));
            }
        }
        Ok(())
    }

    /// The answers of scorers that were asked questions.
    fn check_answers(&self) -> Result<()> {
        for (number, answers) in self.answers.iter().enumerate() {
            let at = |field: &str| format!("answers[{number}].{field}");
            if answers.scale >= self.scales.len() {
                return Err(damaged(at("scale"), answers.scale, self.up_to_scales()));
            }
            for CandidateAnswers { id, probabilities } in &answers.candidates {
                if *id >= self.candidates.len() {
                    return Err(damaged(at("candidates"), id, "candidates of this trace"));
                }
                let questions = answers.questions.len();
                if probabilities.len() != questions {
                    let expected = format!("one answer per question, {questions}");
                    return Err(damaged(at("candidates"), probabilities.len(), expected));
                }
            }
        }
        Ok(())
    }

    fn up_to_scales(&self) -> String {
        format!("up to the number of scales, {}", self.scales.len())
    }
}

fn check_cost(cost: &Cost) -> Result<()> {
    let counts = [
        cost.images,
        cost.decodes,
        cost.previews,
        cost.scorings,
        cost.verifications,
        cost.extractions,
    ];
    let mut counts = counts
        .iter()
        .chain(&cost.rows)
        .chain(&cost.states)
        .chain(&cost.passes);
    if let Some(count) = counts.find(|count| **count > MAX_COUNT) {
        return Err(damaged("cost", count, format!("counts up to {MAX_COUNT}")));
    }
    let flops = &cost.flops;
    let seconds = &cost.seconds;
    let numbers = [
        flops.generator,
        flops.scorer,
        flops.verifier,
        flops.features,
        flops.previews,
        seconds.text,
        seconds.decode,
        seconds.features,
        seconds.scorer,
        seconds.verifier,
        seconds.selection,
        seconds.previews,
        seconds.total,
    ];
    let mut numbers = numbers.iter().chain(&seconds.transformer);
    if let Some(number) = numbers.find(|number| !(0.0..=MAX_COST).contains(*number)) {
        let expected = format!("operations and seconds from 0 to {MAX_COST:e}");
        return Err(damaged("cost", number, expected));
    }
    Ok(())
}

fn damaged(
    part: impl std::fmt::Display,
    found: impl std::fmt::Display,
    expected: impl std::fmt::Display,
) -> Error {
    Error::input(format!(
        "not a search trace: {part} is {found}, expected {expected}"
    ))
    .with_hint("the file is damaged or was edited; use it as the program wrote it")
}
