//! The networks: tensors in, tensors out. They know no files, prompts or scores.

pub mod dinov2;
