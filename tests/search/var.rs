//! Class-conditional VAR, from class to image, and what must not change an image.

use std::sync::OnceLock;

use candle_core::IndexOp;
use tempfile::TempDir;
use ttsvar::{
    hub,
    loading::Dtype,
    models::{
        var::Var,
        vq_vae::{Decoder, Quantizer},
    },
    nn::Weights,
    options::{Options, Preview},
    pipelines::{
        Drawn,
        var::{ClassModel, Settings, VarNetworks},
    },
    request::Session,
    search::{
        Cost, DecodeSize, Image, Latent, Method, Outcome, Pipeline, Rollout, Silent, StepCounts,
    },
    system::System,
};

use crate::support::{assert_close, assert_values_close, golden, json, tensors, values, var};

fn system() -> &'static System {
    static SYSTEM: OnceLock<(TempDir, System)> = OnceLock::new();
    let (_, system) = SYSTEM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        var::write_bundle(folder.path(), "");
        let system = System::builder(folder.path().to_str().unwrap());
        let system = system.open().unwrap();
        (folder, system)
    });
    system
}

/// The model with these options, of which `class` 3 is one.
fn pipeline(options: &Options, rows_at_once: Option<usize>) -> Box<dyn Pipeline + 'static> {
    let options = system().resolve(options).unwrap();
    system().pipeline(&options, rows_at_once).unwrap()
}

fn begin(pipeline: &dyn Pipeline, rows: usize, seed: u64) -> Box<dyn Rollout + '_> {
    let prompt = system().classes().unwrap().prompt(3);
    pipeline
        .begin(&prompt.as_str().into(), 0..rows, seed)
        .unwrap()
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

/// Settings that take every path: mixtures, no guidance at the last scales.
fn variants() -> [Options; 3] {
    [
        Options::default(),
        Options {
            more_smooth: Some(true),
            ..Options::default()
        },
        Options {
            cfg: Some("4,4,4,0".parse().unwrap()),
            tau: Some(0.5.into()),
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
fn rows_that_share_a_state_are_computed_once() {
    let options = Options {
        cfg: Some("4,4,0".parse().unwrap()),
        ..Options::default()
    };
    let pipeline = pipeline(&options, None);
    let branches: Vec<usize> = (0..4).map(|scale| pipeline.branches(scale)).collect();
    assert_eq!(
        branches,
        [2, 2, 1, 1],
        "scale 0 runs both for its keys and values"
    );
    let mut rollout = begin(pipeline.as_ref(), 5, 0);
    let mut counts = || {
        let StepCounts { states, passes } = rollout.step().unwrap();
        (states, passes)
    };
    assert_eq!([counts(), counts(), counts()], [(1, 2), (5, 10), (5, 5)]);
    rollout.gather(&[0, 0, 4]).unwrap();
    assert_eq!(rollout.step().unwrap().states, 2);
}

#[test]
fn latents_are_what_the_decoder_decodes() {
    let pipeline = pipeline(&Options::default(), None);
    let mut rollout = begin(pipeline.as_ref(), 2, 5);
    let empty: Latent = rollout.latents(&[0]).unwrap().remove(0);
    assert!(empty.map.values.iter().all(|value| *value == 0.0));
    rollout.step().unwrap();
    rollout.step().unwrap();
    let latents = rollout.latents(&[0, 1]).unwrap();
    assert_eq!(latents[0].map.shape(), empty.map.shape());
    assert_ne!(latents[0].map.values, latents[1].map.values);
}

#[test]
fn guidance_changes_images_and_the_class_does() {
    let image = |class: &str, cfg: f32| {
        let options = Options {
            class: Some(class.parse().unwrap()),
            cfg: Some(cfg.into()),
            method: Some(Method::Raw),
            ..Options::default()
        };
        let session = Session::new(system(), &options).unwrap();
        let text = session.subject(None).unwrap();
        let outcome = session.run(&text, 1, &mut Silent).unwrap();
        outcome.winner().image.clone()
    };
    assert_eq!(image("3", 4.0), image("class 3", 4.0));
    assert_ne!(image("3", 4.0), image("17", 4.0));
    assert_ne!(image("3", 4.0), image("3", 0.0));
}

fn search(options: Options) -> Outcome {
    let session = Session::new(system(), &options).unwrap();
    let text = session.subject(None).unwrap();
    assert_eq!(text, "a photo of a class 3");
    session.run(&text, 2, &mut Silent).unwrap()
}

#[test]
fn methods_run_from_class_to_image() {
    for (method, n) in [
        (Method::TtsVar, 1),
        (Method::BestOfN, 3),
        (Method::Beam, 2),
        (Method::Auto, 3),
    ] {
        let outcome = search(Options {
            class: Some("3".parse().unwrap()),
            method: Some(method),
            n: Some(n),
            preview: Some(Preview(DecodeSize::Preview(80))),
            token_statistics: Some(true),
            ..Options::default()
        });
        let trace = &outcome.trace;
        assert_eq!(trace.prompt, "a photo of a class 3");
        assert_eq!(trace.settings["class"], 3);
        let image = &outcome.winner().image;
        assert_eq!((image.width(), image.height()), (160, 160));
        let Cost { flops, decodes, .. } = &trace.cost;
        assert!(flops.generator > 0.0 && *decodes > 0);
        assert!(
            outcome
                .finished
                .iter()
                .all(|finished| finished.score.is_finite())
        );
    }
}

#[test]
fn the_estimated_cost_is_that_of_the_search() {
    for preview in [None, Some(Preview(DecodeSize::Preview(80)))] {
        let options = Options {
            class: Some("3".parse().unwrap()),
            method: Some(Method::TtsVar),
            preview,
            ..Options::default()
        };
        let session = Session::new(system(), &options).unwrap();
        let estimate = session.estimate();
        let trace = search(options).trace;
        let generator = trace.cost.flops.generator;
        // Some of the rows may be copies, which cost less.
        let share = generator / estimate.generator_flops;
        assert!((0.5..=1.0 + 1e-9).contains(&share), "{share}");
    }
}

#[test]
fn bf16_stays_near_f32() {
    let folder = tempfile::tempdir().unwrap();
    var::write_bundle(folder.path(), "");
    let system = System::builder(folder.path().to_str().unwrap());
    let system = system.dtype(Dtype::Bf16).open().unwrap();
    let options = Options {
        class: Some("3".parse().unwrap()),
        method: Some(Method::Raw),
        ..Options::default()
    };
    let session = Session::new(&system, &options).unwrap();
    let text = session.subject(None).unwrap();
    assert!(session.run(&text, 2, &mut Silent).is_ok());
}

/// The recorded networks in a type.
fn networks(dtype: Dtype) -> VarNetworks {
    let config = json("var-tiny", "config.json");
    let weights = |part: &str| {
        let path = golden("var-tiny").join(config["files"][part].as_str().unwrap());
        let source = hub::open(path, &[] as &[&str]).unwrap();
        Weights::new(source, dtype, &candle_core::Device::Cpu)
    };
    let vae = weights("vae");
    VarNetworks {
        transformer: Var::load(&weights("var_shared_aln_false")).unwrap(),
        quantizer: Quantizer::load(&vae.pp("quantize")).unwrap(),
        decoder: Decoder::load(&vae).unwrap(),
    }
}

/// The whole pipeline with the recorded ids, in one batch for both classes one after the other.
fn forced(dtype: Dtype, limits: [f32; 3]) {
    let config = json("var-tiny", "config.json");
    let recorded = tensors("var-tiny", "run.safetensors");
    let networks = networks(dtype);
    let settings = Settings {
        cfg: (config["cfg"].as_f64().unwrap() as f32).into(),
        ..Settings::default()
    };
    let model = ClassModel::new(&networks, settings).unwrap();
    let [logit_limit, latent_limit, image_limit] = limits;
    for (b, label) in config["labels"].as_array().unwrap().iter().enumerate() {
        let class = label.as_u64().unwrap() as usize;
        let mut rollout = model.start(class, 0..1, 0).unwrap();
        for scale in 0..networks.transformer.config().grids.len() {
            let name = |part: &str| format!("s{scale:02}.{part}");
            let of_image = |part: &str| recorded[&name(part)].i(b).unwrap();
            let step = rollout.step_with(&mut |_, logits| {
                let what = format!("{dtype:?}: {} of image {b}", name("logits"));
                let expected = values(&of_image("logits"));
                assert_values_close(&what, logits, &expected, logit_limit, 0.0);
                let ids = of_image("idx").to_dtype(candle_core::DType::U32).unwrap();
                Drawn::ids(ids.flatten_all().unwrap().to_vec1().unwrap())
            });
            step.unwrap();
            let expected = of_image("f_hat").unsqueeze(0).unwrap();
            let what = format!("{dtype:?}: {} of image {b}", name("f_hat"));
            assert_close(&what, &rollout.sums()[0], &expected, latent_limit, 0.0);
        }
        if b == 0 {
            let found = networks.decoder.forward(&rollout.sums()[0]).unwrap();
            let expected = &recorded["final.decoder_out"];
            assert_close("the image", &found, expected, image_limit, 0.0);
        }
    }
}

#[test]
fn parity_var_tiny_forced_indices_lead_to_the_recorded_images() {
    forced(Dtype::F32, [3e-4, 2e-5, 5e-4]);
}

/// In bf16 weights have 8 bits: logits, of standard deviation 2, move by 0.05 at most, and so does
/// the image before clamping. The latent is summed in f32.
#[test]
fn parity_var_tiny_bf16_has_its_own_limits() {
    forced(Dtype::Bf16, [0.1, 2e-5, 0.1]);
}

#[test]
fn networks_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    var::write_bundle(folder.path(), "");
    // The demo's tokenizer is one of Infinity.
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo");
    std::fs::copy(demo.join("infinity_vae.pth"), folder.path().join("vae.pth")).unwrap();
    let opened = System::builder(folder.path().to_str().unwrap()).open();
    let message = opened
        .err()
        .expect("a tokenizer of another family")
        .to_string();
    assert!(message.contains("vae.pth"), "{message}");
}
