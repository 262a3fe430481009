//! Measuring: random weights fit the networks, and the figures are those of the search.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::Device;
use ttsvar::{
    bench::{BenchJob, Blocks, Redness, measure},
    hub,
    loading::RandomWeights,
    models::{
        autoencoder::{Attention, Decoder, DecoderSizes},
        infinity::{Infinity, Pixels, Schedule},
    },
    nn::{Dtype, Weights},
    options::Options,
    pipelines::infinity::random::{ARCHITECTURES, Architecture, RandomInfinity},
    search::{Extractor, Features, Image, Method, Prompt, Scorer, Search, Silent},
};

use crate::support::{golden, json};

fn random_weights(tensors: Vec<(String, Vec<usize>)>) -> Weights {
    Weights::new(
        Arc::new(RandomWeights::new(tensors)),
        Dtype::F32,
        &Device::Cpu,
    )
}

/// The list of tensors of a recorded checkpoint's sizes makes the same network, of as many numbers.
#[test]
fn random_checkpoints_have_the_tensors_of_recorded_ones() {
    for fixture in ["infinity-tiny", "infinity-8b-like-tiny"] {
        let config = json(fixture, "config.json");
        let file =
            |part: &str| golden(fixture).join(config["files"][part].as_str().expect("a file"));
        let open = |part, keys: &[&str]| {
            Weights::new(
                hub::open(file(part), keys).expect("a checkpoint"),
                Dtype::F32,
                &Device::Cpu,
            )
        };
        let recorded = open("model", &["trainer.gpt_fsdp"]);
        let network = Infinity::load(&recorded).expect("the recorded network");
        let weights = random_weights(network.config().tensors());
        assert_eq!(
            Infinity::load(&weights)
                .expect("the random network")
                .config(),
            network.config()
        );
        assert_eq!(weights.values_read(), recorded.values_read(), "{fixture}");
        assert!(
            weights.unread().is_empty(),
            "{fixture}: {:?}",
            weights.unread()
        );

        let vae = &config["vae"];
        let number = |name: &str| vae[name].as_u64().expect("a number") as usize;
        let multipliers: Vec<usize> = vae["ch_mult"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|m| m.as_u64().expect("a number") as usize)
            .collect();
        let sizes = DecoderSizes {
            latent_channels: number("codebook_dim"),
            base: number("base_ch"),
            multipliers: &multipliers,
            blocks: number("num_res_blocks") + 1,
            attention: Attention::None,
        };
        let recorded = open("vae", &["vae"]).pp("decoder");
        Decoder::load(&recorded, Attention::None).expect("the recorded decoder");
        let weights = random_weights(sizes.tensors());
        Decoder::load(&weights, Attention::None).expect("the random decoder");
        assert_eq!(weights.values_read(), recorded.values_read(), "{fixture}");
        assert!(
            weights.unread().is_empty(),
            "{fixture}: {:?}",
            weights.unread()
        );
    }
}

/// As many numbers as the peer's networks of the same names have, which keep the biases of keys
/// that are always zero.
#[test]
fn architectures_have_the_released_sizes() {
    let values = |arch: Architecture| {
        let config = arch.transformer();
        let read: usize = config
            .tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        read + (2 * config.depth + 1) * config.width
    };
    let found: Vec<usize> = ARCHITECTURES.into_iter().map(values).collect();
    assert_eq!(
        found,
        [
            125_204_896,
            361_671_808,
            941_020_096,
            2_204_697_152,
            8_376_082_128
        ]
    );
    assert!(Architecture::named("3b").is_err());
}

#[test]
fn a_measurement_counts_what_the_search_did() {
    let model = RandomInfinity::new(
        Architecture::named("infinity-layer12").unwrap(),
        Dtype::Bf16,
        &Device::Cpu,
    )
    .unwrap();
    // The first scales of the smallest schedule: a picture of 2 x 2 tokens.
    let mut schedule = Schedule::released(1.0, Pixels::P006M).unwrap();
    schedule.grids.truncate(2);
    let pipeline = model
        .scheduled_pipeline(&schedule, &Options::default(), usize::MAX)
        .unwrap();
    let extractors: BTreeMap<Features, Box<dyn Extractor>> = BTreeMap::new();
    let job = BenchJob {
        search: Search::new(pipeline.as_ref(), &Redness, &extractors),
        prompt: Prompt::from("a photo of a red circle"),
        plan: Method::BestOfN.plan(2, 3).unwrap(),
        repeat: 2,
        seed: 1,
        opened: std::time::Instant::now(),
    };
    let found = measure(&job, &mut Silent).unwrap();
    assert_eq!((found.states, found.decodes), (vec![1, 3], 3));
    let phases =
        found.seconds.text + found.seconds.decode + found.seconds.transformer.iter().sum::<f64>();
    assert!(phases <= 1.1 * found.range[1] && found.range[0] <= found.seconds.total);
    assert!(found.seconds.total <= found.range[1] && found.flops.decode > found.flops.text);
}

#[test]
fn stand_ins_see_colours() {
    let image = |colour: [u8; 3]| Image::new(30, 20, colour.repeat(600));
    let scores = Redness
        .score(
            "",
            &[image([255, 0, 0]), image([0, 0, 255]), image([9, 9, 9])],
        )
        .unwrap();
    assert_eq!(scores, [1.0, -1.0, 0.0]);
    let features = Blocks.extract(&[image([255, 0, 51])]).unwrap();
    assert_eq!(features.cols(), 3 * 16 * 16);
    let row = features.row(0);
    for (value, expected) in [(row[0], 1.0), (row[300], 0.0), (row[700], 0.2)] {
        assert!((value - expected).abs() < 1e-4, "{value} {expected}");
    }
}
