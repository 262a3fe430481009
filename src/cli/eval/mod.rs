//! `ttsvar eval`: search methods side by side on prompts whose pictures can be judged. One file a
//! suite; what they share is in `hall`.

mod compbench;
mod contest;
mod geneval;
mod hall;
mod judges;
mod scenes;

pub(super) use compbench::run as compbench;
pub(super) use geneval::run as geneval;
pub(super) use scenes::run as scenes;
