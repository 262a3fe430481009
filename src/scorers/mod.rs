//! How well an image fits its prompt, as a number.

pub mod aesthetic;
pub mod clip_score;
mod head;
pub mod hps;
pub mod image_reward;

pub use aesthetic::Aesthetic;
pub use clip_score::{ClipScore, Definition};
pub use hps::Hps;
pub use image_reward::ImageReward;
