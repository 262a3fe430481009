//! Switti, from prompt to image, and what must not change an image.

use std::sync::OnceLock;

use candle_core::{DType, Device, IndexOp, Tensor};
use tempfile::TempDir;
use ttsvar::{
    hub,
    loading::Dtype,
    models::{
        switti::{Context, Switti},
        vq_vae::{Decoder, Quantizer},
    },
    nn::Weights,
    options::{Options, Preview, Steer},
    pipelines::{
        CodebookSettings, Drawn, Sampling, Smooth, code_mixture,
        switti::{Settings, SwittiNetworks, TextModel},
    },
    request::Session,
    search::{
        Cost, DecodeSize, Image, Method, Outcome, Pipeline, Plan, Prompt, Rollout, Silent,
        StepCounts, run,
    },
    system::System,
};

use crate::support::{
    assert_bytes_close, assert_values_close, golden, json, switti, tensors, values,
};

const PROMPT: &str = "a red circle above a blue square";

/// The recorded transformers: one that attends within a scale only, with rotary positions; one that
/// sees earlier scales; one with a table of positions.
const TRANSFORMERS: [&str; 3] = ["switti", "switti_ar", "switti_plain"];

fn open(transformer: &str, dtype: Dtype) -> (TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    switti::write_bundle(folder.path(), transformer);
    let system = System::builder(folder.path().to_str().unwrap());
    let system = system.dtype(dtype).open().unwrap();
    (folder, system)
}

fn system(transformer: &str) -> &'static System {
    static SYSTEMS: OnceLock<[(TempDir, System); 3]> = OnceLock::new();
    let systems = SYSTEMS.get_or_init(|| TRANSFORMERS.map(|name| open(name, Dtype::F32)));
    let found = TRANSFORMERS.iter().position(|name| *name == transformer);
    &systems[found.unwrap()].1
}

fn pipeline(
    transformer: &str,
    options: &Options,
    rows_at_once: Option<usize>,
) -> Box<dyn Pipeline + 'static> {
    let system = system(transformer);
    let options = system.resolve(options).unwrap();
    system.pipeline(&options, rows_at_once).unwrap()
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

/// Settings that take every path: mixtures and drawn codes, late guidance, none at the last scales.
fn variants() -> [Options; 3] {
    [
        Options::default(),
        Options {
            more_smooth: Some(false),
            token_statistics: Some(true),
            ..Options::default()
        },
        Options {
            cfg: Some("0,4,4,0".parse().unwrap()),
            top_k: Some(20),
            ..Options::default()
        },
    ]
}

#[test]
fn every_tensor_of_the_bundle_is_known() {
    for transformer in TRANSFORMERS {
        assert_eq!(system(transformer).report().unread, []);
    }
}

#[test]
fn an_image_depends_on_neither_batch_nor_chunks_nor_threads() {
    for transformer in TRANSFORMERS {
        for options in variants() {
            let of = |rows_at_once| pipeline(transformer, &options, rows_at_once);
            let whole = generate(of(None).as_ref(), 4, 7);
            assert_ne!(whole[0], whole[1]);
            for rows_at_once in [None, Some(1), Some(3)] {
                let pipeline = of(rows_at_once);
                assert_eq!(generate(pipeline.as_ref(), 1, 7), whole[..1]);
                assert_eq!(generate(pipeline.as_ref(), 3, 7), whole[..3]);
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().unwrap();
                let images = pool.install(|| generate(of(None).as_ref(), 2, 7));
                assert_eq!(images, whole[..2]);
            }
        }
    }
}

#[test]
fn token_statistics_are_those_of_each_row_whatever_runs_together() {
    let options = Options {
        token_statistics: Some(true),
        ..Options::default()
    };
    let statistics = |rows_at_once: Option<usize>| {
        let pipeline = pipeline("switti", &options, rows_at_once);
        let mut rollout = begin(pipeline.as_ref(), 4, 1);
        for _ in 0..3 {
            rollout.step().unwrap();
        }
        rollout.gather(&[2, 0, 2, 1]).unwrap();
        rollout.step().unwrap();
        let found = rollout.token_statistics();
        let found = found.iter().map(|of_row| of_row.log_likelihood.to_bits());
        found.collect::<Vec<_>>()
    };
    let whole = statistics(None);
    assert_eq!(whole.len(), 4);
    assert_eq!(statistics(Some(1)), whole);
    assert_eq!(statistics(Some(2)), whole);
}

#[test]
fn selection_and_suspension_leave_a_candidate_as_it_was() {
    for transformer in TRANSFORMERS {
        let pipeline = pipeline(transformer, &Options::default(), Some(2));
        let scales = pipeline.scales().len();
        let whole = generate(pipeline.as_ref(), 4, 11);
        let mut rollout = begin(pipeline.as_ref(), 4, 11);
        for _ in 0..2 {
            rollout.step().unwrap();
        }
        let suspended = rollout.fork(&[2, 0]).unwrap();
        rollout.gather(&[3, 1, 1]).unwrap();
        let gathered = finish(rollout, scales - 2);
        assert_eq!(gathered[..2], [whole[3].clone(), whole[1].clone()]);
        assert_ne!(gathered[2], gathered[1], "a second copy draws by itself");
        let resumed = finish(suspended, scales - 2);
        assert_eq!(resumed, [whole[2].clone(), whole[0].clone()]);
    }
}

#[test]
fn rows_that_share_a_state_are_computed_once() {
    let options = Options {
        cfg: Some("4,4,0".parse().unwrap()),
        ..Options::default()
    };
    for transformer in TRANSFORMERS {
        let pipeline = pipeline(transformer, &options, Some(2));
        let branches: Vec<usize> = (0..4).map(|scale| pipeline.branches(scale)).collect();
        assert_eq!(branches, [2, 2, 1, 1]);
        let mut rollout = begin(pipeline.as_ref(), 5, 0);
        let mut counts = || {
            let StepCounts { states, passes } = rollout.step().unwrap();
            (states, passes)
        };
        assert_eq!([counts(), counts(), counts()], [(1, 2), (5, 10), (5, 5)]);
        rollout.gather(&[0, 0, 4]).unwrap();
        assert_eq!(rollout.step().unwrap().states, 2);
    }
}

#[test]
fn a_scale_without_guidance_costs_half_of_one_with_it() {
    let flops = |cfg: &str| {
        let options = Options {
            cfg: Some(cfg.parse().unwrap()),
            ..Options::default()
        };
        let pipeline = pipeline("switti", &options, None);
        let mut rollout = begin(pipeline.as_ref(), 1, 0);
        let mut spent = vec![rollout.flops()];
        for _ in 0..pipeline.scales().len() {
            rollout.step().unwrap();
            spent.push(rollout.flops());
        }
        let steps = spent.windows(2).map(|pair| pair[1] - pair[0]);
        steps.collect::<Vec<_>>()
    };
    let guided = flops("4");
    let ending = flops("4,4,4,0");
    assert_eq!(guided[..3], ending[..3]);
    for (with, without) in guided.iter().zip(&ending).skip(3) {
        // The texts of the branches have different lengths.
        assert!((without / with - 0.5).abs() < 0.05, "{with} {without}");
    }
}

#[test]
fn the_negative_prompt_changes_images() {
    let image = |negative: Option<&str>, cfg: &str| {
        let options = Options {
            cfg: Some(cfg.parse().unwrap()),
            ..Options::default()
        };
        let pipeline = pipeline("switti", &options, None);
        let prompt = Prompt {
            negative: negative.map(str::to_owned),
            ..PROMPT.into()
        };
        let rollout = pipeline.begin(&prompt, 0..1, 5).unwrap();
        finish(rollout, pipeline.scales().len()).remove(0)
    };
    assert_eq!(image(None, "6"), image(Some(""), "6"));
    assert_ne!(image(None, "6"), image(Some("blurry, dark"), "6"));
    assert_eq!(image(None, "0"), image(Some("blurry, dark"), "0"));
}

#[test]
fn options_of_other_families_are_refused() {
    let refused = |options: Options| {
        let error = system("switti").resolve(&options).unwrap_err();
        let hint = error.hint().unwrap_or_default().to_owned();
        (error.to_string(), hint)
    };
    let (message, hint) = refused(Options {
        steer: Some(Steer::from_argument("auto").unwrap()),
        ..Options::default()
    });
    assert_eq!(message, "--steer is not an option of Switti");
    assert_eq!(hint, "leave --steer out");
    let (message, _) = refused(Options {
        cfg_layer: Some(1),
        ..Options::default()
    });
    assert_eq!(message, "--cfg-layer is not an option of Switti");
}

fn search(transformer: &str, options: Options) -> Outcome {
    let session = Session::new(system(transformer), &options).unwrap();
    session.run(PROMPT, 2, &mut Silent).unwrap()
}

#[test]
fn methods_run_from_prompt_to_image() {
    let config = json("switti-tiny", "config.json");
    for transformer in TRANSFORMERS {
        let folder = config["files"][transformer].as_str().unwrap();
        let reso = config["models"][folder]["reso"].to_string();
        let sides = &config["patch_nums_by_reso"][&reso];
        let last = sides.as_array().unwrap().last().unwrap().as_u64().unwrap();
        let side = (last * config["downsample"].as_u64().unwrap()) as usize;
        for (method, n) in [
            (Method::TtsVar, 1),
            (Method::BestOfN, 3),
            (Method::Beam, 2),
            (Method::Auto, 3),
        ] {
            let outcome = search(
                transformer,
                Options {
                    method: Some(method),
                    n: Some(n),
                    preview: Some(Preview(DecodeSize::Preview(20))),
                    token_statistics: Some(true),
                    ..Options::default()
                },
            );
            let image = &outcome.winner().image;
            assert_eq!((image.width(), image.height()), (side, side));
            let Cost { flops, decodes, .. } = &outcome.trace.cost;
            assert!(flops.generator > 0.0 && *decodes > 0);
        }
    }
}

#[test]
fn searches_do_not_depend_on_chunks() {
    for transformer in TRANSFORMERS {
        for (method, n) in [(Method::TtsVar, 2), (Method::BestOfN, 4), (Method::Auto, 4)] {
            let options = Options {
                method: Some(method),
                n: Some(n),
                ..Options::default()
            };
            let session = Session::new(system(transformer), &options).unwrap();
            let winner = |rows_at_once: Option<usize>| {
                let pipeline = pipeline(transformer, &options, rows_at_once);
                let search = system(transformer).search(pipeline.as_ref());
                let outcome = run(&search, &PROMPT.into(), session.plan(), 4, &mut Silent);
                outcome.unwrap().winner().image.clone()
            };
            let whole = winner(None);
            assert_eq!(winner(Some(1)), whole);
            assert_eq!(winner(Some(3)), whole);
        }
    }
}

#[test]
fn the_estimated_cost_is_near_that_of_the_search() {
    for transformer in TRANSFORMERS {
        for cfg in ["4.5", "4,4,0", "0"] {
            let options = Options {
                method: Some(Method::BestOfN),
                n: Some(3),
                cfg: Some(cfg.parse().unwrap()),
                ..Options::default()
            };
            let session = Session::new(system(transformer), &options).unwrap();
            let estimate = session.estimate().generator_flops;
            let found = search(transformer, options).trace.cost.flops.generator;
            // Texts have other lengths than estimated.
            assert!((found / estimate - 1.0).abs() < 0.1, "{found} {estimate}");
        }
    }
}

#[test]
fn plain_variants_keep_nothing_but_the_latent() {
    let kept = |transformer: &str, n: usize| {
        let pipeline = pipeline(transformer, &Options::default(), Some(1));
        let scales = pipeline.scales().len();
        let workload = Plan::best_of_n(scales, n).unwrap();
        let workload = workload.workload(scales, DecodeSize::Full);
        pipeline.estimate(&workload).peak_bytes
    };
    let latents = |side: u64, channels: u64| 63 * side * side * channels * 4;
    assert_eq!(kept("switti", 64) - kept("switti", 1), latents(7, 12));
    assert_eq!(
        kept("switti_plain", 64) - kept("switti_plain", 1),
        latents(5, 12)
    );
    assert!(kept("switti_ar", 64) - kept("switti_ar", 1) > 10 * latents(6, 12));
}

#[test]
fn bf16_generates_too() {
    for transformer in TRANSFORMERS {
        let (_folder, system) = open(transformer, Dtype::Bf16);
        let options = system.resolve(&Options::default()).unwrap();
        let pipeline = system.pipeline(&options, None).unwrap();
        let images = generate(pipeline.as_ref(), 2, 1);
        assert_ne!(images[0], images[1]);
    }
}

/// The recorded networks of a run.
fn networks(transformer: &str) -> SwittiNetworks {
    let config = json("switti-tiny", "config.json");
    let weights = |folder: &str| {
        let source = hub::open(golden("switti-tiny").join(folder), &[]).unwrap();
        Weights::new(source, Dtype::F32, &Device::Cpu)
    };
    let vae = weights(config["files"]["vae"].as_str().unwrap());
    let file = json("switti-tiny", &format!("{transformer}/config.json"));
    let file = serde_json::from_value(file).unwrap();
    SwittiNetworks {
        transformer: Switti::load(&weights(transformer), &file).unwrap(),
        quantizer: Quantizer::load(&vae.pp("quantize")).unwrap(),
        decoder: Decoder::load(&vae).unwrap(),
    }
}

/// The recorded context of a text.
fn context(text: &str) -> Context {
    let config = json("switti-tiny", "config.json");
    let texts = config["prompts"].as_array().unwrap().iter();
    let texts = texts.chain([&config["negative"]]);
    let row = texts.map(|text| text.as_str().unwrap());
    let row = row.enumerate().find(|(_, known)| *known == text).unwrap().0;
    let recorded = tensors("switti-tiny", "text.safetensors");
    let mask = recorded["g.mask"].i(row).unwrap();
    let tokens = values(&mask).iter().sum::<f32>() as usize;
    let hidden = ["l.hidden", "g.hidden"].map(|name| {
        let hidden = recorded[name].i(row).unwrap();
        hidden.narrow(0, 0, tokens).unwrap()
    });
    Context {
        features: Tensor::cat(&hidden, 1).unwrap(),
        pooled: recorded["g.pooled"].i(row).unwrap(),
    }
}

/// The settings of a run, as options would say them: a list over the scales in place of the scales
/// at which guidance is switched on and off.
fn settings(run: &serde_json::Value) -> Settings {
    let number = |name: &str| run[name].as_f64();
    let on = number("turn_on_cfg_start_si").unwrap_or(0.0) as usize;
    let off = number("turn_off_cfg_start_si").map(|off| off as usize);
    let cfg = number("cfg").unwrap();
    let scales = run["patch_nums"].as_array().unwrap().len();
    let guided = |scale: usize| scale >= on && off.is_none_or(|off| scale < off);
    let of_scale = |scale: usize| match guided(scale) {
        true => cfg.to_string(),
        false => "0".to_owned(),
    };
    let weights: Vec<String> = (0..scales).map(of_scale).collect();
    let options = Options {
        cfg: Some(weights.join(",").parse().unwrap()),
        tau: match (off, number("last_scale_temp")) {
            (Some(_), None) => Some(1.0.into()),
            _ => None,
        },
        top_k: number("top_k").map(|k| k as usize),
        top_p: number("top_p").map(|p| (p as f32).into()),
        more_smooth: Some(run["more_smooth"].as_bool().unwrap_or(false)),
        ..Options::default()
    };
    let settings = Settings::from_options(&options);
    if let Some(from) = number("smooth_start_si") {
        assert_eq!(settings.smooth_from, from as usize);
    }
    for (scale, expected) in run["guidance_t"].as_array().unwrap().iter().enumerate() {
        let expected = expected.as_f64().unwrap_or(0.0);
        let found = settings.guidance(scale, scales);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
    settings
}

/// What a scale draws with recorded noise.
fn mixed(scale: f64, run: &serde_json::Value, logits: &[f32], noise: &[f32]) -> Drawn {
    let scales = run["patch_nums"].as_array().unwrap().len();
    let smooth = Smooth::at(scale / (scales - 1) as f64);
    let all = Sampling {
        top_p: 0.0,
        top_k: 0,
        smooth: None,
    };
    let vocabulary = json("switti-tiny", "config.json")["vocab_size"].as_u64();
    let vocabulary = vocabulary.unwrap() as usize;
    let rows = logits.chunks(vocabulary).zip(noise.chunks(vocabulary));
    let mixtures = rows.flat_map(|(logits, noise)| code_mixture(logits, noise, &all, smooth));
    Drawn {
        ids: vec![],
        mixtures: Some(mixtures.collect()),
    }
}

/// The whole pipeline with the recorded ids or noise.
fn forced(name: &str) {
    let config = json("switti-tiny", "config.json");
    let run = &config["runs"][name];
    let limit = |name: &str| config["tolerances"][name].as_f64().unwrap() as f32;
    let recorded = tensors("switti-tiny", &format!("{name}.safetensors"));
    let networks = networks(run["model"].as_str().unwrap());
    let model = TextModel::new(&networks, settings(run)).unwrap();
    let negative = context(run["null_prompt"].as_str().unwrap());
    for (b, prompt) in run["prompts"].as_array().unwrap().iter().enumerate() {
        let context = context(prompt.as_str().unwrap());
        let mut rollout = model.start(&context, Some(&negative), 0..1, 0).unwrap();
        for scale in 0..networks.transformer.config().grids.len() {
            let part = |part: &str| {
                let tensor = recorded.get(&format!("s{scale:02}.{part}"))?;
                Some(tensor.i(b).unwrap())
            };
            let step = rollout.step_with(&mut |_, logits| {
                if let Some(expected) = part("logits") {
                    let what = format!("{name}: logits of scale {scale}, image {b}");
                    let limit = limit("logits_cold_if_crop_embed_recorded");
                    assert_values_close(&what, logits, &values(&expected), limit, 0.0);
                }
                match part("idx") {
                    Some(ids) => {
                        let ids = ids.to_dtype(DType::U32).unwrap();
                        Drawn::ids(ids.flatten_all().unwrap().to_vec1().unwrap())
                    }
                    None => mixed(scale as f64, run, logits, &values(&part("gumbel").unwrap())),
                }
            });
            step.unwrap();
        }
        let image = rollout.images(&[0], DecodeSize::Full).unwrap().remove(0);
        let expected = recorded["final.image_u8"].i(b).unwrap();
        let expected: Vec<u8> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let share = limit("image_u8_share_of_values");
        assert_bytes_close(name, image.pixels(), &expected, share);
    }
}

#[test]
fn parity_switti_tiny_forced_indices_lead_to_the_recorded_images() {
    for name in [
        "run_a",
        "run_b_cfg_off",
        "run_c_smooth",
        "run_d_ar",
        "run_e_ar_cfg_off",
        "run_f_plain",
    ] {
        forced(name);
    }
}

#[test]
fn networks_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    switti::write_bundle(folder.path(), "switti");
    let toml = folder.path().join("bundle.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let swapped = text
        .replace("weights = \"clip-vit-large-patch14\"", "weights = \"X\"")
        .replace(
            "second = \"CLIP-ViT-bigG-14-laion2B-39B-b160k\"",
            "second = \"clip-vit-large-patch14\"",
        )
        .replace("\"X\"", "\"CLIP-ViT-bigG-14-laion2B-39B-b160k\"");
    std::fs::write(&toml, swapped).unwrap();
    let system = System::builder(folder.path().to_str().unwrap());
    let error = system.open().err().unwrap();
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("CLIP-L and OpenCLIP bigG"), "{hint}");
}
