//! GGUF files: those of the tensor library and of llama.cpp are read, those written here can be
//! read by the tensor library, and damaged ones are refused.

use std::{collections::BTreeMap, fs, io::Cursor, sync::Arc};

use candle_core::{
    DType, Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file},
};
use ttsvar::{
    hub::{self, gguf_writer::write_q8_0},
    nn::{Dtype, Linear, StoredType, TensorInfo, TensorSource, Weights},
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
    let file = write_q8_0(&held(), &path, |share| {
        assert!(share >= last && share <= 1.0);
        last = share;
    })
    .unwrap();
    let content = fs::read(&path).unwrap();
    assert_eq!(content.len() as u64, file.bytes);
    assert!(file.left_out.is_empty());
    content
}

/// Writes tensors, and opens the file.
fn converted(tensors: &[(&str, Tensor)]) -> ttsvar::Result<(Arc<dyn TensorSource>, Vec<String>)> {
    let named = tensors.iter();
    let named = named.map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let written = write_q8_0(&Held(named.collect()), &path, |_| ());
    if written.is_err() {
        assert!(!path.exists());
    }
    let left_out = written?.left_out;
    Ok((open(fs::read(&path).unwrap())?, left_out))
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

/// VAR and Switti have their token grids as integers.
#[test]
fn integers_are_kept() {
    let levels = Tensor::new(&[[0i64, 1, 1, -(1 << 40)]], &Device::Cpu).unwrap();
    let of = |dtype| levels.narrow(1, 0, 3).unwrap().to_dtype(dtype).unwrap();
    let large = Tensor::new(&[u32::MAX, 1], &Device::Cpu).unwrap();
    let tensors = [
        ("lvl_1L", levels.clone()),
        ("i32", of(DType::I32)),
        ("i16", of(DType::I16)),
        ("flags", of(DType::U8)),
        ("u32", large),
        ("f64", numbers(&[3]).to_dtype(DType::F64).unwrap()),
    ];
    let (file, left_out) = converted(&tensors).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    for (name, expected) in tensors {
        let found = file.load(name).unwrap();
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let kept = match expected.dtype() {
            DType::U8 => DType::I16,
            DType::U32 => DType::I64,
            dtype => dtype,
        };
        assert_eq!(found.dtype(), kept, "{name}");
        let exact = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all();
        let exact = |tensor| exact(tensor).unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(exact(&found), exact(&expected), "{name}");
    }
}

#[test]
fn matrices_with_numbers_that_8_bits_cannot_hold_are_refused() {
    let largest = 127.0 * 65504.0;
    for (weight, expected) in [
        (
            f32::NAN,
            Some("expected finite numbers, found NaN at element 70"),
        ),
        (
            f32::NEG_INFINITY,
            Some("expected finite numbers, found -inf at element 70"),
        ),
        (
            1e7,
            Some(
                "at most 8319008 in absolute value, as 8 bits can hold, found 10000000 at element 70",
            ),
        ),
        (-largest, None),
    ] {
        let mut weights = values(&numbers(&[5, 64]));
        weights[70] = weight;
        let matrix = Tensor::from_vec(weights, (5, 64), &Device::Cpu).unwrap();
        let result = converted(&[("layer.weight", matrix)]);
        let Some(expected) = expected else {
            let file = result.unwrap().0;
            let found = values(&file.load("layer.weight").unwrap())[70];
            assert!((found - weight).abs() <= 1e-3 * largest, "{found}");
            continue;
        };
        let error = result.err().unwrap().to_string();
        assert!(error.contains("memory: tensor `layer.weight`"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let matrix = numbers(&[5, 64]).affine(1e9, 0.0).unwrap();
    let source = Held([("layer.weight".to_owned(), matrix)].into());
    let weights = Weights::new(Arc::new(source), Dtype::Q8, &Device::Cpu).pp("layer");
    let error = Linear::load_with_bias(&weights, 64, 5, None).err().unwrap();
    assert!(error.to_string().contains("as 8 bits can hold"), "{error}");
    // What is kept as it was may have such numbers: VAR has a mask with them.
    let mask = Tensor::new(&[0.0, f32::NEG_INFINITY], &Device::Cpu).unwrap();
    let (file, _) = converted(&[("attn_bias_for_masking", mask)]).unwrap();
    let kept = values(&file.load("attn_bias_for_masking").unwrap());
    assert_eq!(kept, [0.0, f32::NEG_INFINITY]);
}

#[test]
fn tensors_that_the_format_cannot_hold_are_left_out() {
    let long = "n".repeat(600);
    let tensors = [
        ("deep", numbers(&[1, 2, 1, 2, 1])),
        (long.as_str(), numbers(&[2])),
        ("kept", numbers(&[2])),
    ];
    let (file, left_out) = converted(&tensors).unwrap();
    assert_eq!(file.names(), ["kept"]);
    let named = "n".repeat(80);
    let expected = [
        "`deep` (5 axes)".to_owned(),
        format!("`{named}` (a name of 600 bytes)"),
    ];
    assert_eq!(left_out, expected);
}

/// A file with these tensors of two numbers, described by name, axes and number of the type.
fn described(alignment: u32, tensors: &[(&str, u32, u32)]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    text(&mut bytes, "general.alignment");
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(alignment.to_le_bytes());
    for (name, axes, number) in tensors {
        text(&mut bytes, name);
        bytes.extend(axes.to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes().repeat(*axes as usize - 1));
        bytes.extend(number.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend([1.5f32, 2.5].map(f32::to_le_bytes).concat());
    bytes
}

/// Files of others may have tensors of no use here.
#[test]
fn tensors_that_cannot_be_read_are_errors_only_where_they_are_asked_for() {
    let long = "n".repeat(600);
    let tensors = [
        ("deep", 5, 0),
        (long.as_str(), 1, 0),
        ("odd", 1, 99),
        ("plain", 1, 0),
    ];
    let file = open(described(32, &tensors)).unwrap();
    assert_eq!(file.names(), ["deep", "odd", "plain"]);
    assert_eq!(values(&file.load("plain").unwrap()), [1.5, 2.5]);
    for (name, found) in [("deep", "a tensor of 5 axes"), ("odd", "GGUF type 99")] {
        let element = file.info(name).unwrap().element;
        assert_eq!(element, StoredType::Unreadable(found.to_owned()));
        let error = file.load(name).unwrap_err().to_string();
        assert!(error.ends_with(&format!("found {found}")), "{error}");
    }
}

#[test]
fn a_large_alignment_is_named_where_it_leaves_no_numbers() {
    let error = open(described(1 << 31, &[("plain", 1, 0)])).err().unwrap();
    let error = error.to_string();
    let expected = "the offset 0 behind byte 2147483648, where the numbers begin with an alignment \
                    of 2147483648";
    assert!(error.contains(expected), "{error}");
}
