//! Tokenizers and the T5 encoder against the recordings of the original programs.

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use ttsvar::{
    hub::{self, Blob},
    models::t5::{T5Config, T5Encoder},
    nn::{Dtype, Weights},
    text::{T5Tokenizer, WordPieceTokenizer},
};

use crate::support::{assert_close, golden, json, tensors};

const T5: &str = "t5-tiny";
const IMAGE_REWARD: &str = "imagereward-tiny";

fn blob(fixture: &str, file: &str) -> Blob {
    Blob::Disk(golden(fixture).join(file))
}

fn prompts() -> Vec<String> {
    let recorded = json(T5, "prompts.json");
    let text = |entry: &Value| entry["prompt"].as_str().expect("a prompt").to_owned();
    recorded
        .as_array()
        .expect("a list")
        .iter()
        .map(text)
        .collect()
}

fn rows(tensor: &Tensor) -> Vec<Vec<u32>> {
    tensor.to_dtype(DType::U32).unwrap().to_vec2().unwrap()
}

#[test]
fn parity_t5_tiny_tokens() {
    let tokenizer = T5Tokenizer::open(&blob(T5, "tokenizer.json")).unwrap();
    let golden = tensors(T5, "golden.safetensors");
    let (ids, mask) = (rows(&golden["input_ids"]), rows(&golden["attention_mask"]));
    let recorded = json(T5, "prompts.json");
    for (i, prompt) in prompts().iter().enumerate() {
        let found = tokenizer.encode(prompt).unwrap();
        let length = mask[i].iter().sum::<u32>() as usize;
        assert_eq!(found, ids[i][..length], "prompt {i}");
        assert_eq!(
            length, recorded[i]["length_with_eos_after_truncation"],
            "prompt {i}"
        );
    }
    println!("{} prompts have the recorded ids", ids.len());
}

fn encoder(location: impl Into<hub::Location>) -> T5Encoder {
    let weights = Weights::new(hub::open(location, &[]).unwrap(), Dtype::F32, &Device::Cpu);
    let config: T5Config = blob(T5, "config.json").json().unwrap();
    T5Encoder::load(&weights, &config).unwrap()
}

fn hidden_states(encoder: &T5Encoder) {
    const LIMIT: f32 = 1e-4; // the fixture's README
    let tokenizer = T5Tokenizer::open(&blob(T5, "tokenizer.json")).unwrap();
    let golden = tensors(T5, "golden.safetensors");
    let mut compact = Vec::new();
    for (i, prompt) in prompts().iter().enumerate() {
        let mut found = encoder.encode(&tokenizer.encode(prompt).unwrap()).unwrap();
        compact.push(found.clone());
        let name = match golden.get(&format!("p{i}.rows")) {
            Some(rows) => {
                found = found
                    .index_select(&rows.to_dtype(DType::U32).unwrap(), 0)
                    .unwrap();
                format!("p{i}.last_hidden_state_rows")
            }
            None => format!("p{i}.last_hidden_state"),
        };
        assert_close(&name, &found, &golden[&name], LIMIT, 0.0);
    }
    let offsets: Vec<i64> = golden["cu_seqlens_p0_p1_p2"]
        .to_dtype(DType::I64)
        .unwrap()
        .to_vec1()
        .unwrap();
    let stacked = Tensor::cat(&compact[..offsets.len() - 1], 0).unwrap();
    assert_close(
        "kv_compact_p0_p1_p2",
        &stacked,
        &golden["kv_compact_p0_p1_p2"],
        LIMIT,
        0.0,
    );
}

#[test]
fn parity_t5_tiny_hidden_states_from_safetensors() {
    hidden_states(&encoder(blob(T5, "model.safetensors")));
}

#[test]
fn parity_t5_tiny_hidden_states_from_bin_shards() {
    let folder = tempfile::tempdir().unwrap();
    let index = "pytorch_model.bin.index.json";
    let map = json(T5, index)["weight_map"].clone();
    let mut files: Vec<&str> = map
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str)
        .collect();
    files.push(index);
    files.sort();
    files.dedup();
    for file in files {
        std::fs::copy(golden(T5).join(file), folder.path().join(file)).unwrap();
    }
    hidden_states(&encoder(folder.path()));
}

#[test]
fn a_t5_config_that_contradicts_the_weights_is_refused() {
    let weights = Weights::new(
        hub::open(golden(T5), &[]).unwrap(),
        Dtype::F32,
        &Device::Cpu,
    );
    let mut config: T5Config = blob(T5, "config.json").json().unwrap();
    let heads = config.num_heads.replace(3).unwrap();
    let message = T5Encoder::load(&weights, &config)
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("num_heads = 3") && message.contains(&format!("num_heads = {heads}")),
        "{message}"
    );
}

#[test]
fn parity_imagereward_tiny_tokens() {
    let recorded = json(IMAGE_REWARD, "golden.json");
    let golden = tensors(IMAGE_REWARD, "golden.safetensors");
    let (ids, mask) = (rows(&golden["input_ids"]), rows(&golden["attention_mask"]));
    let length = json(IMAGE_REWARD, "config.json")["max_text_length"]
        .as_u64()
        .unwrap() as usize;
    for file in ["vocab.txt", "tokenizer.json"] {
        let tokenizer = WordPieceTokenizer::open(&blob(IMAGE_REWARD, file)).unwrap();
        assert_eq!(
            tokenizer.size(),
            json(IMAGE_REWARD, "config.json")["text"]["vocab_size"],
            "{file}"
        );
        for (i, prompt) in recorded["prompts"].as_array().unwrap().iter().enumerate() {
            let found = tokenizer.encode(prompt.as_str().unwrap(), length).unwrap();
            assert_eq!(
                (found.ids, found.mask),
                (ids[i].clone(), mask[i].clone()),
                "{file}, prompt {i}"
            );
        }
        println!("{file}: {} prompts have the recorded ids", ids.len());
    }
}

#[test]
fn files_that_are_no_tokenizer_are_refused() {
    let message = |result: ttsvar::Result<T5Tokenizer>| {
        let text = result.err().expect("an error").to_string();
        println!("{text}");
        assert!(!text.contains('\n'), "{text}");
        text
    };
    assert!(message(T5Tokenizer::open(&blob(T5, "config.json"))).contains("not a tokenizer"));
    assert!(
        message(T5Tokenizer::open(&blob(T5, "none.json"))).ends_with("none.json: no such file")
    );
    assert!(
        message(T5Tokenizer::open(&blob(IMAGE_REWARD, "tokenizer.json")))
            .contains("expected a T5 tokenizer")
    );
    let text = WordPieceTokenizer::open(&blob(T5, "prompts.json"))
        .err()
        .expect("an error")
        .to_string();
    assert!(text.contains("no `[UNK]` in it"), "{text}");
}
