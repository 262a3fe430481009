//! BLIP that answers questions against the classes that T2I-CompBench uses, on small random weights
//! in their own file.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use ttsvar::{
    detectors::{Answerer, BlipAnswers, open},
    hub,
    models::blip::{BlipVqa, TextConfig},
    nn::{Dtype, Weights},
    search::Image,
    text::WordPieceTokenizer,
};

use crate::support::{assert_close, assert_values_close, golden, json, numbered, tensors, values};

const FIXTURE: &str = "blip-vqa-tiny";
const PIXELS: f32 = 1e-5;
const HIDDEN: f32 = 3e-4;
const LOGITS: f32 = 1e-3;
const PROBABILITIES: f32 = 3e-4;

struct Fixture {
    model: BlipVqa,
    weights: Weights,
    answers: BlipAnswers,
    images: Vec<Image>,
    questions: Vec<String>,
    golden: Value,
    tensors: HashMap<String, Tensor>,
}

fn fixture() -> Fixture {
    let (config, recorded) = (json(FIXTURE, "config.json"), json(FIXTURE, "golden.json"));
    let folder = golden(FIXTURE);
    let path = folder.join("model_base_vqa.pth");
    let weights = Weights::new(
        hub::open(path.clone(), &["model"]).unwrap(),
        Dtype::F32,
        &Device::Cpu,
    );
    let text: TextConfig = serde_json::from_value(json(FIXTURE, "med_config.json")).unwrap();
    let heads = config["vision_heads"].as_u64().map(|heads| heads as usize);
    let strings =
        |key: &str| -> Vec<String> { serde_json::from_value(recorded[key].clone()).unwrap() };
    Fixture {
        model: BlipVqa::load(&weights, &text, heads).unwrap(),
        answers: open::blip_vqa(&path, &folder.join("vocab.txt"), &Device::Cpu).unwrap(),
        weights,
        images: strings("images")
            .iter()
            .map(|file| ttsvar::image::open(folder.join(file)).unwrap())
            .collect(),
        questions: strings("questions_raw"),
        golden: recorded,
        tensors: tensors(FIXTURE, "golden.safetensors"),
    }
}

impl Fixture {
    /// What the network sees of a picture: (1, T, C).
    fn embeds(&self, picture: usize) -> Tensor {
        let pixels = self
            .answers
            .pixels(&self.images[picture..=picture])
            .unwrap();
        self.model.visual_encoder.forward(&pixels).unwrap()
    }
}

#[test]
fn parity_blip_vqa_tiny_pictures() {
    let fixture = fixture();
    let pixels = fixture
        .answers
        .pixels(&fixture.images[..1])
        .unwrap()
        .squeeze(0)
        .unwrap();
    assert_close(
        "pixel_values_0",
        &pixels,
        &fixture.tensors["pixel_values_0"],
        PIXELS,
        0.,
    );
    let embeds = fixture.embeds(0).squeeze(0).unwrap();
    for (name, tokens, expected) in numbered(&fixture.tensors, "image_embeds_0_first", "") {
        assert_close(
            name,
            &embeds.narrow(0, 0, tokens).unwrap(),
            expected,
            HIDDEN,
            0.,
        );
    }
    for (i, row) in values_of_rows(&fixture.tensors["image_embeds_cls"])
        .iter()
        .enumerate()
    {
        let found = values(&fixture.embeds(i).narrow(1, 0, 1).unwrap());
        assert_values_close(
            &format!("image_embeds_cls of picture {i}"),
            &found,
            row,
            HIDDEN,
            0.,
        );
    }
}

#[test]
fn parity_blip_vqa_tiny_questions() {
    let fixture = fixture();
    let (ids, mask) = (
        &fixture.tensors["question_ids"],
        &fixture.tensors["question_mask"],
    );
    for (i, question) in fixture.questions.iter().enumerate() {
        let row = |of: &Tensor| -> Vec<u32> {
            of.get(i)
                .unwrap()
                .to_dtype(DType::U32)
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        let expected = row(ids)
            .into_iter()
            .zip(row(mask))
            .filter(|(_, m)| *m == 1)
            .map(|(id, _)| id);
        assert_eq!(
            fixture.answers.ids(question).unwrap(),
            expected.collect::<Vec<_>>(),
            "{question}"
        );
    }
    let tokenizer =
        WordPieceTokenizer::open(&hub::Blob::Disk(golden(FIXTURE).join("vocab.txt"))).unwrap();
    for (word, name) in [
        ("[DEC]", "dec_id"),
        ("[ENC]", "enc_id"),
        ("yes", "yes_id"),
        ("no", "no_id"),
    ] {
        assert_eq!(
            tokenizer.id(word).map(u64::from),
            fixture.golden[name].as_u64(),
            "{word}"
        );
    }
    let prompt = fixture.answers.questions(&fixture.questions).unwrap();
    let embeds = fixture.embeds(0);
    let states = fixture.model.question_states(&prompt, &embeds).unwrap();
    let expected = &fixture.tensors["question_states_img0"];
    for i in 0..fixture.questions.len() {
        // What stands in padding is nobody's.
        let tokens = fixture.answers.ids(&fixture.questions[i]).unwrap().len();
        let cut = |of: &Tensor| of.get(i).unwrap().narrow(0, 0, tokens).unwrap();
        assert_close(
            &format!("question_states_img0, question {i}"),
            &cut(&states),
            &cut(expected),
            HIDDEN,
            0.,
        );
    }
    let logits = fixture.answers.logits(&prompt, &embeds).unwrap();
    assert_close(
        "first_token_logits_img0",
        &logits,
        &fixture.tensors["first_token_logits_img0"],
        LOGITS,
        0.,
    );
}

#[test]
fn parity_blip_vqa_tiny_answers() {
    let fixture = fixture();
    let questions = vec![fixture.questions.clone(); fixture.images.len()];
    let answers = fixture
        .answers
        .answers(&fixture.images, &questions)
        .unwrap();
    for (i, answers) in answers.iter().enumerate() {
        let row = |name: &str| values_of_rows(&fixture.tensors[name])[i].clone();
        let check = |name: &str, found: Vec<f32>| {
            assert_values_close(
                &format!("{name} of picture {i}"),
                &found,
                &row(name),
                PROBABILITIES,
                0.,
            );
        };
        check("p_yes", answers.iter().map(|answer| answer.yes).collect());
        check("p_no", answers.iter().map(|answer| answer.no).collect());
        check(
            "vqa_prob",
            answers.iter().map(|answer| answer.share()).collect(),
        );
        let texts: Vec<f32> = answers
            .iter()
            .map(|answer| format!("{:.4}", answer.share()).parse().unwrap())
            .collect();
        let recorded: Vec<String> =
            serde_json::from_value(fixture.golden["vqa_prob_strings"][i].clone()).unwrap();
        let recorded: Vec<f32> = recorded.iter().map(|text| text.parse().unwrap()).collect();
        assert_values_close(
            &format!("vqa_prob_strings of picture {i}"),
            &texts,
            &recorded,
            PROBABILITIES,
            0.,
        );
        let product: f32 = texts.iter().product();
        let expected = fixture.golden["product_per_image"][i].as_f64().unwrap() as f32;
        assert_values_close(
            &format!("product_per_image {i}"),
            &[product],
            &[expected],
            PROBABILITIES,
            0.,
        );
    }
}

#[test]
fn answers_are_the_same_bits_alone_and_in_company() {
    let fixture = fixture();
    let questions: Vec<Vec<String>> = vec![
        fixture.questions.clone(),
        fixture.questions[..1].to_vec(),
        vec![],
        fixture.questions[1..].to_vec(),
    ];
    let images: Vec<Image> = fixture
        .images
        .iter()
        .cycle()
        .take(questions.len())
        .cloned()
        .collect();
    let together = fixture.answers.yes(&images, &questions).unwrap();
    let counts = |of: &[Vec<_>]| of.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(
        together.iter().map(Vec::len).collect::<Vec<_>>(),
        counts(&questions)
    );
    for ((image, questions), together) in images.iter().zip(&questions).zip(&together) {
        for (question, answer) in questions.iter().zip(together) {
            let alone = fixture
                .answers
                .yes(std::slice::from_ref(image), &[vec![question.clone()]])
                .unwrap();
            assert_eq!(alone[0][0].to_bits(), answer.to_bits(), "{question}");
        }
    }
}

#[test]
fn every_tensor_is_known() {
    let mut unread = fixture().weights.unread();
    unread.retain(|name| !name.contains("position_ids") && !name.ends_with("predictions.bias"));
    assert!(unread.is_empty(), "{unread:?}");
}

fn values_of_rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}
