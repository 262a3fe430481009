//! VQAScore against the original classes, on small random weights.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use ttsvar::{
    hub::{self, Blob},
    models::{
        clip,
        clip_t5::{ClipT5, ClipT5Config, log_probabilities},
    },
    nn::{Dtype, Weights},
    scorers::{
        ImageQuestions, VqaScore,
        vqa::Conversation::{NoSystem, NoSystemNoUser, Plain},
    },
    search::{Image, Scorer},
    text::T5Tokenizer,
};

use crate::support::{
    assert_bytes_close, assert_close, assert_values_close, golden, json, tensors, values,
};

const FIXTURE: &str = "vqascore-tiny";
const PIXELS: f32 = 1e-5;
const TOWER: f32 = 1e-4;
const STATES: f32 = 2e-4;
const LOGITS: f32 = 3e-4;
const SCORES: f32 = 5e-5;

/// The two layouts of the same weights: one file, and shards with an index.
const CHECKPOINTS: [&str; 2] = ["zhiqiulin/clip-flant5-xl", "zhiqiulin/clip-flant5-xxl"];

/// The mark of the image in recorded ids.
const IMAGE: i64 = -200;

struct Fixture {
    images: Vec<Image>,
    /// The number of the image and the text.
    pairs: Vec<(usize, String)>,
    recorded: Value,
    tensors: HashMap<String, Tensor>,
}

fn fixture() -> Fixture {
    let recorded = json(FIXTURE, "golden.json");
    let names: Vec<String> = serde_json::from_value(recorded["images"].clone()).unwrap();
    let pair = |pair: &Value| {
        let image = pair["image"].as_u64().unwrap() as usize;
        (image, pair["text"].as_str().unwrap().to_owned())
    };
    Fixture {
        images: names
            .iter()
            .map(|name| ttsvar::image::open(golden(FIXTURE).join(name)).unwrap())
            .collect(),
        pairs: recorded["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .map(pair)
            .collect(),
        recorded,
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

fn weights(checkpoint: &str) -> Weights {
    let file = hub::open(golden(FIXTURE).join(checkpoint), &[]).unwrap();
    Weights::new(file, Dtype::F32, &Device::Cpu)
}

fn scorer(checkpoint: &str) -> VqaScore {
    let tokenizer = golden(FIXTURE).join("google/flan-t5-xl/tokenizer.json");
    let tokenizer = T5Tokenizer::open_unlimited(&Blob::Disk(tokenizer)).unwrap();
    let config: ClipT5Config =
        serde_json::from_value(json(FIXTURE, &format!("{checkpoint}/config.json"))).unwrap();
    let tower: clip::Config = serde_json::from_value(json(
        FIXTURE,
        "openai/clip-vit-large-patch14-336/config.json",
    ))
    .unwrap();
    let words = tokenizer.size();
    let w = weights(checkpoint);
    let network = ClipT5::load(&w, &config, &tower.vision_config, words).unwrap();
    let unread: Vec<String> = w
        .unread()
        .into_iter()
        .filter(|name| !name.ends_with("embed_tokens.weight") && !name.ends_with("position_ids"))
        .collect();
    assert!(unread.is_empty(), "tensors that nothing reads: {unread:?}");
    VqaScore::new(network, tokenizer).unwrap()
}

#[test]
fn parity_vqascore_tiny_images() {
    let Fixture {
        images, tensors, ..
    } = fixture();
    let scorer = scorer(CHECKPOINTS[0]);
    let pixels = scorer.pixels(&images).unwrap();
    assert_close(
        "pixel_values",
        &pixels,
        &tensors["pixel_values"],
        PIXELS,
        0.,
    );
    let bytes = tensors["resized_u8"]
        .flatten_all()
        .unwrap()
        .to_vec1::<u8>()
        .unwrap();
    assert_bytes_close("resized_u8", &unnormalised(&pixels), &bytes, 0.);
    let tokens = scorer.network().tower_tokens(&pixels).unwrap();
    assert_close("tower_tokens", &tokens, &tensors["tower_tokens"], TOWER, 0.);
    let projected = scorer.network().image_tokens(&pixels).unwrap();
    assert_close("projected", &projected, &tensors["projected"], TOWER, 0.);
    let hidden = &tensors["tower_hidden_img0"];
    let tower = scorer.network().tower();
    let first = pixels.narrow(0, 0, 1).unwrap();
    for layers in 0..hidden.dims()[0] {
        let found = tower.forward_layers(&first, layers).unwrap();
        let name = format!("tower_hidden_img0 after {layers} layers");
        let expected = hidden.get(layers).unwrap();
        assert_close(&name, &found.squeeze(0).unwrap(), &expected, TOWER, 0.);
    }
}

/// Normalised planes (M, 3, H, W) as bytes (M, H, W, 3).
fn unnormalised(pixels: &Tensor) -> Vec<u8> {
    let config = json(FIXTURE, "config.json");
    let row = |name: &str| -> Tensor {
        let three: [f32; 3] = serde_json::from_value(config[name].clone()).unwrap();
        Tensor::new(&three, &Device::Cpu).unwrap()
    };
    let last = pixels.permute((0, 2, 3, 1)).unwrap();
    let scaled = last
        .broadcast_mul(&row("pixel_std"))
        .unwrap()
        .broadcast_add(&row("pixel_mean"))
        .unwrap();
    let values = values(&(scaled * 255.0).unwrap());
    values
        .into_iter()
        .map(|value| value.round() as u8)
        .collect()
}

#[test]
fn parity_vqascore_tiny_questions() {
    let Fixture {
        pairs,
        tensors,
        recorded,
        ..
    } = fixture();
    let scorer = scorer(CHECKPOINTS[0]);
    let ids = tensors["input_ids"]
        .to_dtype(DType::I64)
        .unwrap()
        .to_vec2::<i64>()
        .unwrap();
    let labels = tensors["labels"]
        .to_dtype(DType::I64)
        .unwrap()
        .to_vec2::<i64>()
        .unwrap();
    for (i, (_, text)) in pairs.iter().enumerate() {
        let question = scorer.question(text).unwrap();
        let left = question.left.iter().map(|id| i64::from(*id));
        let right = question.right.iter().map(|id| i64::from(*id));
        let found: Vec<i64> = left.chain([IMAGE]).chain(right).collect();
        let length = recorded["question_lengths"][i].as_u64().unwrap() as usize;
        assert_eq!(found, ids[i][..length], "ids of pair {i}");
        assert!(ids[i][length..].iter().all(|id| *id == 0));
        let answer = scorer.answer_tokens(text).unwrap();
        let answer: Vec<i64> = answer.into_iter().map(i64::from).collect();
        assert_eq!(answer, labels[i], "labels of pair {i}");
    }
}

#[test]
fn parity_vqascore_tiny_states_and_logits() {
    let Fixture {
        images,
        pairs,
        tensors,
        ..
    } = fixture();
    for checkpoint in CHECKPOINTS {
        let scorer = scorer(checkpoint);
        let network = scorer.network();
        for (i, (image, text)) in pairs.iter().enumerate() {
            let named = |name: &str| format!("{checkpoint}: {name} of pair {i}");
            let pixels = scorer.pixels(&images[*image..=*image]).unwrap();
            let tokens = network.image_tokens(&pixels).unwrap();
            let question = network.prepare(&scorer.question(text).unwrap()).unwrap();
            let real = question.tokens();
            let rows = |name: &str| {
                let all = tensors[name].get(i).unwrap();
                all.narrow(0, 0, real.min(all.dims()[0])).unwrap()
            };
            let mask = values(&tensors["encoder_attention_mask"].get(i).unwrap());
            assert_eq!(mask.iter().filter(|mask| **mask == 1.0).count(), real);
            let spliced = network.spliced(&question, &tokens).unwrap();
            let one = |x: &Tensor| x.squeeze(0).unwrap();
            let name = "inputs_embeds";
            assert_close(&named(name), &one(&spliced), &rows(name), TOWER, 0.);
            let encoded = network.encode(&question, &spliced).unwrap();
            let name = "encoder_out";
            assert_close(&named(name), &one(&encoded), &rows(name), STATES, 0.);
            if i == 0 {
                let name = "encoder_out_p0_batch1";
                assert_close(name, &one(&encoded), &tensors[name], STATES, 0.);
            }
            let answer = scorer.answer_tokens(text).unwrap();
            let states = network
                .decoder
                .forward(&network.encoder, &encoded, None, &answer)
                .unwrap();
            let name = "decoder_out";
            assert_close(&named(name), &one(&states), &rows(name), STATES, 0.);
            let logits = network.answer_logits(&question, &encoded, &answer).unwrap();
            assert_close(&named("logits"), &one(&logits), &rows("logits"), LOGITS, 0.);
            let found = log_probabilities(&logits, &answer).unwrap();
            let expected = values(&tensors["answer_log_prob"].get(i).unwrap());
            assert_values_close(&named("answer_log_prob"), &found[0], &expected, LOGITS, 0.);
            let first = values(&tensors["first_token_prob"])[i];
            assert_values_close(
                &named("first_token_prob"),
                &[found[0][0].exp()],
                &[first],
                SCORES,
                0.,
            );
        }
    }
}

/// The score of each pair alone.
fn pair_scores(scorer: &VqaScore, fixture: &Fixture) -> Vec<f32> {
    let score = |(image, text): &(usize, String)| {
        scorer
            .score(text, &fixture.images[*image..=*image])
            .unwrap()[0]
    };
    fixture.pairs.iter().map(score).collect()
}

#[test]
fn parity_vqascore_tiny_scores_of_both_layouts() {
    let fixture = fixture();
    for checkpoint in CHECKPOINTS {
        let scorer = scorer(checkpoint);
        let found = pair_scores(&scorer, &fixture);
        for name in ["scores", "scores_batch1", "scores_batch2and4"] {
            let expected = values(&fixture.tensors[name]);
            assert_values_close(
                &format!("{checkpoint}: {name}"),
                &found,
                &expected,
                SCORES,
                0.,
            );
        }
        let matrix = fixture.tensors["scores_matrix"]
            .t()
            .unwrap()
            .contiguous()
            .unwrap();
        for (i, (_, text)) in fixture.pairs.iter().enumerate() {
            let row = scorer.score(text, &fixture.images).unwrap();
            let name = format!("{checkpoint}: scores_matrix, text {i}");
            assert_values_close(&name, &row, &values(&matrix.get(i).unwrap()), SCORES, 0.);
        }
    }
}

#[test]
fn parity_vqascore_tiny_scores_of_other_questions_and_answers() {
    let fixture = fixture();
    let other = fixture.recorded["other_question"].as_str().unwrap();
    let caption = fixture.recorded["caption_answer_template"]
        .as_str()
        .unwrap();
    let of = || scorer(CHECKPOINTS[0]);
    for (name, scorer) in [
        ("scores_answer_no", of().answering("No")),
        ("scores_answer_caption", of().answering(caption)),
        ("scores_other_question", of().asking(other)),
        ("scores_t5_chat_no_system", of().in_conversation(NoSystem)),
        (
            "scores_t5_chat_no_system_no_user",
            of().in_conversation(NoSystemNoUser),
        ),
        ("scores_t5_plain", of().in_conversation(Plain)),
    ] {
        let found = pair_scores(&scorer, &fixture);
        let expected = values(&fixture.tensors[name]);
        assert_values_close(name, &found, &expected, SCORES, 0.);
    }
}

#[test]
fn vqascore_is_far_from_the_wrong_turns() {
    let fixture = fixture();
    let found = pair_scores(&scorer(CHECKPOINTS[0]), &fixture);
    for name in [
        "trap_scores_all_rows",
        "trap_scores_last_layer",
        "trap_scores_centre_crop",
        "trap_scores_no_end_before_image",
    ] {
        let wrong = values(&fixture.tensors[name]);
        let off = found.iter().zip(&wrong).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f32::max);
        println!("{name}: {off:.4} away");
        assert!(off > 20.0 * SCORES, "{name}");
    }
}

#[test]
fn vqascore_asks_a_question_of_the_users_own() {
    let fixture = fixture();
    let scorer = scorer(CHECKPOINTS[0]);
    let images = &fixture.images;
    let yes = scorer.answer("Is it red?", "Yes", images).unwrap();
    let three = scorer.answer("How many?", "three", images).unwrap();
    let asking = scorer.asking("Is it red? Please answer yes or no.");
    assert_eq!(yes, asking.score("a cat", images).unwrap());
    let asking = asking
        .asking("How many? Answer in one word.")
        .answering("three");
    assert_eq!(three, asking.score("a cat", images).unwrap());
    let error = asking.asking("{}").score("an <image> tag", &fixture.images);
    assert!(error.unwrap_err().to_string().contains("<image>"));
}

#[test]
fn vqascore_does_not_see_padding_that_is_written_in_a_text() {
    let fixture = fixture();
    let scorer = scorer(CHECKPOINTS[0]);
    let score = |text: &str| scorer.score(text, &fixture.images[..1]).unwrap()[0];
    assert!(score("a cat <pad>").is_finite());
    let question = scorer.question("a cat <pad>").unwrap();
    assert!(
        question.right.contains(&0),
        "the tokenizer has an id for it"
    );
}
