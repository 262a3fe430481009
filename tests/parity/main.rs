//! The networks and the selection against recordings of the original programs.

mod aesthetic;
mod blip_vqa;
mod clip;
mod dinov2;
mod flexar;
mod flextok;
mod geneval;
mod hart;
mod hpsv2;
mod image;
mod imagereward;
mod infinity;
mod mask2former;
mod mt19937;
mod sampler;
mod selection;
mod soto;
#[path = "../support/mod.rs"]
mod support;
mod switti;
mod text;
mod tts_loop;
mod var;
mod verifier;
mod vqascore;
