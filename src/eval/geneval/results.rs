//! Results in the form of GenEval's own program: one JSON object a picture, for its
//! `summary_scores.py` and other readers.

use serde_json::{Value, json};

use super::Metadata;
use crate::eval::ResultRecord;

/// The line of a picture. As there, `metadata` and `details` are JSON inside a text.
pub fn line(filename: &str, metadata: &Metadata, record: &ResultRecord) -> Value {
    let details = record
        .details
        .as_ref()
        .map_or_else(|| "{}".to_owned(), Value::to_string);
    json!({
        "filename": filename,
        "tag": metadata.tag,
        "prompt": metadata.prompt,
        "correct": record.correct >= 0.5,
        "reason": record.reason,
        "metadata": Value::Object(metadata.line.clone()).to_string(),
        "details": details,
    })
}
