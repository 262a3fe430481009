//! Warnings of many searches in a few lines.

use std::collections::BTreeMap;

use ttsvar_search::Warning;

use super::Case;

/// A warning for people, with its advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarningSummary {
    /// The anomaly, and how often it occurred.
    pub text: String,
    /// The advice.
    pub advice: String,
}

/// Summarises warnings about prompts: one line per reader that cuts prompts, one for all unknown
/// words.
pub fn of_prompts(found: &[(usize, Warning)], cases: &[Case]) -> Vec<WarningSummary> {
    let mut cut: BTreeMap<&str, Vec<(usize, &Warning)>> = BTreeMap::new();
    let mut unknown: Vec<&str> = vec![];
    let mut with_unknown = 0;
    let mut advice = String::new();
    for (case, warning) in found {
        match warning {
            Warning::CutPrompt { reader, .. } => {
                cut.entry(reader).or_default().push((*case, warning));
            }
            Warning::UnknownWords { words, .. } => {
                with_unknown += 1;
                advice = warning.advice().into_owned();
                for word in words {
                    if !unknown.contains(&word.as_str()) {
                        unknown.push(word);
                    }
                }
            }
            _ => {}
        }
    }
    let mut all = vec![];
    if with_unknown > 0 {
        all.push(WarningSummary {
            text: format!(
                "the generator does not know some words in {with_unknown} of {} prompts: {}",
                cases.len(),
                shortened(&unknown)
            ),
            advice,
        });
    }
    for (reader, warnings) in cut {
        let (case, first) = warnings[0];
        all.push(WarningSummary {
            text: format!(
                "{reader} reads only the beginning of {} of {} prompts; in case {case}: {first}",
                warnings.len(),
                cases.len()
            ),
            advice: first.advice().into_owned(),
        });
    }
    all
}

/// Counts the warnings of searches that are not about prompts.
#[derive(Clone, Debug, Default)]
pub struct WarningCounts {
    searches: usize,
    counts: BTreeMap<&'static str, (usize, Option<Warning>)>,
}

impl WarningCounts {
    /// Adds the warnings of one search.
    pub fn add(&mut self, warnings: &[Warning]) {
        self.searches += 1;
        let mut seen: Vec<&str> = vec![];
        for warning in warnings {
            let kind = match warning {
                Warning::LostScores { .. } => "scores that are NaN or minus infinity",
                Warning::InfiniteScores { .. } => "infinite scores",
                Warning::AllWeightsZero { .. } => "draws without any weight",
                Warning::LostFeatures { .. } => "features that are NaN or infinite",
                _ => continue,
            };
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let (count, first) = self.counts.entry(kind).or_default();
            *count += 1;
            first.get_or_insert_with(|| warning.clone());
        }
    }

    /// One line per kind of warning.
    pub fn summaries(&self) -> Vec<WarningSummary> {
        let mut all = vec![];
        for (kind, (count, first)) in &self.counts {
            let advice = first.as_ref().map(|first| first.advice().into_owned());
            all.push(WarningSummary {
                text: format!("{count} of {} searches had {kind}", self.searches),
                advice: advice.unwrap_or_default(),
            });
        }
        all
    }
}

/// The first words, and how many more there are.
fn shortened(words: &[&str]) -> String {
    const SHOWN: usize = 20;
    let shown = words[..words.len().min(SHOWN)].join(", ");
    match words.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_about_prompts_are_summarised() {
        let case = |prompt: &str| Case {
            task: "t",
            prompt: prompt.to_owned(),
        };
        let cases = [case("a b"), case("c"), case("d")];
        let unknown = |words: &[&str]| Warning::UnknownWords {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            known: vec!["ring".to_owned()],
            negative: false,
        };
        let cut = Warning::CutPrompt {
            reader: "the scorer s".to_owned(),
            limit: 3,
            dropped: "b".to_owned(),
            negative: false,
        };
        let found = [
            (0, unknown(&["a", "b"])),
            (0, cut.clone()),
            (2, unknown(&["b", "d"])),
            (2, cut),
        ];
        let texts: Vec<String> = of_prompts(&found, &cases)
            .into_iter()
            .map(|summary| summary.text)
            .collect();
        assert_eq!(
            texts,
            [
                "the generator does not know some words in 2 of 3 prompts: a, b, d",
                "the scorer s reads only the beginning of 2 of 3 prompts; in case 0: \
                 the scorer s reads only the first 3 tokens of the prompt; it drops: b",
            ]
        );
    }

    #[test]
    fn warnings_of_searches_are_counted_once_per_search() {
        let lost = |scale| Warning::LostScores {
            scale,
            ids: vec![0],
        };
        let mut counts = WarningCounts::default();
        counts.add(&[lost(3), lost(4)]);
        counts.add(&[]);
        let summaries = counts.summaries();
        assert_eq!(summaries.len(), 1);
        assert_eq!(
            summaries[0].text,
            "1 of 2 searches had scores that are NaN or minus infinity"
        );
        assert!(summaries[0].advice.contains("check the scorer"));
    }
}
