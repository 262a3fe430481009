//! Results in the files of T2I-CompBench's own programs: `annotation_blip/vqa_result.json` and so
//! on, a folder a category.

use serde_json::{Value, json};

use super::Category;
use crate::eval::ResultRecord;

/// Names of the parts of a score in a record's details.
pub(super) const ATTRIBUTES: &str = "attributes";
pub(super) const RELATION: &str = "relation";
pub(super) const LIKENESS: &str = "likeness";
pub(super) const NUMBERS: &str = "numbers";

/// A file: its way from the category's folder, and its text.
pub type Named = (String, String);

/// A list of scores as the original keeps it.
struct List {
    /// What of the details it holds; the whole score if nothing.
    part: Option<&'static str>,
    folder: &'static str,
    /// The file with the mean, where the original writes one.
    mean: Option<&'static str>,
}

impl Category {
    fn lists(self) -> Vec<List> {
        let folder = self.results();
        let blip = List {
            part: Some(ATTRIBUTES),
            folder: Self::Color.results(),
            mean: Some("blip_vqa_score.txt"),
        };
        let boxes = List {
            part: Some(RELATION),
            folder: Self::Spatial.results(),
            mean: Some("avg_score.txt"),
        };
        let clip = List {
            part: Some(LIKENESS),
            folder: Self::NonSpatial.results(),
            mean: None,
        };
        match self {
            Self::Color | Self::Shape | Self::Texture => vec![blip],
            Self::Spatial => vec![boxes],
            Self::NonSpatial => vec![clip],
            Self::Numeracy => vec![List {
                part: Some(NUMBERS),
                folder,
                mean: Some("score.txt"),
            }],
            Self::Complex => vec![
                blip,
                boxes,
                clip,
                List {
                    part: None,
                    folder,
                    mean: Some("vqa_score.txt"),
                },
            ],
        }
    }
}

/// The files of a category. Records come with the numbers of their pictures, and sorted by them.
pub fn files(category: Category, records: &[(usize, &ResultRecord)]) -> Vec<Named> {
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
        files.extend(list.mean.map(|name| {
            (
                format!("{}/{name}", list.folder),
                mean(name, values.collect()),
            )
        }));
    }
    files
}

/// BLIP's scores are kept as texts.
fn number(answer: &Value) -> Option<f64> {
    answer.as_f64().or_else(|| answer.as_str()?.parse().ok())
}

/// The mean in the words of the original.
fn mean(file: &str, values: Vec<f64>) -> String {
    let (total, count) = (values.iter().sum::<f64>(), values.len());
    let mean = total / count.max(1) as f64;
    match file {
        "blip_vqa_score.txt" => format!("BLIP-VQA score:{mean}"),
        "score.txt" => format!("total:{total} num:{count} avg:{mean}"),
        _ => format!("score avg:{mean}"),
    }
}
