//! HART, from prompt to image, and what must not change an image.

use std::sync::OnceLock;

use tempfile::TempDir;
use ttsvar::{
    loading::Dtype,
    options::{Options, Preview},
    request::Session,
    search::{Cost, DecodeSize, Image, Method, Outcome, Pipeline, Rollout, Silent},
    system::System,
};

use crate::support::hart;

const PROMPT: &str = "a red circle above a blue square";

fn open(weights: &str, dtype: Dtype) -> (TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    hart::write_bundle(folder.path(), weights);
    let system = System::builder(folder.path().to_str().unwrap());
    let system = system.dtype(dtype).open().unwrap();
    (folder, system)
}

fn system() -> &'static System {
    static SYSTEM: OnceLock<(TempDir, System)> = OnceLock::new();
    &SYSTEM.get_or_init(|| open("ema_model.bin", Dtype::F32)).1
}

fn pipeline(options: &Options, rows_at_once: Option<usize>) -> Box<dyn Pipeline + 'static> {
    let options = system().resolve(options).unwrap();
    system().pipeline(&options, rows_at_once).unwrap()
}

fn begin(pipeline: &dyn Pipeline, rows: usize, seed: u64) -> Box<dyn Rollout + '_> {
    pipeline.begin(&PROMPT.into(), 0..rows, seed).unwrap()
}

fn finish(mut rollout: Box<dyn Rollout + '_>, steps: usize) -> Vec<Image> {
    for _ in 0..steps {
        rollout.step().unwrap();
    }
    let rows: Vec<usize> = (0..rollout.rows()).collect();
    rollout.images(&rows, DecodeSize::Full).unwrap()
}

fn generate(pipeline: &dyn Pipeline, rows: usize, seed: u64) -> Vec<Image> {
    finish(begin(pipeline, rows, seed), pipeline.scales().len())
}

/// Settings that take every path: mixtures and drawn codes, no guidance at the last scales.
fn variants() -> [Options; 3] {
    [
        Options::default(),
        Options {
            more_smooth: Some(false),
            ..Options::default()
        },
        Options {
            cfg: Some("4,4,4,0".parse().unwrap()),
            top_k: Some(20),
            ..Options::default()
        },
    ]
}

#[test]
fn every_tensor_of_the_bundle_is_known() {
    assert_eq!(system().report().unread, []);
}

#[test]
fn an_image_depends_on_neither_batch_nor_chunks_nor_threads() {
    for options in variants() {
        let whole = generate(pipeline(&options, None).as_ref(), 4, 7);
        assert_ne!(whole[0], whole[1]);
        for rows_at_once in [None, Some(1), Some(3)] {
            let pipeline = pipeline(&options, rows_at_once);
            assert_eq!(generate(pipeline.as_ref(), 1, 7), whole[..1]);
            assert_eq!(generate(pipeline.as_ref(), 3, 7), whole[..3]);
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            let images = pool.install(|| generate(pipeline(&options, None).as_ref(), 2, 7));
            assert_eq!(images, whole[..2]);
        }
    }
}

#[test]
fn selection_and_suspension_leave_a_candidate_as_it_was() {
    let pipeline = pipeline(&Options::default(), Some(2));
    let scales = pipeline.scales().len();
    let whole = generate(pipeline.as_ref(), 4, 11);
    let mut rollout = begin(pipeline.as_ref(), 4, 11);
    for _ in 0..5 {
        rollout.step().unwrap();
    }
    let suspended = rollout.fork(&[2, 0]).unwrap();
    rollout.gather(&[3, 1, 1]).unwrap();
    let gathered = finish(rollout, scales - 5);
    assert_eq!(gathered[..2], [whole[3].clone(), whole[1].clone()]);
    assert_ne!(gathered[2], gathered[1], "a second copy draws by itself");
    let resumed = finish(suspended, scales - 5);
    assert_eq!(resumed, [whole[2].clone(), whole[0].clone()]);
}

#[test]
fn copies_before_the_last_scale_share_it_but_not_the_noise() {
    let options = Options {
        top_k: Some(1), // the same codes for both
        more_smooth: Some(false),
        ..Options::default()
    };
    let pipeline = pipeline(&options, None);
    let scales = pipeline.scales().len();
    let mut rollout = begin(pipeline.as_ref(), 1, 3);
    for _ in 0..scales - 1 {
        rollout.step().unwrap();
    }
    rollout.gather(&[0, 0]).unwrap();
    let before = rollout.flops();
    assert_eq!(rollout.step().unwrap().states, 1);
    let images = rollout.images(&[0, 1], DecodeSize::Full).unwrap();
    assert_ne!(images[0], images[1]);
    assert!(rollout.flops() > before);
}

fn search(options: Options) -> Outcome {
    let session = Session::new(system(), &options).unwrap();
    session.run(PROMPT, 2, &mut Silent).unwrap()
}

#[test]
fn methods_run_from_prompt_to_image() {
    for (method, n) in [
        (Method::TtsVar, 1),
        (Method::BestOfN, 3),
        (Method::Beam, 2),
        (Method::Auto, 3),
    ] {
        let outcome = search(Options {
            method: Some(method),
            n: Some(n),
            preview: Some(Preview(DecodeSize::Preview(20))),
            token_statistics: Some(true),
            ..Options::default()
        });
        let image = &outcome.winner().image;
        assert_eq!((image.width(), image.height()), (36, 36));
        let Cost { flops, decodes, .. } = &outcome.trace.cost;
        assert!(flops.generator > 0.0 && *decodes > 0);
    }
}

#[test]
fn the_estimated_cost_is_that_of_the_search() {
    for cfg in ["4.5", "0"] {
        let options = Options {
            method: Some(Method::BestOfN),
            n: Some(3),
            cfg: Some(cfg.parse().unwrap()),
            ..Options::default()
        };
        let session = Session::new(system(), &options).unwrap();
        let estimate = session.estimate().generator_flops;
        let found = search(options).trace.cost.flops.generator;
        assert!((found / estimate - 1.0).abs() < 1e-9, "{found} {estimate}");
    }
}

#[test]
fn plain_and_averaged_weights_make_different_images() {
    let (_folder, plain) = open("pytorch_model.bin", Dtype::F32);
    let options = plain.resolve(&Options::default()).unwrap();
    let pipeline_of_plain = plain.pipeline(&options, None).unwrap();
    let found = generate(pipeline_of_plain.as_ref(), 1, 1);
    assert_ne!(found, generate(pipeline(&options, None).as_ref(), 1, 1));
}

#[test]
fn bf16_generates_too() {
    let (_folder, system) = open("ema_model.bin", Dtype::Bf16);
    let options = system.resolve(&Options::default()).unwrap();
    let pipeline = system.pipeline(&options, None).unwrap();
    let images = generate(pipeline.as_ref(), 2, 1);
    assert_ne!(images[0], images[1]);
}
