//! How well the score of an unfinished image predicts that of the finished one, scale by scale:
//! resampling relies on it (paper, section 3.3).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use ttsvar_search::{Event, Listener, Plan, Prompt, ScoreMixer, Search, number, run};

use super::{
    Evaluation,
    log::{append_lines, read_lines, wrong_line},
    stats::{correlation, mean},
};
use crate::{Error, Result};

/// The scores of one row after every scale; the last is that of the finished image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorePath {
    /// Place of the prompt in the suite.
    pub case: usize,
    /// The seed of the sample.
    pub seed: u64,
    /// Number of the row in the batch.
    pub row: usize,
    /// One score per scale.
    #[serde(with = "number::list")]
    pub scores: Vec<f32>,
}

/// Correlation of the scores after one scale with the final scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Consistency {
    /// The scale, counted from 0.
    pub scale: usize,
    /// Pearson's correlation over all rows of all prompts.
    pub over_all: Option<f64>,
    /// The same after subtracting the mean of its prompt from each score: the part that a selection
    /// among the rows of one prompt can use.
    pub within_prompts: Option<f64>,
}

/// Rows per prompt.
const ROWS: usize = 8;

/// Name of the file with one line per row.
const PATHS: &str = "paths.jsonl";

/// The file with the scores of the rows of the first prompts of an evaluation.
#[derive(Clone, Debug)]
pub struct PathLog {
    file: PathBuf,
    /// The seed of the first sample of each of these prompts.
    seeds: Vec<u64>,
    known: BTreeMap<(usize, usize), ScorePath>,
}

impl PathLog {
    /// Reads the file in a folder, if it exists; `seeds` has one seed per prompt.
    ///
    /// # Errors
    /// The file cannot be read, or a line does not belong to the evaluation.
    pub fn open(folder: &Path, seeds: Vec<u64>) -> Result<Self> {
        let mut log = Self {
            file: folder.join(PATHS),
            seeds,
            known: BTreeMap::new(),
        };
        if log.seeds.is_empty() {
            return Ok(log);
        }
        for (line, path) in read_lines::<ScorePath>(&log.file)? {
            log.insert(path)
                .map_err(|what| wrong_line(&log.file, line, &what))?;
        }
        Ok(log)
    }

    /// Adds a row; rows of later prompts are passed over.
    fn insert(&mut self, path: ScorePath) -> Result<(), String> {
        let Some(&seed) = self.seeds.get(path.case) else {
            return Ok(());
        };
        if path.seed != seed || path.row >= ROWS {
            return Err(format!(
                "row {} with the seed {} does not belong to this evaluation",
                path.row, path.seed
            ));
        }
        let length = self
            .known
            .values()
            .next()
            .map_or(path.scores.len(), |first| first.scores.len());
        if path.scores.len() != length {
            return Err(format!("{} scores, expected {length}", path.scores.len()));
        }
        let same = |known: &ScorePath| {
            let bits =
                |path: &ScorePath| path.scores.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
            bits(known) == bits(&path)
        };
        match self.known.get(&(path.case, path.row)) {
            Some(known) if !same(known) => Err(format!(
                "other scores than an earlier line for row {} of case {}",
                path.row, path.case
            )),
            Some(_) => Ok(()),
            None => {
                self.known.insert((path.case, path.row), path);
                Ok(())
            }
        }
    }

    /// The prompts whose rows are not all in the file.
    pub fn pending(&self) -> Vec<usize> {
        (0..self.seeds.len())
            .filter(|&case| (0..ROWS).any(|row| !self.known.contains_key(&(case, row))))
            .collect()
    }

    /// Writes the rows of a prompt.
    ///
    /// # Errors
    /// They do not belong to the evaluation, or the file cannot be written to.
    pub fn add(&mut self, paths: Vec<ScorePath>) -> Result<()> {
        let mut new = vec![];
        for path in paths {
            let known = self.known.contains_key(&(path.case, path.row));
            self.insert(path.clone()).map_err(Error::input)?;
            new.extend((!known).then_some(path));
        }
        append_lines(&self.file, &new)
    }

    /// All rows, by prompt and row.
    pub fn all(&self) -> Vec<ScorePath> {
        self.known.values().cloned().collect()
    }
}

/// Scores the rows of the first `count` prompts of an evaluation after every scale. Rows that the
/// folder already contains are read from there. `done` is called after every prompt.
///
/// # Errors
/// Generating or scoring fails, or the folder cannot be written to.
pub fn measure(
    evaluation: &Evaluation,
    folder: &Path,
    count: usize,
    mut done: impl FnMut(),
) -> Result<Vec<ScorePath>> {
    let count = count.min(evaluation.suite.cases().len());
    let seeds = (0..count).map(|case| evaluation.seed_of(case, 0)).collect();
    let mut log = PathLog::open(folder, seeds)?;
    let pending = log.pending();
    (pending.len()..count).for_each(|_| done());
    for case in pending {
        log.add(paths_of(evaluation, case)?)?;
        done();
    }
    Ok(log.all())
}

/// The rows of the first sample of a prompt of an evaluation, scored after every scale.
///
/// # Errors
/// Generating or scoring fails, or there is no such prompt.
pub fn paths_of(evaluation: &Evaluation, case: usize) -> Result<Vec<ScorePath>> {
    if case >= evaluation.suite.cases().len() {
        return Err(Error::input(format!("there is no prompt {case}")));
    }
    let seed = evaluation.seed_of(case, 0);
    paths(
        evaluation.search,
        &evaluation.prompt(case),
        ROWS,
        case,
        seed,
    )
}

/// Generates `rows` rows of a prompt and scores each after every scale.
///
/// # Errors
/// Generating or scoring fails.
pub fn paths(
    search: &Search,
    prompt: &Prompt,
    rows: usize,
    case: usize,
    seed: u64,
) -> Result<Vec<ScorePath>> {
    let mut collector = ScoreCollector {
        search,
        prompt,
        scores: vec![],
    };
    let plan = Plan::best_of_n(search.pipeline.scales().len(), rows)?;
    run(search, prompt, &plan, seed, &mut collector)?;
    // Several scorers are standardised by the finished images.
    let mut mixer = ScoreMixer::new(&search.scorers);
    let last = collector.scores.len().saturating_sub(1);
    if let Some(finished) = collector.scores.last() {
        mixer.mix(last, finished);
    }
    let by_scale: Vec<Vec<f32>> = collector
        .scores
        .iter()
        .map(|parts| mixer.mix(last, parts))
        .collect();
    let mut paths = vec![];
    for row in 0..rows {
        paths.push(ScorePath {
            case,
            seed,
            row,
            scores: by_scale.iter().map(|scores| scores[row]).collect(),
        });
    }
    Ok(paths)
}

/// Scores the images of every scale.
struct ScoreCollector<'a> {
    search: &'a Search<'a>,
    prompt: &'a Prompt,
    /// For each scale, the scores of each scorer.
    scores: Vec<Vec<Vec<f32>>>,
}

impl Listener for ScoreCollector<'_> {
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
pub fn consistency(paths: &[ScorePath]) -> Vec<Consistency> {
    let scales = paths
        .iter()
        .map(|path| path.scores.len())
        .min()
        .unwrap_or(0);
    (0..scales)
        .map(|scale| at_scale(paths, scale, scales - 1))
        .collect()
}

/// The correlations of the scores after `scale` with those after `last`.
fn at_scale(paths: &[ScorePath], scale: usize, last: usize) -> Consistency {
    let pair = |path: &ScorePath| (f64::from(path.scores[scale]), f64::from(path.scores[last]));
    let pairs: Vec<(f64, f64)> = paths.iter().map(pair).collect();
    let mut centred_pairs = vec![];
    for group in groups(paths) {
        let pairs: Vec<(f64, f64)> = group.iter().map(pair).collect();
        centred_pairs.extend(centred(&pairs));
    }
    Consistency {
        scale,
        over_all: correlation(&pairs),
        within_prompts: correlation(&centred_pairs),
    }
}

/// The rows of each prompt and seed.
fn groups(paths: &[ScorePath]) -> impl Iterator<Item = &[ScorePath]> {
    paths.chunk_by(|a, b| (a.case, a.seed) == (b.case, b.seed))
}

/// The pairs with their mean subtracted.
fn centred(pairs: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let x = mean(pairs.iter().map(|pair| pair.0)).unwrap_or(0.0);
    let y = mean(pairs.iter().map(|pair| pair.1)).unwrap_or(0.0);
    pairs.iter().map(|pair| (pair.0 - x, pair.1 - y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_scores_are_restored() {
        let path = ScorePath {
            case: 0,
            seed: 1,
            row: 2,
            scores: vec![0.5, f32::NAN, f32::NEG_INFINITY],
        };
        let line = serde_json::to_string(&path).unwrap();
        assert!(line.contains(r#"[0.5,"nan","-inf"]"#), "{line}");
        assert_eq!(
            serde_json::to_string(&serde_json::from_str::<ScorePath>(&line).unwrap()).unwrap(),
            line
        );
    }

    #[test]
    fn prompts_that_differ_in_level_do_not_count_within_prompts() {
        // The first scale knows only the prompt's level, the second everything.
        let path = |case: usize, row: usize, noise: f32| {
            let level = case as f32 * 10.0;
            ScorePath {
                case,
                seed: 0,
                row,
                scores: vec![level + noise, level + row as f32, level + row as f32],
            }
        };
        let all: Vec<ScorePath> = (0..6)
            .flat_map(|case| {
                [(0, 0.1), (1, -0.1), (2, 0.1)].map(|(row, noise)| path(case, row, noise))
            })
            .collect();
        let found = consistency(&all);
        assert!(found[0].over_all.unwrap() > 0.9 && found[0].within_prompts.unwrap().abs() < 0.1);
        assert!(found[1].within_prompts.unwrap() > 0.999);
    }
}
