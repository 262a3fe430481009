//! Checkpoints as people save them: the state dict of the network is found by the tensors that it
//! needs, whatever else lies in the file.

use std::{path::Path, sync::Arc};

use ttsvar::{
    Result,
    hub::{self, Wanted},
    nn::{Signature, StateDictChoice, TensorSource},
};

use crate::support::{
    torch::{PLAIN, Pickle, Tensor, archive, memory, named, old_file, six},
    values,
};

const HEAD: Signature = Signature {
    layouts: &[&["scoring_head.0.weight", "scoring_head.8.weight"]],
};

/// A network with the tensors `in.weight` and `out.weight`.
const NETWORK: Signature = Signature {
    layouts: &[&["in.weight", "out.weight"]],
};

fn saved(name: &str) -> Arc<dyn TensorSource> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/saved-checkpoints");
    let wanted = Wanted {
        usual: &["state_dict"],
        signature: Some(&HEAD),
        state_dict: None,
    };
    hub::open(folder.join(name), wanted).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_way_of_saving_gives_the_same_numbers() {
    let plain = saved("plain.pth");
    assert_eq!(plain.names().len(), 10);
    for name in [
        "checkpoint-epoch-0010.pth",
        "checkpoint-epoch-00010.pth",
        "compiled.pth",
        "complex64.pth",
        "ddp.pth",
        "flat-optimizer.pth",
        "float8.pth",
        "int8.pth",
        "legacy-protocol-3.pth",
        "legacy-protocol-4.pth",
        "model-and-momentum.pth",
        "open-clip-trainer.pth",
        "uint16.pth",
    ] {
        let other = saved(name);
        for tensor in plain.names() {
            assert_eq!(
                values(&plain.load(&tensor).unwrap()),
                values(&other.load(&tensor).unwrap()),
                "{name}: {tensor}"
            );
        }
    }
}

/// One dictionary in a file: its path, and the first element of both of its tensors. The network's
/// tensors are named after `prefix`.
struct Saved(&'static str, &'static str);

/// A checkpoint with these dictionaries, each with `in.weight` and `out.weight` behind a prefix and
/// the tensor `extra`. The storage is six numbers; the dictionary of place `i` reads number `i`.
fn checkpoint(dictionaries: &[Saved]) -> Vec<u8> {
    let mut pickle = Pickle::new().raw(b"}(").text("epoch").int(3);
    for (place, Saved(path, prefix)) in dictionaries.iter().enumerate() {
        let one = Tensor {
            offset: place as i64,
            shape: &[1],
            stride: &[1],
            ..PLAIN
        };
        let names = ["in.weight", "out.weight"].map(|name| format!("{prefix}{name}"));
        let tensors = [(names[0].as_str(), one.clone()), (&names[1], one.clone())];
        pickle = match path.split_once('.') {
            None if path.is_empty() => {
                let each = |pickle: Pickle, (name, tensor): &(&str, Tensor)| {
                    pickle.text(name).tensor(tensor)
                };
                tensors.iter().fold(pickle, each)
            }
            None => named(pickle.text(path), &tensors),
            Some((outer, inner)) => {
                let begun = pickle.text(outer).raw(b"}(").text(inner);
                named(begun, &tensors).raw(b"u")
            }
        };
    }
    archive(&pickle.raw(b"u").end(), &[("0", &six())])
}

fn open(file: Vec<u8>, state_dict: Option<&str>) -> Result<Arc<dyn TensorSource>> {
    let wanted = Wanted {
        usual: &["trainer.published"],
        signature: Some(&NETWORK),
        state_dict,
    };
    hub::open(memory(file), wanted)
}

/// The place of the dictionary that is read, and the choice that is reported.
fn chosen(dictionaries: &[Saved], state_dict: Option<&str>) -> (f32, Option<StateDictChoice>) {
    let source = open(checkpoint(dictionaries), state_dict).unwrap();
    let number = values(&source.load("in.weight").unwrap())[0];
    (number, source.state_dict().cloned())
}

#[test]
fn the_model_is_preferred_to_its_average_and_to_what_an_optimizer_keeps() {
    let cases: [(&[Saved], f32); 16] = [
        (&[Saved("ema", ""), Saved("model", "")], 1.0),
        (&[Saved("model", ""), Saved("momentum", "")], 0.0),
        (&[Saved("momentum", ""), Saved("model", "")], 1.0),
        (&[Saved("optimizer.exp_avg", ""), Saved("net", "")], 1.0),
        (&[Saved("state_dict_ema", ""), Saved("state_dict", "")], 1.0),
        (&[Saved("params_ema", ""), Saved("params", "")], 1.0),
        (&[Saved("", "ema_model."), Saved("", "online_model.")], 1.0),
        (&[Saved("", "model_ema."), Saved("", "model.")], 1.0),
        (&[Saved("ema", ""), Saved("", "")], 1.0),
        (&[Saved("model", ""), Saved("trainer.published", "")], 1.0),
        (&[Saved("student", ""), Saved("teacher", "")], 1.0),
        (&[Saved("my_run", "")], 0.0),
        (&[Saved("state_dict", "module._orig_mod.")], 0.0),
        (
            &[Saved("model", "backbone."), Saved("ema", "backbone.")],
            0.0,
        ),
        (&[Saved("ema", "")], 0.0),
        (&[Saved("", "model._fsdp_wrapped_module.")], 0.0),
    ];
    for (place, (dictionaries, expected)) in cases.into_iter().enumerate() {
        let (found, choice) = chosen(dictionaries, None);
        println!("case {place}: {choice:?}");
        assert_eq!(found, expected, "case {place}");
        let others = choice.map_or(0, |choice| choice.others.len());
        assert_eq!(others, dictionaries.len() - 1, "case {place}");
    }
}

#[test]
fn the_user_can_choose_another_that_fits() {
    let both = [Saved("model", ""), Saved("ema", ""), Saved("momentum", "")];
    for (name, expected) in [("ema", 1.0), ("model", 0.0), ("momentum", 2.0)] {
        let (found, choice) = chosen(&both, Some(name));
        assert_eq!(found, expected, "{name}");
        assert!(choice.unwrap().is_asked_for, "{name}");
    }
    let (found, choice) = chosen(&both, Some("swa"));
    assert_eq!((found, choice.unwrap().is_asked_for), (0.0, false));
    let nested = [Saved("trainer.model", ""), Saved("trainer.ema", "")];
    assert_eq!(chosen(&nested, Some("ema")).0, 1.0);
    assert_eq!(chosen(&nested, Some("trainer.ema")).0, 1.0);
}

#[test]
fn what_cannot_be_decided_is_refused_with_all_names() {
    let message = |dictionaries: &[Saved]| {
        let error = open(checkpoint(dictionaries), None)
            .err()
            .expect("an error");
        let hint = error.hint().expect("a hint").to_string();
        assert!(hint.contains("--state-dict"), "{hint}");
        error.to_string()
    };
    let two = message(&[Saved("first_run", ""), Saved("second_run", "")]);
    assert!(two.contains("found 2: `first_run`, `second_run`"), "{two}");
    let only = message(&[Saved("momentum", "")]);
    assert!(only.contains("only the state of an optimizer"), "{only}");
}

#[test]
fn wrappers_in_the_middle_of_names_are_left_out() {
    let pickle = Pickle::new().raw(b"}(");
    let names = [
        "module.in._checkpoint_wrapped_module.weight",
        "module.out._orig_mod.weight",
    ];
    let each = |pickle: Pickle, name: &&str| pickle.text(name).tensor(&PLAIN);
    let pickle = names.iter().fold(pickle, each).raw(b"u").end();
    let source = open(archive(&pickle, &[("0", &six())]), None).unwrap();
    assert_eq!(source.names(), ["in.weight", "out.weight"]);
    assert_eq!(source.state_dict().unwrap().chosen, "module");
}

/// The vision encoder inside a larger model is not the model.
#[test]
fn a_part_of_a_larger_model_is_not_taken_for_the_model() {
    let pickle = Pickle::new().raw(b"}(");
    let names = [
        "blip.encoder.in.weight",
        "blip.encoder.out.weight",
        "head.weight",
    ];
    let each = |pickle: Pickle, name: &&str| pickle.text(name).tensor(&PLAIN);
    let pickle = names.iter().fold(pickle, each).raw(b"u").end();
    let source = open(archive(&pickle, &[("0", &six())]), None).unwrap();
    assert_eq!(source.names(), names, "the file as it is");
}

/// PyTorch's old format with the pickles of every protocol; protocol 0 names a storage in a text.
#[test]
fn files_of_the_old_kind_load_with_every_pickle_protocol() {
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    let view = b"K\0(K\x02K\x03t(K\x03K\x01tI00\nccollections\nOrderedDict\n)RtR";
    let binary = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06NtQ";
    let text = b"P('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 6, None)\n";
    let long = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let number = b"L119547037146038801333356L\n";
    for protocol in 0..=5u8 {
        let start: Vec<u8> = match protocol {
            0 | 1 => vec![],
            _ => vec![0x80, protocol],
        };
        let magic = match protocol {
            0 | 1 => [&start[..], number, b"."].concat(),
            2 | 3 => [&start[..], long, b"."].concat(),
            _ => [&start[..], b"\x95\x0d\0\0\0\0\0\0\0", long, b"."].concat(),
        };
        let storage: &[u8] = if protocol == 0 { text } else { binary };
        let pickle = [
            &start[..],
            b"}(X\x05\0\0\0layer",
            tensor,
            storage,
            view,
            b"u.",
        ]
        .concat();
        let mut file = old_file(&pickle, &[("0", 6, &six())]);
        let before = Pickle::new().raw(long).end().len();
        file.splice(..before, magic);
        let source = hub::open(memory(file), &[]).unwrap_or_else(|e| panic!("{protocol}: {e}"));
        assert_eq!(source.info("layer").unwrap().shape, [2, 3], "{protocol}");
        assert_eq!(
            values(&source.load("layer").unwrap()),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "protocol {protocol}"
        );
    }
}
