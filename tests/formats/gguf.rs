//! GGUF files: those of the tensor library and of llama.cpp are read, those written here can be
//! read by the tensor library, and damaged ones are refused.

use std::{collections::BTreeMap, fs, io::Cursor, sync::Arc};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use ttsvar::{
    hub::{self, gguf_writer::write_q8_0},
    nn::{StoredType, TensorInfo, TensorSource},
};

use crate::support::{torch::memory, values, values_in_parts};

/// Tensors in memory.
struct Held(BTreeMap<String, Tensor>);

impl TensorSource for Held {
    fn origin(&self) -> String {
        "memory".to_owned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let tensor = self.0.get(name)?;
        Some(TensorInfo {
            shape: tensor.dims().to_vec(),
            element: StoredType::Readable(tensor.dtype()),
        })
    }

    fn load(&self, name: &str) -> ttsvar::Result<Tensor> {
        Ok(self.0[name].clone())
    }
}

fn numbers(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|i| (i as f32 * 0.37).sin().powi(3));
    let flat = Tensor::from_iter(values, &Device::Cpu).unwrap();
    flat.reshape(shape).unwrap()
}

/// Matrices, and what must stay as it was: norms, tables, convolutions, halves.
fn held() -> Held {
    let half = |dtype| numbers(&[7]).to_dtype(dtype).unwrap();
    let tensors = [
        ("blocks.0.fc1.weight", numbers(&[5, 64])),
        ("blocks.0.fc1.bias", numbers(&[5])),
        ("lvl_embed.weight", numbers(&[3, 32])),
        ("conv.weight", numbers(&[2, 32, 3, 32])),
        ("narrow.weight", numbers(&[4, 20])),
        ("half", half(DType::F16)),
        ("rounded", half(DType::BF16)),
    ];
    let named = tensors.map(|(name, tensor)| (name.to_owned(), tensor));
    Held(named.into_iter().collect())
}

fn written() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let mut last = 0.0;
    let bytes = write_q8_0(&held(), &path, |share| {
        assert!(share >= last && share <= 1.0);
        last = share;
    })
    .unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!(content.len() as u64, bytes);
    content
}

fn open(bytes: Vec<u8>) -> ttsvar::Result<Arc<dyn TensorSource>> {
    hub::open(memory(bytes), &[])
}

#[test]
fn only_matrices_are_quantised_and_the_rest_is_kept_to_the_bit() {
    let file = open(written()).unwrap();
    for (name, expected) in held().0 {
        let found = file.load(&name).unwrap();
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let in_parts = values_in_parts(&*file, &name).unwrap();
        assert_eq!(in_parts, values(&found), "{name}");
        let pairs = values(&found).into_iter().zip(values(&expected));
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if name == "blocks.0.fc1.weight" {
            // Half a step of the largest block
            assert!(apart > 0.0 && apart <= 0.501 / 127.0, "{apart}");
        } else {
            assert_eq!(apart, 0.0, "{name}");
            assert_eq!(found.dtype(), expected.dtype(), "{name}");
        }
    }
}

#[test]
fn the_tensor_library_reads_what_is_written_here() {
    let bytes = written();
    let ours = open(bytes.clone()).unwrap();
    let mut reader = Cursor::new(bytes);
    let content = gguf_file::Content::read(&mut reader).unwrap();
    assert_eq!(content.tensor_infos.len(), held().0.len());
    for name in content.tensor_infos.keys() {
        let theirs = content.tensor(&mut reader, name, &Device::Cpu).unwrap();
        let theirs = theirs.dequantize(&Device::Cpu).unwrap();
        assert_eq!(values(&theirs), values(&ours.load(name).unwrap()), "{name}");
    }
}

#[test]
fn files_of_the_tensor_library_are_read_in_every_quantised_type() {
    let kinds = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::Q4_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q6K,
    ];
    for kind in kinds {
        let tensor = QTensor::quantize(&numbers(&[3, 256]), kind).unwrap();
        let mut bytes = Cursor::new(vec![]);
        gguf_file::write(&mut bytes, &[], &[("layer.weight", &tensor)]).unwrap();
        let file = open(bytes.into_inner()).unwrap();
        let expected = tensor.dequantize(&Device::Cpu).unwrap();
        let found = file.load("layer.weight").unwrap();
        assert_eq!(values(&found), values(&expected), "{kind:?}");
    }
}

#[test]
fn encoders_of_llama_cpp_get_their_original_names() {
    let tensor = QTensor::quantize(&numbers(&[2, 32]), GgmlDType::Q8_0).unwrap();
    let names = [
        ("token_embd.weight", "shared.weight"),
        (
            "enc.blk.3.attn_q.weight",
            "encoder.block.3.layer.0.SelfAttention.q.weight",
        ),
        (
            "enc.blk.0.attn_rel_b.weight",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        (
            "enc.blk.11.ffn_gate.weight",
            "encoder.block.11.layer.1.DenseReluDense.wi_0.weight",
        ),
        ("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
        ("enc.blk.0.unknown.weight", "enc.blk.0.unknown.weight"),
    ];
    let tensors: Vec<(&str, &QTensor)> = names.iter().map(|(name, _)| (*name, &tensor)).collect();
    let mut bytes = Cursor::new(vec![]);
    gguf_file::write(&mut bytes, &[], &tensors).unwrap();
    let mut found = open(bytes.into_inner()).unwrap().names();
    let mut expected: Vec<String> = names.iter().map(|(_, name)| (*name).to_owned()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let whole = written();
    for length in (4..whole.len()).step_by(7) {
        // The padding behind the last tensor may be missing.
        if whole.len() - length < 32 {
            continue;
        }
        let error = open(whole[..length].to_vec()).err();
        assert!(error.is_some(), "{length} of {} bytes", whole.len());
    }
}

#[test]
fn no_damaged_byte_of_the_header_panics_or_takes_memory() {
    let whole = written();
    for at in 4..500.min(whole.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let Ok(file) = open(damaged) else { continue };
            for name in file.names() {
                // Either is fine as long as it comes back.
                drop(file.load(&name));
            }
        }
    }
}

#[test]
fn headers_say_what_is_wrong_with_them() {
    let whole = written();
    let message = |at: usize, bytes: &[u8]| {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        open(damaged).err().map(|error| error.to_string())
    };
    let version = message(4, &[1]).unwrap();
    assert!(
        version.contains("version 2 or 3 of GGUF, found 1"),
        "{version}"
    );
    let tensors = message(8, &[0xff; 7]).unwrap();
    assert!(
        tensors.contains("tensors, more than the file has"),
        "{tensors}"
    );
    let name = message(24, &[0xff, 0xff]).unwrap();
    assert!(name.contains("bytes of a name"), "{name}");
}
