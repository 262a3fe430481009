//! Edits: a part of an image is generated again, and the rest stays as the tokenizer knows it.

use candle_core::{Device, Tensor};
use ttsvar::{
    eval::scenes::world::Scene,
    image::Mask,
    models::bsq_vae::{self, BsqVae},
    nn::{Dtype, Weights},
    options::Options,
    request::{EditInput, Session},
    search::{Image, Method, Silent},
    system::{self, System},
};

use crate::support::var;

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

/// The finished images of an edit.
fn edited(system: &System, n: usize, rows_at_once: Option<usize>) -> Vec<Image> {
    let mut session = Session::new(system, &options(n)).unwrap();
    session = session.with_edit(input()).unwrap();
    if let Some(rows) = rows_at_once {
        session.run_at_once(Some(rows)).unwrap();
    }
    let outcome = session.run(PROMPT, 5, &mut Silent).unwrap();
    let finished = outcome.finished.into_iter();
    finished.map(|finished| finished.image).collect()
}

/// What the tokenizer makes of an image.
fn reconstructed(image: &Image) -> Image {
    let bundle = system::find_bundle(system::DEMO, None).unwrap();
    let source = bundle.vae_weights(&bsq_vae::SIGNATURE).unwrap();
    let vae = BsqVae::load(&Weights::new(source, Dtype::F32, &Device::Cpu)).unwrap();
    let pixels = image.to_chw([0.5; 3], [0.5; 3]);
    let x = Tensor::from_vec(pixels, (1, 3, SIDE, SIDE), &Device::Cpu).unwrap();
    let grids = bundle.description.generator.scales.clone().unwrap();
    let found = vae.reconstruct(&x, &grids).unwrap();
    Image::from_chw(SIDE, SIDE, &found.flatten_all().unwrap().to_vec1().unwrap())
}

/// The mean difference of two images over the columns from `from` up to `to`, of 255.
fn difference(a: &Image, b: &Image, from: usize, to: usize) -> f64 {
    let columns = |image: &Image| -> Vec<u8> {
        let rows = image.pixels().chunks(3 * SIDE);
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
    assert!(none.contains("fills no token"), "{none}");
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

#[test]
fn a_model_without_an_encoder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    var::write_bundle(folder.path(), "");
    let system = System::builder(folder.path().to_str().unwrap())
        .open()
        .unwrap();
    let class = Options {
        class: Some(3.into()),
        ..options(1)
    };
    let session = Session::new(&system, &class).unwrap();
    let error = session.with_edit(input()).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("cannot generate a part"),
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
