//! Results in the files of T2I-CompBench's own programs: `annotation_blip/vqa_result.json` and so
//! on, one folder per category.

use serde_json::{Value, json};

use super::Category;
use crate::eval::ResultRecord;

/// Names of the parts of a score in a record's details.
pub(super) const ATTRIBUTES: &str = "attributes";
pub(super) const RELATION: &str = "relation";
pub(super) const LIKENESS: &str = "likeness";
pub(super) const NUMBERS: &str = "numbers";

/// A file: its path relative to the category's folder, and its text.
pub type ResultFile = (String, String);

/// A list of scores in the original's format.
struct ScoreList {
    /// The part of the details that it contains; `None` for the whole score.
    part: Option<&'static str>,
    folder: &'static str,
    /// The file with the mean, if the original writes one.
    mean: Option<&'static str>,
}

impl Category {
    fn lists(self) -> Vec<ScoreList> {
        let folder = self.results();
        let blip = ScoreList {
            part: Some(ATTRIBUTES),
            folder: Self::Color.results(),
            mean: Some("blip_vqa_score.txt"),
        };
        let boxes = ScoreList {
            part: Some(RELATION),
            folder: Self::Spatial.results(),
            mean: Some("avg_score.txt"),
        };
        let clip = ScoreList {
            part: Some(LIKENESS),
            folder: Self::NonSpatial.results(),
            mean: None,
        };
        match self {
            Self::Color | Self::Shape | Self::Texture => vec![blip],
            Self::Spatial => vec![boxes],
            Self::NonSpatial => vec![clip],
            Self::Numeracy => vec![ScoreList {
                part: Some(NUMBERS),
                folder,
                mean: Some("score.txt"),
            }],
            Self::Complex => vec![
                blip,
                boxes,
                clip,
                ScoreList {
                    part: None,
                    folder,
                    mean: Some("vqa_score.txt"),
                },
            ],
        }
    }
}

/// The files of a category. Records come with the numbers of their images, sorted by them.
pub fn files(category: Category, records: &[(usize, &ResultRecord)]) -> Vec<ResultFile> {
    let mut files = vec![];
    for list in category.lists() {
        let answer = |record: &ResultRecord| match list.part {
            Some(part) => record.details.as_ref()?.get(part).cloned(),
            None => Some(record.correct.into()),
        };
        let answers: Vec<(usize, Value)> = records
            .iter()
            .filter_map(|(number, record)| Some((*number, answer(record)?)))
            .collect();
        let lines = answers
            .iter()
            .map(|(number, answer)| json!({"question_id": number, "answer": answer}));
        files.push((
            format!("{}/vqa_result.json", list.folder),
            Value::from_iter(lines).to_string(),
        ));
        let values = answers.iter().filter_map(|(_, answer)| number(answer));
        if let Some(name) = list.mean {
            let path = format!("{}/{name}", list.folder);
            files.push((path, mean_line(name, values.collect())));
        }
    }
    files
}

/// The number of an answer; BLIP's scores are strings.
fn number(answer: &Value) -> Option<f64> {
    answer.as_f64().or_else(|| answer.as_str()?.parse().ok())
}

/// The mean in the format of the original.
fn mean_line(file: &str, values: Vec<f64>) -> String {
    let total = values.iter().sum::<f64>();
    let count = values.len();
    let mean = total / count.max(1) as f64;
    match file {
        "blip_vqa_score.txt" => format!("BLIP-VQA score:{mean}"),
        "score.txt" => format!("total:{total} num:{count} avg:{mean}"),
        _ => format!("score avg:{mean}"),
    }
}
