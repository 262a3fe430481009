//! Sets of prompts: evenly of all six tasks, for testing or for tuning.

use std::{fmt, str::FromStr};

use super::{
    asks::{Ask, TASKS},
    world::SplitMix,
};
use crate::{Error, Result};

/// What prompts are for. Settings chosen on one split are measured on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// The results that are reported.
    #[default]
    Test,
    /// Choosing settings and plans.
    Tuning,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test",
            Self::Tuning => "tuning",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "test" => Ok(Self::Test),
            "tuning" => Ok(Self::Tuning),
            _ => Err(Error::input(format!("unknown split `{text}`"))
                .with_hint("expected `test` or `tuning`")),
        }
    }
}

/// `count` prompts, task after task in turn.
///
/// Position and colour attribution ask for combinations that training never saw, half of which
/// belong to each split. The other tasks have too few captions for that and share them. A task goes
/// through all of its captions, in an order that the seed decides, before it repeats one.
pub fn prompts(split: Split, count: usize, seed: u64) -> Vec<Ask> {
    let decks: Vec<Vec<Ask>> = (0u64..)
        .zip(TASKS)
        .map(|(i, task)| deck(task, split, seed.wrapping_mul(6).wrapping_add(i)))
        .collect();
    (0..count)
        .map(|i| (i % TASKS.len(), i / TASKS.len()))
        .map(|(task, round)| decks[task][round % decks[task].len()])
        .collect()
}

/// All captions of a task in an order of the seed's.
fn deck(task: &str, split: Split, seed: u64) -> Vec<Ask> {
    let mut all = Ask::all(task);
    if matches!(task, "position" | "color_attr") {
        all.retain(|ask| ask.held_out());
        all.sort_by_key(|ask| ask.hash()); // an order without meaning, the same in every version
        let own = |i: usize| {
            if i.is_multiple_of(2) {
                Split::Test
            } else {
                Split::Tuning
            }
        };
        all = all
            .into_iter()
            .enumerate()
            .filter(|(i, _)| own(*i) == split)
            .map(|(_, ask)| ask)
            .collect();
    }
    let mut stream = SplitMix::new(seed);
    for place in (1..all.len()).rev() {
        all.swap(place, stream.below(place + 1));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn words(split: Split, task: &str) -> HashSet<String> {
        let all = prompts(split, 6 * 400, 1).into_iter();
        all.filter(|ask| ask.task() == task)
            .map(Ask::words)
            .collect()
    }

    #[test]
    fn splits_share_no_caption_where_there_are_enough() {
        for (task, least) in [("position", 8), ("color_attr", 100)] {
            let (test, tuning) = (words(Split::Test, task), words(Split::Tuning, task));
            assert!(
                test.is_disjoint(&tuning) && test.len() >= least && tuning.len() >= least,
                "{task}: {} and {}",
                test.len(),
                tuning.len()
            );
        }
    }

    #[test]
    fn tasks_come_in_turn_and_captions_repeat_as_late_as_possible() {
        let set = prompts(Split::Test, 300, 7);
        for task in TASKS {
            let own: Vec<&Ask> = set.iter().filter(|ask| ask.task() == task).collect();
            assert_eq!(own.len(), 50, "{task}");
            let counts: Vec<usize> = own
                .iter()
                .map(|ask| own.iter().filter(|other| *other == ask).count())
                .collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{task}: {least} to {most}");
        }
        assert_eq!(set, prompts(Split::Test, 300, 7));
        assert_ne!(set, prompts(Split::Test, 300, 8));
        assert_eq!(set[..60], prompts(Split::Test, 60, 7));
    }
}
