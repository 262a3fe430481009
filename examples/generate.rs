//! From a prompt to the best image: opens the demo, searches with TTS-VAR at N = 2, saves a PNG.
//!
//! `cargo run --release --example generate -- circle.png`

use std::{env, path::PathBuf};

use ttsvar::{
    Result,
    bundle::{DEMO, Device, System},
    search::{self, Plan, Prompt, Schedule, Search, Silent},
};

fn main() -> Result<()> {
    let out = env::args().nth(1).map_or_else(
        || env::temp_dir().join("ttsvar-generate.png"),
        PathBuf::from,
    );
    let system = System::open(DEMO, None, &Device::Cpu)?;
    let pipeline = system.pipeline(&system.settings())?;

    let search = Search::new(pipeline.as_ref(), system.scorer(), system.extractors());
    let plan = Plan::tts_var(pipeline.scales().len(), 2, Schedule::default())?;
    let prompt = Prompt {
        text: "a red circle and a blue square".to_owned(),
        negative: None,
    };
    let outcome = search::run(&search, &prompt, &plan, 1, &mut Silent)?;

    let best = outcome.winner();
    ttsvar::image::save(&best.image, &out)?;
    println!(
        "{}: score {:.3} after {} decodes",
        out.display(),
        best.score,
        outcome.trace.cost.decodes
    );
    Ok(())
}
