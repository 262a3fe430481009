//! From a prompt to the best image: opens the demo, searches with TTS-VAR at N = 2, saves a PNG.
//!
//! `cargo run --release --example generate -- circle.png`

use std::{env, path::PathBuf};

use ttsvar::{
    Result, image,
    options::Options,
    request::Session,
    search::{Method, Silent},
    system::{DEMO, System},
};

fn main() -> Result<()> {
    let default = || env::temp_dir().join("ttsvar-generate.png");
    let out = env::args().nth(1).map_or_else(default, PathBuf::from);
    let system = System::builder(DEMO).open()?;
    let options = Options {
        method: Some(Method::TtsVar),
        n: Some(2),
        ..Options::default()
    };
    let session = Session::new(&system, &options)?;
    let outcome = session.run("a red circle and a blue star", 1, &mut Silent)?;

    let best = outcome.winner();
    image::save(&best.image, &out)?;
    println!(
        "{}: score {:.3} after {} decodes",
        out.display(),
        best.score,
        outcome.trace.cost.decodes
    );
    Ok(())
}
