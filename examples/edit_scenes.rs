//! Changes the colour or the shape of one of two objects, 100 times, and says how often that worked
//! and what became of the rest of the image. `docs/command-line.md` has the result.
//!
//! `cargo run --release --example edit_scenes -- 100 edits.png`

use std::env;

use candle_core::{Device, Tensor};
use ttsvar::{
    Result,
    eval::scenes::{
        detector::detect,
        prompt::ScenePrompt,
        words::{Colour, Shape},
        world::{Scene, SceneKind, SceneObject},
    },
    image::Mask,
    models::bsq_vae::{self, BsqVae},
    nn::{Dtype, Weights},
    options::Options,
    request::{EditInput, Session},
    search::{Image, Method, Silent},
    system::{self, System},
};

const SIDE: usize = 64;

/// The first scene; those of training have other numbers.
const FIRST: u64 = 800_100_000;

/// Half the side of a mask, in radii of the object.
const REACH: f64 = 1.3;

/// Images of the numbers of candidates that are compared.
const N: [usize; 2] = [1, 8];

/// One edit: a scene, the part with its second object, and what it should show then.
struct Case {
    scene: Scene,
    prompt: ScenePrompt,
    kept: SceneObject,
    mask: Mask,
}

impl Case {
    /// Every other case changes the colour, the others the shape.
    fn new(scene: Scene, number: usize) -> Option<Self> {
        let two = matches!(scene.kind, SceneKind::Two | SceneKind::Related(_));
        let [first, second] = scene.objects[..] else {
            return None;
        };
        let mask = mask_of(&second);
        let cut = mask.holds(pixel(first.centre.0 as usize, first.centre.1 as usize))
            || touches(&mask, &first);
        if !two || cut {
            return None;
        }
        let colours = Colour::ALL
            .into_iter()
            .filter(|colour| *colour != second.colour);
        let shapes = Shape::ALL.into_iter();
        let shapes = shapes.filter(|shape| *shape != second.shape && *shape != first.shape);
        let changed = match number % 2 {
            0 => (second.shape, colours.cycle().nth(number / 2)?),
            _ => (shapes.cycle().nth(number / 2)?, second.colour),
        };
        Some(Self {
            prompt: ScenePrompt::TwoColoured([(first.shape, first.colour), changed]),
            kept: first,
            scene,
            mask,
        })
    }

    /// Returns whether an image shows what it should.
    fn succeeds(&self, image: &Image) -> bool {
        self.prompt.evaluate(&detect(image)).0
    }
}

/// Wilson's 95 % interval of a share.
fn wilson(right: usize, all: usize) -> [f64; 2] {
    let (share, all) = (right as f64 / all as f64, all as f64);
    let z = 1.96;
    let middle = share + z * z / (2.0 * all);
    let half = z * (share * (1.0 - share) / all + z * z / (4.0 * all * all)).sqrt();
    [middle - half, middle + half].map(|end| end / (1.0 + z * z / all))
}

fn pixel(x: usize, y: usize) -> usize {
    y.min(SIDE - 1) * SIDE + x.min(SIDE - 1)
}

/// A square around an object.
fn mask_of(object: &SceneObject) -> Mask {
    let (x, y) = object.centre;
    let reach = REACH * object.radius;
    Mask::new(SIDE, SIDE, |pixel| {
        let dx = (pixel % SIDE) as f64 + 0.5 - x;
        let dy = (pixel / SIDE) as f64 + 0.5 - y;
        dx.abs() <= reach && dy.abs() <= reach
    })
}

/// Returns whether a mask has a part of an object.
fn touches(mask: &Mask, object: &SceneObject) -> bool {
    (0..SIDE * SIDE).any(|pixel| {
        let dx = (pixel % SIDE) as f64 + 0.5 - object.centre.0;
        let dy = (pixel / SIDE) as f64 + 0.5 - object.centre.1;
        mask.holds(pixel) && dx.hypot(dy) <= object.radius
    })
}

/// The mean difference of two images, of 255, outside of a mask.
fn difference(a: &Image, b: &Image, mask: &Mask) -> f64 {
    let outside = (0..SIDE * SIDE).filter(|pixel| !mask.holds(*pixel));
    let pixels: Vec<usize> = outside.collect();
    let apart = |pixel: &usize| {
        let values = 3 * pixel..3 * pixel + 3;
        let pairs = a.pixels()[values.clone()].iter().zip(&b.pixels()[values]);
        pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
    };
    pixels.iter().map(apart).sum::<f64>() / (3 * pixels.len()).max(1) as f64
}

/// What the tokenizer makes of an image.
fn reconstructed(vae: &BsqVae, grids: &[(usize, usize)], image: &Image) -> Result<Image> {
    let pixels = image.to_chw([0.5; 3], [0.5; 3]);
    let x = Tensor::from_vec(pixels, (1, 3, SIDE, SIDE), &Device::Cpu)?;
    let found = vae.reconstruct(&x, grids)?.flatten_all()?;
    Ok(Image::from_chw(SIDE, SIDE, &found.to_vec1()?))
}

/// Images from left to right, rows below one another.
fn sheet(rows: &[Vec<Image>]) -> Image {
    let width = SIDE * rows[0].len();
    let mut pixels = vec![];
    for row in rows {
        for y in 0..SIDE {
            for image in row {
                pixels.extend_from_slice(&image.pixels()[3 * y * SIDE..3 * (y + 1) * SIDE]);
            }
        }
    }
    Image::new(width, SIDE * rows.len(), pixels)
}

/// The image with the inside of the mask in grey.
fn masked(image: &Image, mask: &Mask) -> Image {
    let mut pixels = image.pixels().to_vec();
    for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        if mask.holds(i) {
            pixel.fill(128);
        }
    }
    Image::new(SIDE, SIDE, pixels)
}

fn main() -> Result<()> {
    let count: usize = env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(100);
    let out = env::args().nth(2);
    let system = System::builder(system::DEMO).open()?;
    let bundle = system::find_bundle(system::DEMO, None)?;
    let source = bundle.vae_weights(&bsq_vae::SIGNATURE)?;
    let vae = BsqVae::load(&Weights::new(source, Dtype::F32, &Device::Cpu))?;
    let grids = bundle
        .description
        .generator
        .scales
        .clone()
        .unwrap_or_default();

    let mut cases = vec![];
    for seed in FIRST.. {
        if cases.len() == count {
            break;
        }
        cases.extend(Case::new(Scene::new(seed), cases.len()));
    }
    let mut right = [0; N.len()];
    let mut kept = [0; N.len()];
    let mut apart = [0.0; N.len()];
    let mut of_reconstruction = 0.0;
    let mut rows = vec![];
    for (number, case) in cases.iter().enumerate() {
        let image = case.scene.render();
        let plain = reconstructed(&vae, &grids, &image)?;
        of_reconstruction += difference(&plain, &image, &case.mask);
        let mut row = vec![image.clone(), masked(&image, &case.mask)];
        for (i, n) in N.into_iter().enumerate() {
            let options = Options {
                method: Some(Method::BestOfN),
                n: Some(n),
                ..Options::default()
            };
            let edit = EditInput {
                image: image.clone(),
                mask: case.mask.clone(),
            };
            let session = Session::new(&system, &options)?.with_edit(edit)?;
            let outcome = session.run(&case.prompt.text(), number as u64, &mut Silent)?;
            let edited = &outcome.winner().image;
            let keeps = ScenePrompt::Coloured(case.kept.shape, case.kept.colour);
            right[i] += usize::from(case.succeeds(edited));
            kept[i] += usize::from(keeps.evaluate(&detect(edited)).0);
            apart[i] += difference(edited, &plain, &case.mask);
            row.push(edited.clone());
        }
        if rows.len() < 8 {
            rows.push(row);
        }
    }
    println!("{count} edits; every other one changes the colour, the others the shape");
    println!(
        "reconstruction: {:.2} of 255 from the image",
        of_reconstruction / count as f64
    );
    for (i, n) in N.into_iter().enumerate() {
        let [low, high] = wilson(right[i], count);
        println!(
            "best of {n}: {} as asked ({low:.3} to {high:.3}), {} keep the other object, \
             {:.2} of 255 from the reconstruction outside",
            right[i],
            kept[i],
            apart[i] / count as f64
        );
    }
    if let Some(out) = out {
        ttsvar::image::save(&sheet(&rows), &out)?;
    }
    Ok(())
}
