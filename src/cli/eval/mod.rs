//! `ttsvar eval`: search methods side by side on prompts whose pictures can be judged. One file a suite; what they share is
//! in `hall`.

mod geneval;
mod hall;
mod judges;
mod pictures;
mod scenes;

pub(super) use geneval::run as geneval;
pub(super) use scenes::run as scenes;
