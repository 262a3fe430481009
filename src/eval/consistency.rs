//! How much the score of an unfinished image says about the score of the finished one, scale by
//! scale: what resampling lives on (paper, section 3.3).

use serde::{Deserialize, Serialize};
use ttsvar_search::{Event, Listener, Plan, Prompt, ScoreMixer, Search, number, run};

use super::{
    Evaluation,
    log::{append_lines, read_lines},
    stats::{correlation, mean},
};
use crate::Result;

/// The scores of one row after every scale, the last one finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Path {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// The seed of the try.
    pub seed: u64,
    /// Which of the rows that were painted together.
    pub row: usize,
    /// One score for each scale.
    #[serde(with = "number::list")]
    pub scores: Vec<f32>,
}

/// How intermediate and final scores go together after one scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consistency {
    /// The scale, counted from 0.
    pub scale: usize,
    /// Pearson's correlation over all rows of all prompts.
    pub over_all: Option<f64>,
    /// The same after the mean of its prompt was subtracted from each score: what a choice among
    /// the rows of one prompt can use.
    pub within_prompts: Option<f64>,
}

/// Rows of a prompt that are compared with each other.
const ROWS: usize = 8;

/// Name of the file with a line for every row.
const PATHS: &str = "paths.jsonl";

/// Follows the rows of the first `wanted` prompts of an evaluation, one prompt after the other;
/// what the folder knows already is read from there. `done` hears of every prompt.
///
/// # Errors
/// Whatever painting and scoring fail with, or the folder cannot be written to.
pub fn measure(
    evaluation: &Evaluation,
    folder: &std::path::Path,
    wanted: usize,
    mut done: impl FnMut(),
) -> Result<Vec<Path>> {
    let file = folder.join(PATHS);
    let mut all: Vec<Path> = if wanted == 0 {
        vec![]
    } else {
        read_lines(&file)?
    };
    all.retain(|path| path.case < wanted);
    for (case, of) in evaluation.suite.cases().iter().enumerate().take(wanted) {
        let seed = evaluation.seed_of(case, 0);
        if all
            .iter()
            .filter(|path| path.case == case && path.seed == seed)
            .count()
            < ROWS
        {
            let new = paths(
                evaluation.search,
                &Prompt::from(of.prompt.as_str()),
                ROWS,
                case,
                seed,
            )?;
            append_lines(&file, &new)?;
            all.extend(new);
        }
        done();
    }
    all.sort_by_key(|path| (path.case, path.row));
    all.dedup_by_key(|path| (path.case, path.row));
    Ok(all)
}

/// Paints `rows` rows of a prompt to the end and scores each after every scale.
///
/// # Errors
/// Whatever painting and scoring fail with.
pub fn paths(
    search: &Search,
    prompt: &Prompt,
    rows: usize,
    case: usize,
    seed: u64,
) -> Result<Vec<Path>> {
    let mut looks = Looks {
        search,
        prompt,
        scores: vec![],
    };
    let plan = Plan::best_of_n(search.pipeline.scales().len(), rows)?;
    run(search, prompt, &plan, seed, &mut looks)?;
    // Several scorers are brought to the common scale of the finished images.
    let mut blend = ScoreMixer::new(&search.scorers);
    let last = looks.scores.len().saturating_sub(1);
    if let Some(finished) = looks.scores.last() {
        blend.mix(last, finished);
    }
    let scores: Vec<Vec<f32>> = looks
        .scores
        .iter()
        .map(|parts| blend.mix(last, parts))
        .collect(); // [scale][row]
    let path = |row| Path {
        case,
        seed,
        row,
        scores: scores.iter().map(|of_scale| of_scale[row]).collect(),
    };
    Ok((0..rows).map(path).collect())
}

/// Scores every image that there is to see.
struct Looks<'a> {
    search: &'a Search<'a>,
    prompt: &'a Prompt,
    /// Of each scale what each scorer said.
    scores: Vec<Vec<Vec<f32>>>,
}

impl Listener for Looks<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        if let Event::Decoded { images, .. } = event {
            self.scores
                .push(self.search.scores(&self.prompt.text, images)?);
        }
        Ok(())
    }

    fn wants_images(&self, _: usize) -> bool {
        true
    }
}

/// The correlations of all scales.
pub fn consistency(paths: &[Path]) -> Vec<Consistency> {
    let scales = paths
        .iter()
        .map(|path| path.scores.len())
        .min()
        .unwrap_or(0);
    let at = |path: &Path, scale: usize| {
        (
            f64::from(path.scores[scale]),
            f64::from(path.scores[scales - 1]),
        )
    };
    let one = |scale| {
        let pairs: Vec<(f64, f64)> = paths.iter().map(|path| at(path, scale)).collect();
        let centred: Vec<(f64, f64)> = groups(paths)
            .flat_map(|group| {
                centred(&group.iter().map(|path| at(path, scale)).collect::<Vec<_>>())
            })
            .collect();
        Consistency {
            scale,
            over_all: correlation(&pairs),
            within_prompts: correlation(&centred),
        }
    };
    (0..scales).map(one).collect()
}

/// The rows that were painted together.
fn groups(paths: &[Path]) -> impl Iterator<Item = &[Path]> {
    paths.chunk_by(|a, b| (a.case, a.seed) == (b.case, b.seed))
}

fn centred(pairs: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let centre = |of: fn(&(f64, f64)) -> f64| mean(pairs.iter().map(of)).unwrap_or(0.0);
    let (x, y) = (centre(|pair| pair.0), centre(|pair| pair.1));
    pairs.iter().map(|pair| (pair.0 - x, pair.1 - y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_no_numbers_come_back() {
        let path = Path {
            case: 0,
            seed: 1,
            row: 2,
            scores: vec![0.5, f32::NAN, f32::NEG_INFINITY],
        };
        let line = serde_json::to_string(&path).unwrap();
        assert!(line.contains(r#"[0.5,"nan","-inf"]"#), "{line}");
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<Path>(&line).unwrap()).unwrap(),
            line
        );
    }

    #[test]
    fn prompts_that_differ_in_level_do_not_count_within_prompts() {
        // The first scale knows the prompt's level only, the second everything.
        let path = |case: usize, row: usize, noise: f32| {
            let level = case as f32 * 10.0;
            Path {
                case,
                seed: 0,
                row,
                scores: vec![level + noise, level + row as f32, level + row as f32],
            }
        };
        let all: Vec<Path> = (0..6)
            .flat_map(|case| {
                [(0, 0.1), (1, -0.1), (2, 0.1)].map(|(row, noise)| path(case, row, noise))
            })
            .collect();
        let found = consistency(&all);
        assert!(found[0].over_all.unwrap() > 0.9 && found[0].within_prompts.unwrap().abs() < 0.1);
        assert!(found[1].within_prompts.unwrap() > 0.999);
    }
}
