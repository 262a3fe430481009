//! Scorers rate how well an image fits its prompt. Each scorer is one file with its names, its
//! published files, its loader and its network. To add a scorer, write another file and list it in
//! [`KINDS`].

pub mod aesthetic;
pub mod clip_score;
mod head;
pub mod hps;
pub mod image_reward;
mod kind;
mod list;
mod mix;
#[cfg(feature = "remote")]
pub mod openai;
pub mod pick_score;
pub mod questions;
pub mod relation;
pub mod vqa;

pub use aesthetic::Aesthetic;
pub use clip_score::{ClipScore, Definition};
pub use hps::Hps;
pub use image_reward::ImageReward;
pub use kind::{ImageQuestions, ScorerKind, ScorerName, ScorerNetwork, ScorerSettings, kind};
pub use list::ScorerList;
pub use mix::ScorerMix;
#[cfg(feature = "remote")]
pub use openai::OpenAi;
pub use pick_score::PickScore;
pub use questions::QuestionLists;
pub use relation::RelationScorer;
pub use vqa::VqaScore;

/// Every kind of scorer.
pub static KINDS: &[&ScorerKind] = &[
    &image_reward::KIND,
    &hps::KIND,
    &pick_score::KIND,
    &clip_score::KIND,
    &aesthetic::KIND,
    &vqa::KIND,
    &vqa::XXL_KIND,
    &relation::KIND,
    #[cfg(feature = "remote")]
    &openai::KIND,
    &image_reward::DEMO_KIND,
];
