//! A custom scorer: Best-of-N for the reddest image, whatever the prompt says.
//!
//! `cargo run --release --example custom_scorer -- reddest.png`

use std::{env, path::PathBuf};

use ttsvar::{
    Result,
    options::Options,
    request::Session,
    search::{self, Image, Method, Scorer, Silent, WeightedScorer},
    system::{DEMO, System},
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
    let system = System::builder(DEMO).open()?;
    let options = Options {
        method: Some(Method::BestOfN),
        n: Some(4),
        ..Options::default()
    };
    let session = Session::new(&system, &options)?;
    let redness = WeightedScorer {
        name: "redness",
        weight: 1.0,
        scorer: &Redness,
    };
    let search = session.search().with_scorers(vec![redness]);
    let prompt = session.prompt("a circle");
    let outcome = search::run(&search, &prompt, session.plan(), 1, &mut Silent)?;

    for candidate in &outcome.trace.finals {
        println!("candidate {}: {:.3}", candidate.id, candidate.score);
    }
    let best = outcome.winner();
    ttsvar::image::save(&best.image, &out)?;
    println!("{}: score {:.3}", out.display(), best.score);
    Ok(())
}
