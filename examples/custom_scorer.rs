//! A judge of one's own: Best-of-N for the reddest image, whatever the prompt says.
//!
//! `cargo run --release --example custom_scorer -- reddest.png`

use std::{env, path::PathBuf};

use ttsvar::{
    Result,
    bundle::{DEMO, Device, System},
    search::{self, Image, Plan, Prompt, Scorer, Search, Silent},
};

/// How much redder an image is than green or blue, from -1 to 1 on average over the pixels.
struct Redness;

impl Scorer for Redness {
    fn score(&self, _prompt: &str, images: &[Image]) -> search::Result<Vec<f32>> {
        let of_pixel = |rgb: &[u8]| (f32::from(rgb[0]) - f32::from(rgb[1].max(rgb[2]))) / 255.0;
        let of_image = |image: &Image| {
            let pixels = image.pixels().chunks_exact(3);
            let count = pixels.len() as f32;
            pixels.map(of_pixel).sum::<f32>() / count
        };
        Ok(images.iter().map(of_image).collect())
    }

    fn flops(&self, _images: usize) -> f64 {
        0.0 // not worth counting
    }
}

fn main() -> Result<()> {
    let out = env::args()
        .nth(1)
        .map_or_else(|| env::temp_dir().join("ttsvar-reddest.png"), PathBuf::from);
    let system = System::open(DEMO, None, &Device::Cpu)?;
    let pipeline = system.pipeline(&system.settings())?;

    let search = Search::new(pipeline.as_ref(), &Redness, system.extractors());
    let plan = Plan::best_of_n(pipeline.scales().len(), 4)?;
    let prompt = Prompt {
        text: "a circle".to_owned(),
        negative: None,
    };
    let outcome = search::run(&search, &prompt, &plan, 1, &mut Silent)?;

    for candidate in &outcome.trace.finals {
        println!("candidate {}: {:.3}", candidate.id, candidate.score);
    }
    let best = outcome.winner();
    ttsvar::image::save(&best.image, &out)?;
    println!("{}: score {:.3}", out.display(), best.score);
    Ok(())
}
