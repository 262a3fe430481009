//! GenEval's rules: the verdict on the objects found in an image.
//!
//! Reference: djghosh13/geneval, `evaluation/evaluate_images.py`, `evaluate_image` and `evaluate`,
//! with the same messages.

use super::{
    geometry::{overlap, relations},
    names::{COLOURS, OBJECTS},
    prompts::{Amount, Clause, Metadata},
};
use crate::{Result, detectors::Object};

/// Options of the rules; [`RuleOptions::default`] is as published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleOptions {
    /// An object counts if its score is above this.
    pub threshold: f32,
    /// The same for counting.
    pub counting_threshold: f32,
    /// Maximum number of objects per class.
    pub max_objects: usize,
    /// Of two objects of a class that overlap by this much, the less certain one is dropped; 1
    /// keeps all.
    pub max_overlap: f32,
    /// See [`relations`].
    pub position_threshold: f32,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            threshold: 0.3,
            counting_threshold: 0.9,
            max_objects: 16,
            max_overlap: 1.0,
            position_threshold: 0.1,
        }
    }
}

/// The objects that count, class by class, the most certain of each first.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfidentObjects<'a>(Vec<Vec<&'a Object>>);

impl<'a> ConfidentObjects<'a> {
    /// Selects the objects that count. Among equal scores, the later one comes first, as in numpy's
    /// reversed order.
    pub fn new(found: &'a [Object], tag: &str, options: &RuleOptions) -> Self {
        let threshold = if tag == "counting" {
            options.counting_threshold
        } else {
            options.threshold
        };
        let of_class = |class: usize| {
            let mut objects: Vec<&Object> = found
                .iter()
                .filter(|object| object.class == class)
                .collect();
            objects.sort_by(|a, b| a.score.total_cmp(&b.score));
            objects.reverse();
            objects.retain(|object| object.score > threshold);
            objects.truncate(options.max_objects);
            without_overlap(objects, options.max_overlap)
        };
        Self((0..OBJECTS.len()).map(of_class).collect())
    }

    /// The objects of a class.
    pub fn of_class(&self, class: usize) -> &[&'a Object] {
        &self.0[class]
    }

    /// The classes that have objects, with these objects.
    pub fn classes(&self) -> impl Iterator<Item = (usize, &[&'a Object])> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, objects)| !objects.is_empty())
            .map(|(class, objects)| (class, objects.as_slice()))
    }
}

/// Drops objects that overlap a more certain one.
fn without_overlap(mut open: Vec<&Object>, most: f32) -> Vec<&Object> {
    let mut kept = vec![];
    while !open.is_empty() {
        let best = open.remove(0);
        open.retain(|other| most == 1.0 || overlap(best.bounds, other.bounds) < most);
        kept.push(best);
    }
    kept
}

/// The verdict on an image, with reasons if it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Whether everything is as expected.
    pub correct: bool,
    /// One line per error.
    pub reason: String,
}

/// Evaluates the objects of an image. `colours` returns the colours of objects of a class, by
/// number.
///
/// # Errors
/// `colours` fails.
pub fn evaluate(
    metadata: &Metadata,
    kept: &ConfidentObjects<'_>,
    options: &RuleOptions,
    mut colours: impl FnMut(usize, &[&Object]) -> Result<Vec<usize>>,
) -> Result<RuleVerdict> {
    let mut faults = vec![];
    let mut groups: Vec<Option<&[&Object]>> = vec![]; // the objects of each clause that holds
    for clause in &metadata.include {
        let fault = fault(clause, kept, &groups, options, &mut colours)?;
        groups.push(if fault.is_none() {
            Some(first(kept, clause.amount))
        } else {
            None
        });
        faults.extend(fault);
    }
    for Amount { class, count } in &metadata.exclude {
        let found = kept.of_class(*class).len();
        if found >= *count {
            faults.push(format!(
                "expected {}<{count}, found {found}",
                OBJECTS[*class]
            ));
        }
    }
    Ok(RuleVerdict {
        correct: faults.is_empty(),
        reason: faults.join("\n"),
    })
}

/// The most certain objects of a class, up to the requested number.
fn first<'k, 'a>(
    kept: &'k ConfidentObjects<'a>,
    Amount { class, count }: Amount,
) -> &'k [&'a Object] {
    let objects = kept.of_class(class);
    &objects[..count.min(objects.len())]
}

/// The error of a clause, if any: number, then colour, then position.
fn fault(
    clause: &Clause,
    kept: &ConfidentObjects<'_>,
    groups: &[Option<&[&Object]>],
    options: &RuleOptions,
    colours: &mut impl FnMut(usize, &[&Object]) -> Result<Vec<usize>>,
) -> Result<Option<String>> {
    let Amount { class, count } = clause.amount;
    let name = OBJECTS[class];
    let found = first(kept, clause.amount);
    if found.len() < count {
        return Ok(Some(format!(
            "expected {name}>={count}, found {}",
            found.len()
        )));
    }
    if let Some(colour) = clause.colour {
        let seen = colours(class, found)?;
        let number = |colour: usize| seen.iter().filter(|seen| **seen == colour).count();
        if number(colour) < count {
            let counts = (0..COLOURS.len()).filter(|&colour| number(colour) > 0);
            let counts: Vec<String> = counts
                .map(|colour| format!("{} {}", number(colour), COLOURS[colour]))
                .collect();
            let wanted = COLOURS[colour];
            let found = format!(
                "found {} {wanted}; and {}",
                number(colour),
                counts.join(", ")
            );
            return Ok(Some(format!("expected {wanted} {name}>={count}, {found}")));
        }
    }
    let Some((expected, target)) = clause.position else {
        return Ok(None);
    };
    let Some(targets) = groups[target] else {
        return Ok(Some(format!("no target for {name} to be {expected}")));
    };
    for object in found {
        for target in targets {
            let seen = relations(object.bounds, target.bounds, options.position_threshold);
            if !seen.contains(&expected) {
                let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
                return Ok(Some(format!(
                    "expected {name} {expected} target, found {} target",
                    seen.join(" and ")
                )));
            }
        }
    }
    Ok(None)
}
