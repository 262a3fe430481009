//! The program as it is typed: what it prints, which files it writes, what it refuses.

#[path = "cli/compbench.rs"]
mod compbench;
#[path = "cli/desk.rs"]
mod desk;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/evaluating.rs"]
mod evaluating;
#[path = "cli/fetching.rs"]
mod fetching;
#[path = "cli/geneval.rs"]
mod geneval;
#[cfg(unix)]
#[path = "cli/interrupt.rs"]
mod interrupt;
#[path = "cli/measuring.rs"]
mod measuring;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/mixing.rs"]
mod mixing;
#[path = "cli/outlook.rs"]
mod outlook;
#[path = "cli/painting.rs"]
mod painting;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/refused_files.rs"]
mod refused_files;
#[path = "cli/repeating.rs"]
mod repeating;
#[path = "cli/scoring.rs"]
mod scoring;
#[path = "support/torch.rs"]
#[allow(dead_code)]
mod torch;
#[path = "cli/weights.rs"]
mod weights;
