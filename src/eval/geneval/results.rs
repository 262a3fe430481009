//! Results in the format of GenEval's own program: one JSON object per image, for its
//! `summary_scores.py` and other programs.

use serde_json::{Value, json};

use super::Metadata;
use crate::eval::ResultRecord;

/// The line of an image. As in the original, `metadata` and `details` are JSON inside strings.
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
