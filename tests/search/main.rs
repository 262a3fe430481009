//! The search: its invariants, plans and scores, and what must not change an image.

mod blend;
mod demo;
mod editing;
mod flexar;
mod hart;
mod invariants;
mod loading;
mod lookahead;
mod memory;
mod per_scale;
mod plans;
mod precision;
mod prompts;
mod relations;
mod steering;
#[path = "../support/mod.rs"]
mod support;
mod suspension;
mod switti;
mod tokens;
mod var;
mod verifier;
mod vision_server;
