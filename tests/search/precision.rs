//! Matrices kept in bf16 and in 8 bits: how far the numbers are from those in f32.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ttsvar::{
    hub::{self, Blob},
    models::{
        autoencoder::{Attention, Decoder},
        blip::VisualEncoder,
        clip::{self, Clip},
        dinov2::Dinov2,
        flexar::{FlexAr, FlexArConfig, TokenRun},
        infinity::{Guidance, Infinity, Pixels, ScaleRun, Schedule},
        t5::T5Encoder,
    },
    nn::{Dtype, Kv, Linear, Rope, Weights},
    options::Options,
    pipelines::infinity::random::Architecture,
    pipelines::infinity::{ImageModel, InfinityRollout, Settings},
    search::Pipeline,
    system::System,
};

use crate::support::{golden, hart, json, switti, tensors, var};

/// Root of the mean square of what separates two lists, as a share of the second's own.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let apart = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    (apart / square(&mut expected.iter().map(|v| f64::from(*v)))).sqrt()
}

/// Both walk the same path: the bits that the network in f32 finds likelier.
#[test]
fn bf16_logits_stay_within_two_percent() {
    logits_stay_within(Dtype::Bf16, 0.02);
}

/// Weights and rows are rounded to 1/254 of the largest value of their block at most.
#[test]
fn q8_logits_stay_within_three_percent() {
    logits_stay_within(Dtype::Q8, 0.03);
}

fn logits_stay_within(dtype: Dtype, limit: f64) {
    for fixture in ["infinity-tiny", "infinity-8b-like-tiny"] {
        let config = json(fixture, "config.json");
        let file =
            |part: &str| golden(fixture).join(config["files"][part].as_str().expect("a file"));
        let open = |part, keys: &[&str], dtype| {
            Weights::new(
                hub::open(file(part), keys).expect("a checkpoint"),
                dtype,
                &Device::Cpu,
            )
        };
        let decoder = Decoder::load(
            &open("vae", &["vae"], Dtype::F32).pp("decoder"),
            Attention::None,
        )
        .expect("the decoder");
        let [exact, rounded] = [Dtype::F32, dtype]
            .map(|dtype| Infinity::load(&open("model", &[], dtype)).expect("the network"));
        let run = &config["runs"]["run_a"];
        let pixels = run["pn"]
            .as_str()
            .expect("a size")
            .parse()
            .expect("a known size");
        let schedule = Schedule::released(run["h_div_w"].as_f64().expect("an aspect"), pixels)
            .expect("a schedule");
        let [exact, rounded] = [&exact, &rounded].map(|network| {
            ImageModel::new(
                network,
                &decoder,
                &schedule,
                Settings::default(),
                &Device::Cpu,
            )
            .expect("a painter")
        });
        let features = &tensors(fixture, "text.safetensors")["kv_compact"];
        let tokens = config["text_lens"][0].as_u64().expect("a length") as usize;
        let features = features.narrow(0, 0, tokens).expect("the first prompt");
        let [mut exact, mut rounded] = [&exact, &rounded]
            .map(|painter| painter.start(&features, None, 0..1, 1).expect("a start"));
        for scale in 0..schedule.grids.len() {
            let (expected, bits) = step(&mut exact, None);
            let (found, _) = step(&mut rounded, Some(bits));
            let distance = distance(&found, &expected);
            let pairs = found.chunks(2).zip(expected.chunks(2));
            let changed = pairs
                .filter(|(a, b)| (a[1] > a[0]) != (b[1] > b[0]))
                .count();
            println!(
                "{fixture}, scale {scale}: {:.2} % apart, {changed} of {} bits changed",
                100.0 * distance,
                found.len() / 2
            );
            assert!(
                distance > 0.0 && distance < limit,
                "{fixture}, scale {scale}: {distance}"
            );
        }
    }
}

/// The states behind the second block, at each scale up to the first at which the likeliest tokens
/// differ.
#[test]
fn states_of_other_families_stay_within_four_percent() {
    const TEXT: &str = "a red circle above a blue square";
    const CLASS: &str = "a photo of a class 3";
    type WriteBundle = fn(&Path);
    let cases: [(&str, WriteBundle, &str); 3] = [
        ("var-tiny", |folder| var::write_bundle(folder, ""), CLASS),
        (
            "hart-tiny",
            |folder| hart::write_bundle(folder, "ema_model.bin"),
            TEXT,
        ),
        (
            "switti-tiny",
            |folder| switti::write_bundle(folder, "switti"),
            TEXT,
        ),
    ];
    for (name, write, prompt) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path());
        let path = folder.path().to_str().expect("a path");
        let options = Options {
            top_k: Some(1),
            more_smooth: name.starts_with("hart").then_some(false),
            ..Options::default()
        };
        let systems = [Dtype::F32, Dtype::Bf16, Dtype::Q8].map(|dtype| {
            let system = System::builder(path).dtype(dtype).open();
            system.expect("a system").with_hidden_block(2)
        });
        let paths = systems.each_ref().map(|system| {
            let options = system.resolve(&options).expect("options");
            let pipeline = system.pipeline(&options, None).expect("a pipeline");
            states(&*pipeline, prompt)
        });
        let [exact, rounded @ ..] = paths;
        for (dtype, rounded) in ["bf16", "q8"].into_iter().zip(rounded) {
            let mut scales = 0;
            let mut largest = 0.0f64;
            for ((found, map), (expected, of_exact)) in rounded.iter().zip(&exact) {
                largest = largest.max(distance(found, expected));
                scales += 1;
                if distance(map, of_exact) > 0.05 {
                    break; // another token
                }
            }
            println!(
                "{name}, {dtype}: {:.2} % apart at most, over {scales} of {} scales",
                100.0 * largest,
                exact.len()
            );
            assert!(
                largest > 0.0 && largest < 0.04,
                "{name}, {dtype}: {largest}"
            );
        }
    }
}

/// The states of one candidate at each scale, and its latent after it.
fn states(pipeline: &dyn Pipeline, prompt: &str) -> Vec<(Vec<f32>, Vec<f32>)> {
    let mut rollout = pipeline.begin(&prompt.into(), 0..1, 7).expect("a start");
    let scales = pipeline.scales().iter().map(|_| {
        rollout.step().expect("a step");
        let latent = rollout.latents(&[0]).expect("a latent").remove(0);
        (latent.hidden.expect("states").values, latent.map.values)
    });
    scales.collect()
}

/// The networks that read texts and look at images, and the first logits of FlexAR.
#[test]
fn features_stay_within_five_percent() {
    let weights = |fixture: &str, file: &str, dtype| {
        let source = hub::open(golden(fixture).join(file), &[]).expect("a checkpoint");
        Weights::new(source, dtype, &Device::Cpu)
    };
    let check = |name: &str, features: &dyn Fn(Dtype) -> Tensor| {
        let [exact, bf16, q8] = Dtype::ALL.map(|dtype| crate::support::values(&features(dtype)));
        for (dtype, found) in [("bf16", bf16), ("q8", q8)] {
            let distance = distance(&found, &exact);
            println!("{name}, {dtype}: {:.2} % apart", 100.0 * distance);
            assert!(
                distance > 0.0 && distance < 0.05,
                "{name}, {dtype}: {distance}"
            );
        }
    };
    check("t5-tiny", &|dtype| {
        let config = serde_json::from_value(json("t5-tiny", "config.json")).expect("a config");
        let network = T5Encoder::load(&weights("t5-tiny", "", dtype), &config);
        let ids: Vec<u32> = (5..30).collect();
        network.expect("T5").encode(&ids).expect("features")
    });
    let config = json("clip-tiny", "model/config.json");
    let config: clip::Config = serde_json::from_value(config).expect("a config");
    let pixels = |side: usize| {
        let value = |i: usize| ((i * i / 7 + i / 3) % 11) as f32 / 5.0 - 1.0;
        let pixels = Tensor::from_iter((0..3 * side * side).map(value), &Device::Cpu);
        pixels
            .and_then(|pixels| pixels.reshape((1, 3, side, side)))
            .expect("pixels")
    };
    let clip = |dtype| Clip::load(&weights("clip-tiny", "model", dtype), &config).expect("CLIP");
    check("clip-tiny, images", &|dtype| {
        let network = clip(dtype);
        let pixels = pixels(network.vision_model.side());
        network.embed_images(&pixels).expect("features")
    });
    check("clip-tiny, texts", &|dtype| {
        let ids: Vec<u32> = (5..12).collect();
        clip(dtype).embed_text(&ids).expect("features")
    });
    let config = json("dinov2-tiny", "config.json");
    check("dinov2-tiny", &|dtype| {
        let file = config["variants"]["reg"]["file"].as_str().expect("a file");
        let heads = config["num_heads"].as_u64().map(|heads| heads as usize);
        let network = Dinov2::load(&weights("dinov2-tiny", file, dtype), heads);
        let network = network.expect("DINOv2");
        let tokens = network.forward(&pixels(8 * network.patch()));
        tokens.expect("features").patches
    });
    let config = json("flextok-tiny", "config.json");
    check("flextok-tiny, classes", &|dtype| {
        let folder = config["files"]["c2i"].as_str().expect("a folder");
        let yaml = Blob::Disk(golden("flextok-tiny").join(folder).join("config.yaml"));
        let settings = FlexArConfig::read("config.yaml", &yaml.yaml().expect("YAML"));
        let settings = settings.expect("settings");
        let network = FlexAr::load(&weights("flextok-tiny", folder, dtype), &settings);
        let network = network.expect("FlexAR");
        let run = TokenRun {
            position: 0,
            tokens: &[0],
            conditions: &[network.class(Some(3)).expect("a class")],
            seen: &[vec![]],
        };
        network.forward(run, &mut |_, _, _| ()).expect("logits").0
    });
    let config = json("imagereward-tiny", "config.json");
    check("imagereward-tiny, images", &|dtype| {
        let heads = config["vision_heads"].as_u64().map(|heads| heads as usize);
        let weights = weights("imagereward-tiny", "ImageReward.pt", dtype);
        let network = VisualEncoder::load(&weights.pp("blip.visual_encoder"), heads);
        let network = network.expect("the encoder of BLIP");
        network.forward(&pixels(network.side())).expect("features")
    });
}

/// One scale with these bits, or with the likelier ones; returns logits and bits.
fn step(rollout: &mut InfinityRollout, bits: Option<Vec<u8>>) -> (Vec<f32>, Vec<u8>) {
    let mut seen = Vec::new();
    let mut drawn = Vec::new();
    let mut draw = |_: usize, logits: &[f32]| {
        seen = logits.to_vec();
        drawn = bits.clone().unwrap_or_else(|| {
            logits
                .chunks(2)
                .map(|pair| u8::from(pair[1] > pair[0]))
                .collect()
        });
        drawn.clone()
    };
    rollout.step_with(&mut draw).expect("a step");
    (seen, drawn)
}

/// Each layer of the decoder rounds what it leaves; its tiles are summed in f32.
#[test]
fn bf16_pictures_stay_within_three_percent() {
    for fixture in ["infinity-tiny", "infinity-8b-like-tiny"] {
        let config = json(fixture, "config.json");
        let file = golden(fixture).join(config["files"]["vae"].as_str().expect("a file"));
        let [exact, rounded] = [Dtype::F32, Dtype::Bf16].map(|dtype| {
            let weights = Weights::new(
                hub::open(&file, &["vae"]).expect("a checkpoint"),
                dtype,
                &Device::Cpu,
            );
            Decoder::load(&weights.pp("decoder"), Attention::None).expect("the decoder")
        });
        let (cells, channels) = (6 * 5, exact.latent_channels());
        let code = |i: usize| if (i * i / 7 + i / 3).is_multiple_of(2) { 1.0 } else { -1.0 } / (channels as f32).sqrt();
        let z = Tensor::from_iter((0..channels * cells).map(code), &Device::Cpu).expect("codes");
        let z = z.reshape((1, channels, 6, 5)).expect("a latent");
        let [exact, rounded] = [exact, rounded]
            .map(|decoder| crate::support::values(&decoder.forward(&z).expect("a picture")));
        let distance = distance(&rounded, &exact);
        println!("{fixture}: {:.2} % apart", 100.0 * distance);
        assert!(distance > 0.0 && distance < 0.03, "{fixture}: {distance}");
    }
}

/// A trained decoder, on latents that its transformer draws: what rounding to bf16 changes in an image of
/// 8 bits per colour.
#[test]
fn bf16_pictures_of_the_demo_differ_by_less_than_half_a_level() {
    let system = System::builder("demo").open().expect("the demo");
    let options = system.resolve(&Options::default()).expect("options");
    let pipeline = system.pipeline(&options, None).expect("a pipeline");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/demo/infinity_vae.pth");
    let decoders = [Dtype::F32, Dtype::Q8].map(|dtype| {
        let source = hub::open(&file, &["vae"]).expect("a checkpoint");
        let weights = Weights::new(source, dtype, &Device::Cpu);
        Decoder::load(&weights.pp("decoder"), Attention::None).expect("the decoder")
    });
    for prompt in [
        "a red circle",
        "two blue stars",
        "a green ring above a pink cross",
    ] {
        let mut rollout = pipeline.begin(&prompt.into(), 0..1, 7).expect("a start");
        for _ in pipeline.scales() {
            rollout.step().expect("a step");
        }
        let map = rollout.latents(&[0]).expect("a latent").remove(0).map;
        let shape = (1, map.channels, map.height, map.width);
        let z = Tensor::from_vec(map.values, shape, &Device::Cpu).expect("a latent");
        let [exact, rounded] = decoders.each_ref().map(|decoder| {
            let picture = decoder.forward(&z).expect("a picture");
            let level = |value: f32| (f64::from(value.clamp(-1.0, 1.0)) + 1.0) * 127.5;
            let values = crate::support::values(&picture);
            values.into_iter().map(level).collect::<Vec<_>>()
        });
        let apart = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs());
        let most = apart.clone().fold(0.0, f64::max);
        let mean = apart.sum::<f64>() / exact.len() as f64;
        println!("{prompt}: {mean:.3} levels apart on average, {most:.1} at most");
        assert!(
            mean > 0.0 && mean < 0.5 && most < 4.0,
            "{prompt}: {mean}, {most}"
        );
    }
}

/// The only difference is the rounding of weights and rows: products are exact in f32, and sums are
/// taken in it.
#[test]
fn bf16_layers_are_those_of_rounded_weights_and_rows() {
    let random =
        |shape: (usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).expect("numbers");
    for (rows, inputs, outputs) in [(1, 5, 3), (7, 1100, 65), (300, 64, 96)] {
        let (weight, x) = (random((outputs, inputs)), random((rows, inputs)));
        let halves = |t: &Tensor| {
            t.to_dtype(DType::BF16)
                .and_then(|t| t.to_dtype(DType::F32))
                .expect("rounded")
        };
        let (rounded, small) = (halves(&weight), halves(&x));
        let found = Linear::kept_as(Dtype::Bf16, weight, None)
            .and_then(|layer| layer.forward(&x))
            .expect("a product");
        let expected = Linear::new(rounded, None)
            .and_then(|layer| layer.forward(&small))
            .expect("a product");
        let distance = distance(
            &crate::support::values(&found),
            &crate::support::values(&expected),
        );
        println!("{rows} x {inputs} x {outputs}: {distance:e} apart");
        assert!(distance < 1e-6, "{rows} {inputs} {outputs}: {distance:e}");
    }
}

/// What the smaller network keeps is what it is predicted to keep; by the same rule 2B keeps at
/// most 3.4 GB at a megapixel.
#[test]
fn keys_and_values_take_half_the_memory_in_bf16_and_q8() {
    let config = json("infinity-tiny", "config.json");
    let file = golden("infinity-tiny").join(config["files"]["model"].as_str().expect("a file"));
    for dtype in Dtype::ALL {
        let weights = Weights::new(
            hub::open(&file, &[]).expect("a checkpoint"),
            dtype,
            &Device::Cpu,
        );
        let network = Infinity::load(&weights).expect("the network");
        let texts = [network
            .text(&network.unconditional(3).expect("a text"))
            .expect("a text")];
        let input = [network.first_input(&texts[0]).expect("an input")];
        let width = network.config().width / network.config().heads;
        let rope = Rope::new((1, 1), (1, 1), width, &Device::Cpu).expect("angles");
        let guidance = Guidance {
            cfg: 1.0,
            layer: None,
        };
        let run = ScaleRun {
            input: &input,
            texts: &texts,
            seen: &[vec![]],
            routing: None,
            rope: &rope,
            guidance,
            keep: true,
        };
        let (_, kept) = network.forward(run, &mut |_, _, _| ()).expect("a scale");
        let bytes = |x: &Tensor| (x.elem_count() * x.dtype().size_in_bytes()) as u64;
        let kept: u64 = kept
            .iter()
            .flatten()
            .flatten()
            .map(|Kv { k, v }| bytes(k) + bytes(v))
            .sum();
        assert_eq!(kept, network.kv_bytes(1));
        assert_eq!(kept, network.config().kv_bytes(1, dtype.of_activations()));
    }
    let grids = Schedule::released(1.0, Pixels::P1M)
        .expect("a schedule")
        .grids;
    let before_the_last: usize = grids[..grids.len() - 1]
        .iter()
        .map(|(height, width)| height * width)
        .sum();
    let sizes = Architecture::named("2b")
        .expect("an architecture")
        .transformer();
    let pair = 2 * sizes.kv_bytes(before_the_last, DType::BF16);
    println!(
        "keys and values of a guided pair of 2B at 1M in bf16: {:.2} GB",
        pair as f64 / 1e9
    );
    assert!(pair <= 3_400_000_000);
}
