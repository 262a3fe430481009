//! Weight files: every recorded checkpoint opens, and damaged or hostile files are refused with one
//! clear line.

use std::path::PathBuf;

use ttsvar::{hub, nn::StoredType};

use crate::support::{golden, values, values_in_parts};

/// Every weight file below a fixture folder opens and all its tensors load with the shapes
/// promised, whole and in parts.
fn opens(path: PathBuf, keys: &[&str]) -> usize {
    let source = hub::open(&path, keys).unwrap_or_else(|e| panic!("{e}"));
    let names = source.names();
    for name in &names {
        let info = source.info(name).expect("a listed tensor");
        let tensor = source.load(name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (tensor.dims(), StoredType::Readable(tensor.dtype())),
            (info.shape.as_slice(), info.element),
            "{name}"
        );
        if tensor.dtype().is_float() {
            let in_parts = values_in_parts(&*source, name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(in_parts, values(&tensor), "{name}");
        }
    }
    println!("{}: {} tensors", path.display(), names.len());
    names.len()
}

#[test]
fn every_recorded_checkpoint_opens() {
    let files = [
        ("infinity-tiny", "infinity_tiny.pth"),
        ("infinity-tiny", "infinity_vae_tiny.pth"),
        ("infinity-8b-like-tiny", "infinity_8b_tiny.pth"),
        ("infinity-8b-like-tiny", "infinity_vae_8b_tiny.pth"),
        ("infinity-8b-like-tiny", "infinity_8b_weights"),
        ("imagereward-tiny", "ImageReward.pt"),
        ("dinov2-tiny", "dinov2_vitl14_reg4_pretrain.pth"),
        ("dinov2-tiny", "dinov2_vitl14_pretrain.pth"),
        ("dinov2-tiny", "hf_dinov2"),
        ("t5-tiny", "."),
    ];
    for (fixture, file) in files {
        assert!(
            opens(golden(fixture).join(file), &[]) > 0,
            "{fixture}/{file}"
        );
    }
}

#[test]
fn a_torch_file_and_its_safetensors_twin_hold_the_same_numbers() {
    let folder = golden("infinity-8b-like-tiny");
    let torch = hub::open(folder.join("infinity_8b_tiny.pth"), &[]).expect("the .pth");
    let safe = hub::open(folder.join("infinity_8b_weights"), &[]).expect("the shards");
    let (mut a, mut b) = (torch.names(), safe.names());
    a.sort();
    b.sort();
    assert_eq!(a, b);
    for name in a {
        let (left, right) = (
            torch.load(&name).expect("a tensor"),
            safe.load(&name).expect("a tensor"),
        );
        assert_eq!(left.dims(), right.dims(), "{name}");
        assert_eq!(values(&left), values(&right), "{name}");
    }
}
