//! A search over a toy generator: every scale adds random light to an image of one pixel.
use std::{collections::BTreeMap, ops::Range};

use ttsvar_search::{
    DecodeSize, FeatureMap, Image, Latent, Method, Pipeline, Prompt, Result, Rollout, Scale,
    Search, Silent, StepCounts,
    rng::{Lineage, Stream},
    run,
};

const SCALES: [Scale; 10] = [Scale::square(1); 10];

struct Toy;

struct ToyRollout {
    rows: Vec<(Lineage, f32)>, // each with its light so far
    seed: u64,
    scale: usize,
}

impl Pipeline for Toy {
    fn scales(&self) -> &[Scale] {
        &SCALES
    }
    fn image_size(&self) -> (usize, usize) {
        (1, 1)
    }
    fn begin(&self, _: &Prompt, rows: Range<usize>, seed: u64) -> Result<Box<dyn Rollout + '_>> {
        let rows = rows.map(|row| (Lineage::root(row), 0.0)).collect();
        let scale = 0;
        Ok(Box::new(ToyRollout { rows, seed, scale }))
    }
}

impl Rollout for ToyRollout {
    fn rows(&self) -> usize {
        self.rows.len()
    }
    fn step(&mut self) -> Result<StepCounts> {
        for (lineage, light) in &mut self.rows {
            *light += 25.0 * Stream::sample(self.seed, *lineage, self.scale).uniform();
        }
        self.scale += 1;
        Ok(StepCounts::unguided(self.rows.len()))
    }
    fn images(&self, rows: &[usize], _: DecodeSize) -> Result<Vec<Image>> {
        let image = |row: &usize| Image::new(1, 1, vec![self.rows[*row].1 as u8; 3]);
        Ok(rows.iter().map(image).collect())
    }
    fn latents(&self, rows: &[usize]) -> Result<Vec<Latent>> {
        let latent = |row: &usize| Ok(FeatureMap::new(1, 1, 1, vec![self.rows[*row].1])?.into());
        rows.iter().map(latent).collect()
    }
    fn fork<'r>(&self, rows: &[usize]) -> Result<Box<dyn Rollout + 'r>> {
        let rows = rows.iter().map(|row| self.rows[*row]).collect();
        Ok(Box::new(ToyRollout { rows, ..*self }))
    }
    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        let parents = std::mem::take(&mut self.rows);
        for (i, row) in rows.iter().enumerate() {
            let copies = rows[..i].iter().filter(|other| *other == row).count();
            let (lineage, light) = parents[*row];
            self.rows
                .push((lineage.copy(self.scale - 1, copies), light));
        }
        Ok(())
    }
}

fn brightness(_: &str, images: &[Image]) -> Result<Vec<f32>> {
    let brightness = |image: &Image| f32::from(image.pixels()[0]);
    Ok(images.iter().map(brightness).collect())
}

fn main() -> Result<()> {
    let features = BTreeMap::new();
    let search = Search::new(&Toy, &brightness, &features);
    let prompt = "light".into();
    for (method, n) in [(Method::Raw, 1), (Method::BestOfN, 8), (Method::Beam, 8)] {
        let plan = method.plan(SCALES.len(), n)?;
        let outcome = run(&search, &prompt, &plan, 7, &mut Silent)?;
        let score = outcome.winner().score;
        println!("{method}, N = {n}: brightness {score}");
    }
    Ok(())
}
