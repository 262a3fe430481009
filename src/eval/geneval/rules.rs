//! GenEval's verdict on what was found in a picture.
//!
//! Reference: djghosh13/geneval, `evaluation/evaluate_images.py`, `evaluate_image` and `evaluate`,
//! whose texts are kept word for word.

use super::{
    geometry::{overlap, relations},
    names::{COLOURS, OBJECTS},
    prompts::{Amount, Clause, Metadata},
};
use crate::{Result, detectors::Object};

/// What can be set; [`Options::default`] is as published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How certain an object must be: more than this.
    pub threshold: f32,
    /// The same where objects are counted.
    pub counting_threshold: f32,
    /// Objects that are kept of a class.
    pub max_objects: usize,
    /// Of two objects of a class that overlap this much the less certain one goes; 1 keeps all.
    pub max_overlap: f32,
    /// See [`relations`].
    pub position_threshold: f32,
}

impl Default for Options {
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
pub struct Kept<'a>(Vec<Vec<&'a Object>>);

impl<'a> Kept<'a> {
    /// Chooses among what was found. Of equals the later one comes first, as numpy's reversed order
    /// has it.
    pub fn new(found: &'a [Object], tag: &str, options: &Options) -> Self {
        let threshold = if tag == "counting" {
            options.counting_threshold
        } else {
            options.threshold
        };
        let of_class = |class: usize| {
            let mut own: Vec<&Object> = found
                .iter()
                .filter(|object| object.class == class)
                .collect();
            own.sort_by(|a, b| a.score.total_cmp(&b.score));
            own.reverse();
            own.retain(|object| object.score > threshold);
            own.truncate(options.max_objects);
            without_overlap(own, options.max_overlap)
        };
        Self((0..OBJECTS.len()).map(of_class).collect())
    }

    /// The objects of a class.
    pub fn of(&self, class: usize) -> &[&'a Object] {
        &self.0[class]
    }

    /// The classes of which there is something, with their objects.
    pub fn classes(&self) -> impl Iterator<Item = (usize, &[&'a Object])> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, own)| !own.is_empty())
            .map(|(class, own)| (class, own.as_slice()))
    }
}

/// Each object drives away the less certain ones that overlap it.
fn without_overlap(mut open: Vec<&Object>, most: f32) -> Vec<&Object> {
    let mut kept = vec![];
    while !open.is_empty() {
        let best = open.remove(0);
        open.retain(|other| most == 1.0 || overlap(best.bounds, other.bounds) < most);
        kept.push(best);
    }
    kept
}

/// Whether a picture shows what was asked for, and if not why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Everything is as it should be.
    pub correct: bool,
    /// One line for each thing that is not.
    pub reason: String,
}

/// Judges. `colours` names the colours of objects of a class, each by its number.
///
/// # Errors
/// Whatever `colours` fails with.
pub fn judge(
    metadata: &Metadata,
    kept: &Kept<'_>,
    options: &Options,
    mut colours: impl FnMut(usize, &[&Object]) -> Result<Vec<usize>>,
) -> Result<Judgement> {
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
        let found = kept.of(*class).len();
        if found >= *count {
            faults.push(format!(
                "expected {}<{count}, found {found}",
                OBJECTS[*class]
            ));
        }
    }
    Ok(Judgement {
        correct: faults.is_empty(),
        reason: faults.join("\n"),
    })
}

/// The most certain objects of a class, as many as are asked for if there are so many.
fn first<'k, 'a>(kept: &'k Kept<'a>, Amount { class, count }: Amount) -> &'k [&'a Object] {
    let own = kept.of(class);
    &own[..count.min(own.len())]
}

/// What is wrong with a clause: number, then colour, then position.
fn fault(
    clause: &Clause,
    kept: &Kept<'_>,
    groups: &[Option<&[&Object]>],
    options: &Options,
    colours: &mut impl FnMut(usize, &[&Object]) -> Result<Vec<usize>>,
) -> Result<Option<String>> {
    let Amount { class, count } = clause.amount;
    let (name, found) = (OBJECTS[class], first(kept, clause.amount));
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
    let mut pairs = found
        .iter()
        .flat_map(|object| targets.iter().map(move |target| (object, target)));
    Ok(pairs.find_map(|(object, target)| {
        let seen = relations(object.bounds, target.bounds, options.position_threshold);
        let seen_words: Vec<String> = seen.iter().map(ToString::to_string).collect();
        let fault = format!(
            "expected {name} {expected} target, found {} target",
            seen_words.join(" and ")
        );
        (!seen.contains(&expected)).then_some(fault)
    }))
}
