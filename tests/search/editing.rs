//! Edits: part of an image is regenerated, and the rest stays as the tokenizer knows it.

use std::{path::Path, sync::Arc};

use candle_core::{Device, Tensor};
use tempfile::TempDir;
use ttsvar::{
    eval::scenes::world::Scene,
    hub::Bundle,
    image::{Filter, Mask, Resize},
    models::{
        bsq_vae::{self, BsqVae},
        vq_vae,
    },
    nn::{Dtype, TensorSource, Weights},
    options::Options,
    request::{EditInput, Session},
    search::{Image, Method, Silent},
    system::{self, System},
};

use crate::support::{flexar, hart, switti, var};

const SIDE: usize = 64;
const PROMPT: &str = "a photo of a red circle and a green star";

fn demo() -> System {
    System::builder("demo").open().unwrap()
}

fn scene() -> Image {
    Scene::new(800_000_003).render()
}

/// The right half.
fn mask() -> Mask {
    Mask::new(SIDE, SIDE, |pixel| pixel % SIDE >= SIDE / 2)
}

fn input() -> EditInput {
    EditInput {
        image: scene(),
        mask: mask(),
    }
}

fn options(n: usize) -> Options {
    Options {
        method: Some(Method::BestOfN),
        n: Some(n),
        ..Options::default()
    }
}

/// The finished images of an edit of the demo.
fn edited(system: &System, n: usize, rows_at_once: Option<usize>) -> Vec<Image> {
    let session = Session::new(system, &options(n)).unwrap();
    finished(session.with_edit(input()).unwrap(), PROMPT, rows_at_once)
}

/// The finished images of a session.
fn finished(mut session: Session, prompt: &str, rows_at_once: Option<usize>) -> Vec<Image> {
    if let Some(rows) = rows_at_once {
        session.run_at_once(Some(rows)).unwrap();
    }
    let outcome = session.run(prompt, 5, &mut Silent).unwrap();
    let finished = outcome.finished.into_iter();
    finished.map(|finished| finished.image).collect()
}

/// What the tokenizer makes of an image.
fn reconstructed(image: &Image) -> Image {
    let bundle = system::find_bundle(system::DEMO, None).unwrap();
    let vae = BsqVae::load(&weights(bundle.vae_weights(&bsq_vae::SIGNATURE).unwrap()));
    let grids = bundle.description.generator.scales.clone().unwrap();
    from_tensor(&vae.unwrap().reconstruct(&to_tensor(image), &grids).unwrap())
}

fn weights(source: Arc<dyn TensorSource>) -> Weights {
    Weights::new(source, Dtype::F32, &Device::Cpu)
}

/// (1, 3, height, width) in [-1, 1]
fn to_tensor(image: &Image) -> Tensor {
    let shape = (1, 3, image.height(), image.width());
    Tensor::from_vec(image.to_chw([0.5; 3], [0.5; 3]), shape, &Device::Cpu).unwrap()
}

fn from_tensor(x: &Tensor) -> Image {
    let (_, _, height, width) = x.dims4().unwrap();
    Image::from_chw(width, height, &x.flatten_all().unwrap().to_vec1().unwrap())
}

/// The mean difference of two images over the columns from `from` up to `to`, of 255.
fn difference(a: &Image, b: &Image, from: usize, to: usize) -> f64 {
    let columns = |image: &Image| -> Vec<u8> {
        let rows = image.pixels().chunks(3 * image.width());
        rows.flat_map(|row| row[3 * from..3 * to].to_vec())
            .collect()
    };
    let (a, b) = (columns(a), columns(b));
    let apart = a.iter().zip(&b).map(|(a, b)| f64::from(a.abs_diff(*b)));
    apart.sum::<f64>() / a.len() as f64
}

#[test]
fn outside_of_the_mask_an_image_is_its_reconstruction() {
    let demo = demo();
    let scene = scene();
    let plain = reconstructed(&scene);
    for image in edited(&demo, 4, None) {
        let outside = difference(&image, &plain, 0, SIDE / 2);
        let inside = difference(&image, &plain, SIDE / 2, SIDE);
        println!("outside {outside:.2}, inside {inside:.2} of 255 from the reconstruction");
        assert!(outside <= 0.01, "{outside}"); // rounding
        assert!(inside > 10.0, "the inside is new: {inside}");
    }
}

#[test]
fn outside_of_the_mask_the_latent_is_that_of_the_reconstruction() {
    let demo = demo();
    let session = Session::new(&demo, &options(1)).unwrap();
    let session = session.with_edit(input()).unwrap();
    let pipeline = session.pipeline();
    let finished = |seed: u64| {
        let mut rollout = pipeline.begin(&PROMPT.into(), 0..1, seed).unwrap();
        for _ in pipeline.scales() {
            rollout.step().unwrap();
        }
        rollout.latents(&[0]).unwrap().remove(0).map
    };
    let (one, other) = (finished(1), finished(2));
    let (width, cells) = (one.width, one.width * one.height);
    let outside = |value: &usize| value % cells % width < width / 2;
    let values = 0..one.values.len();
    let apart = |value: usize| one.values[value] != other.values[value];
    assert!(values.clone().filter(outside).all(|value| !apart(value)));
    assert!(values.filter(|value| !outside(value)).any(apart));
}

#[test]
fn an_edit_depends_on_neither_batch_nor_chunks() {
    let demo = demo();
    let together = edited(&demo, 4, None);
    assert_eq!(together, edited(&demo, 4, Some(1)));
    assert_eq!(together[..2], edited(&demo, 2, None)[..]);
    assert_ne!(together[0], together[1]);
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let demo = demo();
    let refused = |input: EditInput| {
        let session = Session::new(&demo, &options(1)).unwrap();
        session
            .with_edit(input)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let with_mask = |mask: Mask| EditInput {
        image: scene(),
        mask,
    };
    let none = refused(with_mask(Mask::new(SIDE, SIDE, |_| false)));
    assert!(none.contains("less than a fifth of every token"), "{none}");
    let all = refused(with_mask(Mask::new(SIDE, SIDE, |_| true)));
    assert!(all.contains("the whole image"), "{all}");
    let small = refused(with_mask(Mask::new(32, 64, |_| true)));
    assert!(small.contains("its mask 32 x 64"), "{small}");
    let wide = refused(EditInput {
        image: Image::new(128, 64, vec![0; 3 * 128 * 64]),
        mask: Mask::new(128, 64, |pixel| pixel < 64),
    });
    assert!(wide.contains("64 x 64 are generated"), "{wide}");
}

/// A recorded model whose tokens are codes of a codebook.
struct CodebookCase {
    folder: TempDir,
    /// Writes its bundle into a folder.
    write: fn(&Path),
    prompt: &'static str,
    /// Whether the last scale adds what the codes leave over: then the decoder sees the latent.
    has_residual: bool,
}

impl CodebookCase {
    fn new(write: fn(&Path), prompt: &'static str, has_residual: bool) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            write,
            prompt,
            has_residual,
        }
    }

    fn open(&self, dtype: Dtype) -> System {
        (self.write)(self.folder.path());
        let system = System::builder(self.folder.path().to_str().unwrap());
        system.dtype(dtype).open().unwrap()
    }

    /// What the tokenizer makes of an image over these grids.
    fn reconstructed(&self, image: &Image, grids: &[(usize, usize)]) -> Image {
        let bundle = Bundle::open(self.folder.path()).unwrap();
        let weights = weights(bundle.vae_weights(&vq_vae::SIGNATURE).unwrap());
        let encoder = vq_vae::Encoder::load(&weights).unwrap();
        let (quantizer, decoder) = vq_vae::load_for_images(&weights).unwrap();
        let latent = encoder.forward(&to_tensor(image)).unwrap();
        let scales = quantizer.quantize(&latent, grids).unwrap();
        let sum = match self.has_residual {
            true => &latent,
            false => &scales.last().unwrap().sum,
        };
        from_tensor(&decoder.forward(sum).unwrap())
    }
}

/// What the tokenizers of all families but Infinity's make of the outside of a mask.
#[test]
fn every_model_with_a_codebook_edits() {
    let cases = [
        CodebookCase::new(
            |folder| var::write_bundle(folder, ""),
            "a photo of a class 3",
            false,
        ),
        CodebookCase::new(
            |folder| hart::write_bundle(folder, "ema_model.bin"),
            PROMPT,
            true,
        ),
        CodebookCase::new(
            |folder| switti::write_bundle(folder, "switti"),
            PROMPT,
            false,
        ),
    ];
    for case in cases {
        let system = case.open(Dtype::F32);
        let session = |n: usize| Session::new(&system, &options(n)).unwrap();
        let pipeline_of = session(1);
        let (height, width) = pipeline_of.pipeline().image_size();
        let scales = pipeline_of.pipeline().scales();
        let grids: Vec<_> = scales.iter().map(|s| (s.height, s.width)).collect();
        let image = scene().resize(width, height, Filter::Bicubic);
        let input = EditInput {
            image: image.clone(),
            mask: Mask::new(width, height, |pixel| pixel % width >= width / 2),
        };
        let plain = case.reconstructed(&image, &grids);
        let edited = |n: usize, rows_at_once: Option<usize>| {
            let session = session(n).with_edit(input.clone()).unwrap();
            finished(session, case.prompt, rows_at_once)
        };
        let together = edited(3, None);
        for image in &together {
            let outside = difference(image, &plain, 0, width / 2);
            let inside = difference(image, &plain, width / 2, width);
            println!("outside {outside:.3}, inside {inside:.2} of 255");
            assert!(outside <= 0.01, "{outside}"); // rounding
            assert!(inside > 1.0, "the inside is new: {inside}");
        }
        assert_ne!(together[0], together[1]);
        assert_eq!(together, edited(3, Some(1)));
        assert_eq!(together[..2], edited(2, None)[..]);

        let system = case.open(Dtype::Bf16);
        // Rounding may choose other codes for the image, but the same for all candidates.
        let session = Session::new(&system, &options(2)).unwrap();
        let rounded = finished(session.with_edit(input.clone()).unwrap(), case.prompt, None);
        let outside = difference(&rounded[0], &rounded[1], 0, width / 2);
        assert!(outside <= 0.01, "{outside}");
        assert_ne!(rounded[0], rounded[1]);
    }
}

/// The tokens of FlexAR have no place in an image.
#[test]
fn a_model_without_a_grid_of_tokens_says_so() {
    let folder = tempfile::tempdir().unwrap();
    flexar::write_bundle(folder.path(), "t2i");
    let system = System::builder(folder.path().to_str().unwrap())
        .open()
        .unwrap();
    let session = Session::new(&system, &options(1)).unwrap();
    let error = session.with_edit(input()).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("cannot regenerate part"),
        "{error}"
    );
}

#[test]
fn the_record_names_the_edit() {
    let demo = demo();
    let session = Session::new(&demo, &options(1)).unwrap();
    let session = session.with_edit(input()).unwrap();
    let settings = session.settings();
    let name = settings["edit"].as_str().unwrap();
    assert_eq!(name.len(), 16);
    let session = Session::new(&demo, &options(1)).unwrap();
    assert!(!session.settings().contains_key("edit"));
}
