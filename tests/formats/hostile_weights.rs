//! Damaged, foreign and hostile weight files: each is refused with one clear line, and nothing
//! panics or runs.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device};
use proptest::prelude::*;
use ttsvar::{
    hub,
    models::autoencoder::{Attention, Decoder},
    nn::{Dtype, StoredType, TensorInfo, TensorSource, Weights},
};
use zip::CompressionMethod;

use crate::support::{
    golden,
    torch::{
        PLAIN, Pickle, Tensor, archive, archive_with, memory, named, read, refused,
        single_tensor_file, six, state_dict,
    },
    values_in_parts,
};

/// The values of a tensor, which are the same whole and in parts.
fn values(source: &dyn TensorSource, name: &str) -> Vec<f32> {
    let whole = crate::support::values(&source.load(name).unwrap());
    assert_eq!(values_in_parts(source, name).unwrap(), whole, "{name}");
    whole
}

#[test]
fn a_small_file_loads() {
    let source = read(single_tensor_file(PLAIN), &[]).unwrap();
    assert_eq!(source.info("layer.weight").unwrap().shape, [2, 3]);
    assert_eq!(values(&*source, "layer.weight"), [0., 1., 2., 3., 4., 5.]);
}

#[test]
fn views_read_the_elements_they_name() {
    let transposed = Tensor {
        shape: &[3, 2],
        stride: &[1, 3],
        ..PLAIN
    };
    let tail = Tensor {
        offset: 2,
        shape: &[4],
        stride: &[1],
        ..PLAIN
    };
    let column = Tensor {
        offset: 1,
        shape: &[2],
        stride: &[3],
        ..PLAIN
    };
    let scalar = Tensor {
        offset: 5,
        shape: &[],
        stride: &[],
        ..PLAIN
    };
    let empty = Tensor {
        offset: 9,
        shape: &[0, 4],
        stride: &[4, 1],
        ..PLAIN
    };
    let pickle = state_dict(&[
        ("t", transposed),
        ("tail", tail),
        ("c", column),
        ("s", scalar),
        ("e", empty),
        ("all", PLAIN),
    ]);
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let source = read(archive_with(method, &pickle, &[("0", &six())]), &[]).unwrap();
        assert_eq!(values(&*source, "t"), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(values(&*source, "tail"), [2., 3., 4., 5.]);
        assert_eq!(values(&*source, "c"), [1., 4.]);
        assert_eq!(values(&*source, "s"), [5.]);
        assert_eq!(source.load("e").unwrap().dims(), [0, 4]);
        assert_eq!(values(&*source, "all").len(), 6, "a storage may be shared");
    }
}

#[test]
fn every_type_of_storage_loads() {
    let types = [
        ("FloatStorage", 4, DType::F32),
        ("DoubleStorage", 8, DType::F64),
        ("HalfStorage", 2, DType::F16),
        ("BFloat16Storage", 2, DType::BF16),
        ("LongStorage", 8, DType::I64),
        ("IntStorage", 4, DType::I32),
        ("ByteStorage", 1, DType::U8),
        ("BoolStorage", 1, DType::U8),
    ];
    for (storage, width, dtype) in types {
        let pickle = state_dict(&[("x", Tensor { storage, ..PLAIN })]);
        let source = read(archive(&pickle, &[("0", &vec![0; 6 * width])]), &[]).unwrap();
        let element = source.info("x").unwrap().element;
        assert_eq!(element, StoredType::Readable(dtype), "{storage}");
    }
}

#[test]
fn tensors_are_found_under_the_keys_that_real_files_have() {
    let small = [(
        "step",
        Tensor {
            shape: &[],
            stride: &[],
            ..PLAIN
        },
    )];
    let (gpt, vae) = (
        [("a", PLAIN), ("b", PLAIN)],
        [("c", PLAIN), ("d", PLAIN), ("e", PLAIN)],
    );
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("epoch")
        .int(3)
        .text("args")
        .global("argparse", "Namespace");
    let pickle = pickle
        .raw(b")\x81}")
        .text("lr")
        .raw(b"G\x3f\xf0\0\0\0\0\0\0sb")
        .text("trainer")
        .raw(b"}(");
    let pickle = named(pickle.text("gpt_fsdp"), &gpt).text("vae_local");
    let pickle = named(named(pickle, &vae).text("optimizer"), &small)
        .raw(b"uu")
        .end();
    let file = archive(&pickle, &[("0", &six())]);
    let names = |keys: &[&str]| read(file.clone(), keys).unwrap().names();
    assert_eq!(names(&["trainer.gpt_fsdp"]), ["a", "b"]);
    assert_eq!(names(&["vae", "trainer.vae_local"]), ["c", "d", "e"]);
    let all = [
        "trainer.gpt_fsdp.a",
        "trainer.gpt_fsdp.b",
        "trainer.vae_local.c",
        "trainer.vae_local.d",
        "trainer.vae_local.e",
        "trainer.optimizer.step",
    ];
    assert_eq!(names(&[]), all, "without keys, every tensor of the file");
    assert_eq!(names(&["model"]), all, "no tensor is under that key");
}

#[test]
fn a_file_without_tensors_says_what_it_has() {
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("epoch")
        .int(3)
        .text("ema")
        .raw(b"}u")
        .end();
    refused(
        archive(&pickle, &[]),
        &["expected named tensors", "`epoch`", "`ema`"],
    );
    refused(
        archive(&Pickle::new().raw(b"]").end(), &[]),
        &["a list instead of a dictionary"],
    );
    refused(
        archive(&Pickle::new().tensor(&PLAIN).end(), &[("0", &six())]),
        &["a single tensor"],
    );
}

#[test]
fn a_pickle_that_calls_something_is_refused_by_name() {
    let call = Pickle::new()
        .global("os", "system")
        .raw(b"(")
        .text("touch owned")
        .raw(b"tR")
        .end();
    let stack = Pickle::new()
        .text("os")
        .text("system")
        .raw(b"\x93(")
        .text("x")
        .raw(b"tR")
        .end();
    let inst = Pickle::new()
        .raw(b"(")
        .text("x")
        .raw(b"ios\nsystem\n")
        .end();
    let object = Pickle::new()
        .raw(b"(")
        .global("os", "system")
        .text("x")
        .raw(b"o")
        .end();
    for pickle in [call, stack, inst, object] {
        let error = refused(archive(&pickle, &[]), &["the pickle asks for `os.system`"]);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("safetensors"))
        );
    }
    let eval = Pickle::new()
        .global("builtins", "eval")
        .raw(b"(")
        .text("1")
        .raw(b"tR")
        .end();
    refused(archive(&eval, &[]), &["`builtins.eval`"]);
    let odd = Pickle::new().global("torch", "OddStorage").end();
    refused(
        archive(&odd, &[]),
        &["`torch.OddStorage`", "this data type"],
    );
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_named() {
    let cases: [(Tensor, &str); 8] = [
        (
            Tensor {
                shape: &[2, 4],
                stride: &[4, 1],
                ..PLAIN
            },
            "shape [2, 4]",
        ),
        (
            Tensor {
                shape: &[1 << 40, 1 << 40],
                ..PLAIN
            },
            "a view of 6 stored elements",
        ),
        (
            Tensor {
                shape: &[1 << 40],
                stride: &[0],
                ..PLAIN
            },
            "a view of 6 stored elements",
        ),
        (
            Tensor {
                shape: &[0, i64::MAX, i64::MAX],
                stride: &[1, 1, 1],
                ..PLAIN
            },
            "a view of 6",
        ),
        (Tensor { offset: 1, ..PLAIN }, "offset 1"),
        (
            Tensor {
                offset: i64::MAX,
                ..PLAIN
            },
            "offset",
        ),
        (
            Tensor {
                elements: 7,
                ..PLAIN
            },
            "7 elements of 4 bytes",
        ),
        (
            Tensor {
                elements: i64::MAX,
                ..PLAIN
            },
            "a storage of 24 bytes",
        ),
    ];
    for (tensor, part) in cases {
        refused(
            single_tensor_file(tensor),
            &["tensor `layer.weight`: expected", "found", part],
        );
    }
    refused(
        single_tensor_file(Tensor { key: "9", ..PLAIN }),
        &["`layer.weight`", "no such member"],
    );
    refused(
        single_tensor_file(Tensor {
            key: "../../etc/passwd",
            ..PLAIN
        }),
        &["no such member"],
    );
    refused(
        single_tensor_file(Tensor {
            shape: &[-2, 3],
            ..PLAIN
        }),
        &["size is negative: -2"],
    );
    refused(
        single_tensor_file(Tensor {
            stride: &[3, -1],
            ..PLAIN
        }),
        &["stride is negative: -1"],
    );
    refused(
        single_tensor_file(Tensor {
            offset: -1,
            ..PLAIN
        }),
        &["storage offset is negative"],
    );
    refused(
        single_tensor_file(Tensor {
            elements: -6,
            ..PLAIN
        }),
        &["a storage of -6 elements"],
    );
    refused(
        single_tensor_file(Tensor {
            shape: &[6],
            ..PLAIN
        }),
        &["1 sizes and 2 strides"],
    );
    refused(
        single_tensor_file(Tensor {
            shape: &[1; 40],
            stride: &[1; 40],
            ..PLAIN
        }),
        &["axes"],
    );
}

#[test]
fn pickles_built_to_exhaust_the_reader_end_in_an_error() {
    let deep = Pickle::new()
        .raw(&b"]".repeat(200_000))
        .raw(&b"a".repeat(199_999))
        .end();
    refused(archive(&deep, &[]), &["a list instead of a dictionary"]);
    let marks = Pickle::new().raw(&b"(".repeat(5_000_000)).end();
    refused(archive(&marks, &[]), &["more than", "values"]);
    let own_tail = Pickle::new().raw(b"]q\0h\0a").end();
    refused(archive(&own_tail, &[]), &["a list instead"]);
    let own_dictionary = Pickle::new().raw(b"}q\0").text("me").raw(b"h\0s").end();
    refused(
        archive(&own_dictionary, &[]),
        &["expected named tensors", "`me`"],
    );
    let long = Pickle::new().raw(b"X\xff\xff\xff\xffabc").end();
    refused(
        archive(&long, &[]),
        &["damaged pickle", "middle of a value"],
    );
    let longer = Pickle::new()
        .raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc")
        .end();
    refused(archive(&longer, &[]), &["middle of a value"]);
    for stack in [
        &b"R"[..],
        b"t",
        b"s",
        b"u",
        b"h\x07",
        b"0",
        b"b",
        b"Q",
        b"o",
        b"\x93",
        b"2",
        b"}a",
        b"]s",
        b"(a",
    ] {
        refused(
            archive(&Pickle::new().raw(stack).end(), &[]),
            &["damaged pickle, byte"],
        );
    }
    refused(archive(b"\x80\x02}", &[]), &["middle of a value"]);
    refused(
        archive(&Pickle::new().raw(b"\xee").end(), &[]),
        &["unknown instruction 0xee"],
    );
}

/// A tensor takes much more memory than the few bytes that ask for it.
#[test]
fn a_pickle_of_very_many_tensors_is_refused() {
    let mut pickle = Pickle::new().global("torch._utils", "_rebuild_tensor_v2");
    pickle = pickle.raw(b"q\x00((").text("storage");
    pickle = pickle.global("torch", "FloatStorage").text("0").text("cpu");
    pickle = pickle
        .int(6)
        .raw(b"tQK\x00(K\x01K\x01t(K\x01K\x01ttq\x01}(");
    let tensor = b"U\x01nh\x00h\x01R";
    let pickle = pickle.raw(&tensor.repeat(200_001)).raw(b"u").end();
    refused(
        archive(&pickle, &[("0", &six())]),
        &["more than 200000 tensors"],
    );
}

/// A pickle can name one tensor again and again for a few bytes each, and make each name long.
#[test]
fn a_tensor_under_very_many_names_is_refused() {
    let started = std::time::Instant::now();
    let with = |prefix: usize, count: u32, value: &[u8]| {
        let inner = Pickle::new()
            .raw(b"}(")
            .text(&"p".repeat(prefix))
            .raw(b"}(");
        let tensor = inner.text("first").tensor(&PLAIN);
        let kept = tensor.raw(b"r").raw(&0u32.to_le_bytes()); // under number 0
        let keys = (0..count).fold(kept, |pickle, i| {
            pickle.raw(b"J").raw(&i.to_le_bytes()).raw(value)
        });
        archive(&keys.raw(b"uu").end(), &[("0", &six())])
    };
    let again = b"j\0\0\0\0";
    refused(
        with(9, 300_000, again),
        &["at most 200000 names of tensors"],
    );
    refused(
        with(450, 190_000, again),
        &["names of tensors of at most 67108864 bytes together"],
    );
    // Other values need no names.
    let numbers = read(with(450, 300_000, b"K\x01"), &[]).unwrap();
    assert_eq!(numbers.names().len(), 1);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn damaged_archives_are_refused() {
    let whole = single_tensor_file(PLAIN);
    for length in [whole.len() - 1, whole.len() / 2, 30, 4] {
        let error = refused(whole[..length].to_vec(), &["not a whole PyTorch archive"]);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("download it again"))
        );
    }
    let mut flipped = whole.clone();
    let at = whole
        .windows(24)
        .position(|bytes| bytes == six())
        .expect("the numbers lie plain in the file");
    flipped[at + 5] ^= 1;
    let source = hub::open(memory(flipped.clone()), &[]).unwrap();
    let error = values_in_parts(&*source, "layer.weight").unwrap_err();
    assert!(error.to_string().contains("Invalid checksum"), "{error}");
    refused(flipped, &["Invalid checksum"]);
    let zip = |name: &str| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.finish().unwrap().into_inner()
    };
    refused(zip("readme.txt"), &["without `data.pkl`"]);
    let pickle = state_dict(&[("a", PLAIN)]);
    refused(
        archive(&pickle, &[]),
        &["tensor `a`", "`data/0`", "no such member"],
    );
    refused(
        archive(&pickle, &[("0", &[0; 23])]),
        &["tensor `a`", "6 elements of 4 bytes", "23 bytes"],
    );
}

#[test]
fn foreign_files_are_named() {
    let cases: [(&[u8], &str); 7] = [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html><head>", "a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "a Git LFS pointer",
        ),
        (b"\x80\x04}.", "a bare pickle"),
        (b"{\"error\": \"not found\"}", "a JSON text"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (
            b"hello world, this is a text",
            "begins with the bytes 68 65",
        ),
    ];
    for (bytes, part) in cases {
        let error = refused(
            bytes.to_vec(),
            &[
                "expected weights (PyTorch, safetensors or GGUF), found",
                part,
            ],
        );
        assert!(error.hint().is_some(), "{part}");
    }
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn damaged_safetensors_are_refused() {
    let entry = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let file = |a: String, b: String, data| {
        safetensors(&format!(r#"{{"__metadata__":{{}},"a":{a},"b":{b}}}"#), data)
    };
    let (a, b) = (entry("F32", "[2]", 0, 8), entry("I64", "[1]", 8, 16));
    assert_eq!(
        read(file(a.clone(), b.clone(), 16), &[]).unwrap().names(),
        ["a", "b"]
    );
    refused(
        file(a.clone(), b.clone(), 15),
        &["describes 16 bytes", "has 15"],
    );
    refused(
        file(a.clone(), entry("I64", "[1]", 4, 12), 16),
        &["`b` overlaps", "byte 8", "at 4"],
    );
    refused(
        file(a.clone(), entry("I64", "[1]", 12, 20), 20),
        &["`b` comes after a hole"],
    );
    refused(
        file(a.clone(), entry("I64", "[3]", 8, 16), 16),
        &["tensor `b`", "24 bytes", "8..16"],
    );
    refused(
        file(a.clone(), entry("I64", "[1]", 16, 8), 16),
        &["tensor `b`", "16..8"],
    );
    refused(
        file(a.clone(), entry("Q4", "[1]", 8, 16), 16),
        &["tensor `b`", "a supported data type", "found Q4"],
    );
    refused(
        file(
            a.clone(),
            entry("F32", "[9223372036854775807,9]", 8, 16),
            16,
        ),
        &["tensor `b`"],
    );
    refused(
        file(a.clone(), entry("F32", "[-1]", 8, 16), 16),
        &["tensor `b`", "dtype, shape"],
    );
    let axes = format!("[{}1]", "1,".repeat(64));
    refused(
        file(a.clone(), entry("I64", &axes, 8, 16), 16),
        &["tensor `b`", "dtype, shape"],
    );
    refused(
        safetensors(&format!(r#"{{"a":{a},"b":{b},"a":{a}}}"#), 16),
        &["tensor `a` is duplicated"],
    );
    refused(file(a, "7".into(), 16), &["tensor `b`", "found 7"]);
    refused(safetensors("{\"a\":", 0), &["not the expected JSON"]);
    refused(
        b"\xff\xff\xff\xff\xff\xff\xff\xff{}".to_vec(),
        &["a safetensors header of 18446744073709551615 bytes"],
    );
    refused(
        b"\x40\0\0\0\0\0\0\0{}".to_vec(),
        &["header of 64 bytes in a file of 10"],
    );
}

#[test]
fn folders_say_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let message = |parts: &[&str]| {
        let error = hub::open(folder.path(), &[]).err().expect("an error");
        let text = error.to_string();
        assert!(
            parts.iter().all(|part| text.contains(part)) && !text.contains('\n'),
            "{text}"
        );
    };
    message(&["no weight file", "model.safetensors"]);
    let index = "model.safetensors.index.json";
    for file in ["../secret", "/etc/passwd", "a/b", "..", ""] {
        write(index, &format!(r#"{{"weight_map": {{"a": "{file}"}}}}"#));
        message(&[index, "not in the same folder"]);
    }
    write(index, r#"{"weight_map": {"a": "absent.safetensors"}}"#);
    message(&["1 of 1 shards are missing: absent.safetensors"]);
    write(index, r#"{"weights": {}}"#);
    message(&[index, "not the expected JSON", "weight_map"]);
    write(index, r#"{"weight_map": {}}"#);
    message(&["an index without tensors"]);
    std::fs::write(folder.path().join("one.pth"), single_tensor_file(PLAIN)).unwrap();
    write(index, r#"{"weight_map": {"layer.bias": "one.pth"}}"#);
    message(&[index, "`one.pth` contains none of the tensors"]);
    let missing = hub::open(folder.path().join("none.pth"), &[])
        .err()
        .expect("an error");
    assert!(
        missing.to_string().ends_with("none.pth: no such file") && missing.hint().is_some(),
        "{missing}"
    );
}

/// As in the published flan-t5-xl, whose index goes on naming tensors that are the same as another.
#[test]
fn an_index_may_name_tensors_that_no_file_has() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.pth"), single_tensor_file(PLAIN)).unwrap();
    let index = r#"{"weight_map": {"layer.weight": "one.pth", "layer.tied": "one.pth"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let source = hub::open(folder.path(), &[]).unwrap();
    assert_eq!(
        (source.names(), source.info("layer.tied")),
        (vec!["layer.weight".to_owned()], None)
    );
    let message = Weights::new(source, Dtype::F32, &Device::Cpu)
        .get(3, "layer.tied")
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("tensor `layer.tied` is missing: expected [3]"),
        "{message}"
    );
}

/// A name costs a file its length once and two bytes for each further mention.
#[test]
fn a_name_that_is_repeated_counts_once_with_its_last_value() {
    let start = Pickle::new()
        .raw(b"}(")
        .text(&"n".repeat(1 << 20))
        .raw(b"q\0")
        .tensor(&PLAIN)
        .raw(b"q\x01");
    let pickle = start
        .raw(&b"h\0h\x01".repeat(100_000))
        .text("a")
        .raw(b"q\x02")
        .tensor(&PLAIN);
    let last = Tensor {
        shape: &[4],
        stride: &[1],
        ..PLAIN
    };
    let pickle = pickle.raw(b"h\x02").tensor(&last).raw(b"u").end();
    let source = read(archive(&pickle, &[("0", &six())]), &[]).unwrap();
    assert_eq!(
        (source.names(), source.info("a").unwrap().shape),
        (vec!["a".to_owned()], vec![4])
    );
}

/// A checkpoint in which some tensors have other shapes.
struct Changed(Arc<dyn TensorSource>, HashMap<String, Vec<usize>>);

impl TensorSource for Changed {
    fn origin(&self) -> String {
        self.0.origin()
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let info = self.0.info(name)?;
        Some(TensorInfo {
            shape: self.1.get(name).unwrap_or(&info.shape).clone(),
            ..info
        })
    }

    fn load(&self, name: &str) -> ttsvar::Result<candle_core::Tensor> {
        let tensor = self.0.load(name)?;
        Ok(match self.1.get(name) {
            Some(shape) => candle_core::Tensor::zeros(&**shape, tensor.dtype(), tensor.device())?,
            None => tensor,
        })
    }
}

#[test]
fn a_decoder_of_other_shapes_is_refused_before_it_paints() {
    let file = golden("infinity-tiny").join("infinity_vae_tiny.pth");
    let file = hub::open(file.as_path(), &["vae"]).unwrap();
    let changed = |part: &str, axis: usize, size: usize| {
        let wanted = |name: &&String| name.contains(part) && name.ends_with("weight");
        let name = file.names().iter().find(wanted).unwrap().clone();
        let mut shape = file.info(&name).unwrap().shape;
        shape[axis] = size;
        let bias = (name.replace("weight", "bias"), vec![shape[0]]);
        let source = Arc::new(Changed(file.clone(), HashMap::from([(name, shape), bias])));
        let weights = Weights::new(source, Dtype::F32, &Device::Cpu);
        Decoder::load(&weights.pp("decoder"), Attention::None)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    for (part, axis, size, expected) in [
        ("decoder.conv_out.", 0, 4, "3 colours, found 4"),
        ("decoder.mid.block_1.conv1.", 2, 5, ", 3, 3], found ["),
        ("decoder.conv_in.", 1, 0, "sizes of 1 or more"),
    ] {
        let message = changed(part, axis, size);
        assert!(message.contains(expected), "{part}: {message}");
    }
}

#[test]
fn wrong_and_missing_tensors_are_named_with_both_shapes() {
    let weights = Weights::new(
        read(single_tensor_file(PLAIN), &[]).unwrap(),
        Dtype::F32,
        &Device::Cpu,
    )
    .pp("layer");
    let message = weights.get((3, 2), "weight").unwrap_err().to_string();
    assert_eq!(
        message,
        "file.pth: tensor `layer.weight`: expected [3, 2], found [2, 3]"
    );
    let message = weights.get(3, "bias").unwrap_err().to_string();
    assert_eq!(
        message,
        "file.pth: tensor `layer.bias` is missing: expected [3]"
    );
    assert_eq!(
        crate::support::values(&weights.get_reshaped((3, 2), "weight").unwrap()).len(),
        6
    );
}

fn valid() -> Vec<u8> {
    let view = Tensor {
        shape: &[3, 2],
        stride: &[1, 3],
        ..PLAIN
    };
    archive(
        &state_dict(&[("layer.weight", PLAIN), ("layer.other", view)]),
        &[("0", &six())],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to the bytes of a file, reading it ends, with tensors or an error.
    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = read(bytes, &[]);
    }

    /// The same for the pickle alone, behind a sound archive.
    #[test]
    fn mutated_pickles_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut pickle = state_dict(&[("layer.weight", PLAIN), ("b", PLAIN)]);
        for (index, byte) in changes {
            let at = index.index(pickle.len());
            pickle[at] = byte;
        }
        let _ = read(archive(&pickle, &[("0", &six())]), &[]);
    }

    /// Bytes that no one meant to be a pickle.
    #[test]
    fn random_pickles_never_panic(pickle in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(archive(&pickle, &[("0", &six())]), &[]);
    }
}
