//! Sets of prompts, evenly distributed over the six tasks, for testing or tuning.

use std::{fmt, str::FromStr};

use super::{
    prompt::{ScenePrompt, TASKS},
    world::SplitMix,
};
use crate::{Error, Result};
use ttsvar_search::suggestion::suggest;

/// The purpose of a prompt set. Settings chosen on one split are measured on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// Reported results.
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
            _ => Err(
                Error::input(format!("unknown split `{text}`")).with_hint(suggest(
                    text,
                    &["test", "tuning"],
                    "expected `test` or `tuning`",
                )),
            ),
        }
    }
}

/// Returns `count` prompts, cycling through the tasks.
///
/// Position and colour attribution only use combinations that training never saw; each split has
/// half of them. The other tasks have too few captions for that and share them. A task uses all of
/// its captions, in an order that depends on the seed, before it repeats one.
pub fn prompts(split: Split, count: usize, seed: u64) -> Vec<ScenePrompt> {
    let decks: Vec<Vec<ScenePrompt>> = (0u64..)
        .zip(TASKS)
        .map(|(i, task)| deck(task, split, seed.wrapping_mul(6).wrapping_add(i)))
        .collect();
    (0..count)
        .map(|i| (i % TASKS.len(), i / TASKS.len()))
        .map(|(task, round)| decks[task][round % decks[task].len()])
        .collect()
}

/// All captions of a task, shuffled by the seed.
fn deck(task: &str, split: Split, seed: u64) -> Vec<ScenePrompt> {
    let mut all = ScenePrompt::all(task);
    if matches!(task, "position" | "color_attr") {
        all.retain(|prompt| prompt.held_out());
        // An arbitrary order that is the same in every version.
        all.sort_by_key(|prompt| prompt.hash());
        let first = match split {
            Split::Test => 0,
            Split::Tuning => 1,
        };
        all = all.into_iter().skip(first).step_by(2).collect();
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

    fn texts(split: Split, task: &str) -> HashSet<String> {
        let all = prompts(split, 6 * 400, 1).into_iter();
        all.filter(|prompt| prompt.task() == task)
            .map(ScenePrompt::text)
            .collect()
    }

    #[test]
    fn splits_share_no_caption_where_there_are_enough() {
        for (task, least) in [("position", 8), ("color_attr", 100)] {
            let test = texts(Split::Test, task);
            let tuning = texts(Split::Tuning, task);
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
            let of_task: Vec<&ScenePrompt> =
                set.iter().filter(|prompt| prompt.task() == task).collect();
            assert_eq!(of_task.len(), 50, "{task}");
            let counts: Vec<usize> = of_task
                .iter()
                .map(|prompt| of_task.iter().filter(|other| *other == prompt).count())
                .collect();
            let least = counts.iter().min().unwrap();
            let most = counts.iter().max().unwrap();
            assert!(most - least <= 1, "{task}: {least} to {most}");
        }
        assert_eq!(set, prompts(Split::Test, 300, 7));
        assert_ne!(set, prompts(Split::Test, 300, 8));
        assert_eq!(set[..60], prompts(Split::Test, 60, 7));
    }
}
