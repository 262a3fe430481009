//! Networks are measured by the headers of their files and read at their first use.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::{Device, Tensor};
use ttsvar::{
    Result,
    hub::{self, Blob},
    loading::{Dtype, LoadListener},
    models::{
        bsq_vae::BsqVae,
        dinov2::Dinov2,
        hart::Hart,
        infinity::{Infinity, Schedule},
        qwen2::Qwen2Encoder,
        switti::Switti,
        t5::{T5Config, T5Encoder},
        var::Var,
        vq_vae,
    },
    nn::{StoredType, TensorInfo, TensorSource, Weights},
    options::Options,
    pipelines::{
        FixedText, Networks,
        infinity::{ImageModel, InfinityPipeline, Settings},
    },
    request::Session,
    search::{DecodeSize, Method, Pipeline, Silent},
    system::{DEMO, MemoryLimit, System},
};

use crate::support::{golden, hart, json, switti, var};

/// A file that counts how often numbers with a fraction are read. Whole numbers describe a network.
struct Counted {
    file: Arc<dyn TensorSource>,
    reads: AtomicUsize,
}

impl TensorSource for Counted {
    fn origin(&self) -> String {
        self.file.origin()
    }

    fn names(&self) -> Vec<String> {
        self.file.names()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.file.info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let info = self.file.info(name);
        if let Some(StoredType::Readable(dtype)) = info.map(|info| info.element)
            && dtype.is_float()
        {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        self.file.load(name)
    }
}

/// Checks that a network of a header has the sizes of the network that is read, and reads nothing.
fn same_sizes<T>(path: &Path, keys: &[&str], load: impl Fn(&Weights) -> Result<T>) {
    for dtype in Dtype::ALL {
        let counted = Arc::new(Counted {
            file: hub::open(path, keys).unwrap(),
            reads: AtomicUsize::new(0),
        });
        let header = Weights::of_header(counted.clone(), dtype, &Device::Cpu);
        load(&header).unwrap();
        let of = path.display();
        assert_eq!(counted.reads.load(Ordering::Relaxed), 0, "{of}");
        let whole = Weights::new(counted.clone(), dtype, &Device::Cpu);
        load(&whole).unwrap();
        assert!(counted.reads.load(Ordering::Relaxed) > 0, "{of}");
        assert_eq!(header.bytes_kept(), whole.bytes_kept(), "{of} {dtype:?}");
        assert_eq!(header.peak_bytes(), whole.peak_bytes(), "{of} {dtype:?}");
        assert_eq!(header.bytes_stored(), whole.bytes_stored(), "{of}");
        assert_eq!(header.unread(), whole.unread(), "{of}");
        assert!(whole.peak_bytes() >= whole.bytes_kept());
    }
}

#[test]
fn a_header_tells_what_a_network_keeps() {
    let infinity = golden("infinity-tiny");
    same_sizes(&infinity.join("infinity_tiny.pth"), &[], Infinity::load);
    let vae = infinity.join("infinity_vae_tiny.pth");
    same_sizes(&vae, &["vae"], BsqVae::load_decoder);
    same_sizes(&vae, &["vae"], BsqVae::load_encoder);
    let t5: T5Config = Blob::Disk(golden("t5-tiny").join("config.json"))
        .json()
        .unwrap();
    same_sizes(&golden("t5-tiny"), &[], |w| T5Encoder::load(w, &t5));
    let dinov2 = golden("dinov2-tiny");
    let heads = json("dinov2-tiny", "config.json")["num_heads"].as_u64();
    let heads = heads.map(|heads| heads as usize).or(Some(4));
    for file in [
        "dinov2_vitl14_pretrain.pth",
        "dinov2_vitl14_reg4_pretrain.pth",
    ] {
        same_sizes(&dinov2.join(file), &[], |w| Dinov2::load(w, heads));
    }
}

#[test]
fn a_header_tells_what_networks_of_codes_keep() {
    let var = golden("var-tiny");
    same_sizes(&var.join("var_tiny.pth"), &[], Var::load);
    same_sizes(&var.join("var_tiny_shared_aln.pth"), &[], Var::load);
    same_sizes(&var.join("vae_tiny.pth"), &[], vq_vae::load_for_images);
    let hart = golden("hart-tiny");
    let config = Blob::Disk(hart.join("llm/config.json")).json().unwrap();
    let load = |w: &Weights| Hart::load(w, &config);
    same_sizes(&hart.join("llm/ema_model.bin"), &[], load);
    let text = hart.join("Qwen2-VL-1.5B-Instruct");
    let config = Blob::Disk(text.join("config.json")).json().unwrap();
    same_sizes(&text, &["model"], |w| Qwen2Encoder::load(w, &config));
    for name in ["Switti", "Switti-AR", "Switti-plain"] {
        let folder = golden("switti-tiny").join(name);
        let config = Blob::Disk(folder.join("config.json")).json().unwrap();
        same_sizes(&folder, &[], |w| Switti::load(w, &config));
    }
}

/// Reading a network checks that it has the sizes that its header told.
#[test]
fn all_networks_of_a_system_have_the_sizes_of_their_headers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    var::write_bundle(&path("var"), "");
    hart::write_bundle(&path("hart"), "ema_model.bin");
    switti::write_bundle(&path("switti"), "switti");
    let others = ["var", "hart", "switti"].map(|name| path(name).display().to_string());
    for model in others.iter().map(String::as_str).chain([DEMO]) {
        let system = System::builder(model).open().unwrap();
        system.read_all_networks().unwrap();
    }
}

/// The names of networks in the order in which they are read.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<String>>>);

impl Order {
    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl LoadListener for Order {
    fn begun(&self, network: &str, bytes: u64) {
        assert!(bytes > 0, "{network}");
        self.0.lock().unwrap().push(network.to_owned());
    }

    fn read(&self, bytes: u64) {
        assert!(bytes > 0);
    }

    fn ended(&self) {}
}

fn watched(model: &str) -> (System, Order) {
    let system = System::builder(model).evict().open().unwrap();
    let order = Order::default();
    system.watch_reading(order.clone());
    (system, order)
}

fn options(method: Method) -> Options {
    Options {
        method: Some(method),
        n: Some(2),
        ..Options::default()
    }
}

#[test]
fn a_system_opens_and_plans_by_headers_alone() {
    let folder = tempfile::tempdir().unwrap();
    var::write_bundle(folder.path(), "");
    // The middle of the file is in the numbers of a tensor.
    let weights = folder.path().join("var.pth");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&weights, bytes).unwrap();
    let (system, order) = watched(&folder.path().display().to_string());
    let mut session = Session::new(&system, &options(Method::BestOfN)).unwrap();
    let all = session.estimate().peak_bytes;
    assert!(session.fit_memory(MemoryLimit::single(all)).is_ok());
    let error = session
        .fit_memory(MemoryLimit::single(1_000_000))
        .unwrap_err();
    assert!(error.to_string().contains("needs at least"), "{error}");
    assert_eq!(order.names(), [""; 0], "refused before anything is read");
    let error = session.read_networks().unwrap_err();
    assert!(error.to_string().contains("var.pth"), "{error}");
    assert_eq!(order.names(), ["transformer and decoder"]);
}

#[test]
fn prompts_are_encoded_before_other_networks_are_read() {
    let prompts = ["a red circle", "a blue square"];
    let (system, order) = watched(DEMO);
    system.expect_prompts(prompts.len());
    let mut session = Session::new(&system, &options(Method::TtsVar)).unwrap();
    let least = (1..200)
        .map(|megabytes| megabytes * 500_000)
        .find(|bytes| session.fit_memory(MemoryLimit::single(*bytes)).is_ok());
    let fit = session
        .fit_memory(MemoryLimit::single(least.unwrap()))
        .unwrap();
    assert!(fit.evicted.contains(&"text encoder"), "{fit}");
    session.prepare(&prompts).unwrap();
    let prepared = order.names();
    assert_eq!(prepared[0], "text encoder");
    assert!(prepared.contains(&"transformer".to_owned()), "{prepared:?}");
    let (free, _) = watched(DEMO);
    let beside = Session::new(&free, &options(Method::TtsVar)).unwrap();
    for prompt in prompts {
        let image = |session: &Session| {
            let outcome = session.run(prompt, 3, &mut Silent).unwrap();
            outcome.winner().image.pixels().to_vec()
        };
        assert_eq!(image(&session), image(&beside), "{prompt}");
    }
    let read = order.names();
    let encoders = read.iter().filter(|name| *name == "text encoder");
    assert_eq!(encoders.count(), 1, "{read:?}");
}

/// The planned peak of one image of the recorded Infinity with these networks in memory.
fn planned(networks: Networks) -> u64 {
    let folder = golden("infinity-tiny");
    let open = |file: &str, keys: &[&str]| {
        let source = hub::open(folder.join(file), keys).unwrap();
        Weights::of_header(source, Dtype::F32, &Device::Cpu)
    };
    let transformer = Infinity::load(&open("infinity_tiny.pth", &[])).unwrap();
    let decoder = BsqVae::load_decoder(&open("infinity_vae_tiny.pth", &["vae"])).unwrap();
    let schedule = Schedule::released(1.0, "0.06M".parse().unwrap()).unwrap();
    let settings = Settings::default();
    let model = ImageModel::new(&transformer, &decoder, &schedule, settings, &Device::Cpu);
    let width = transformer.config().text_width;
    let text = FixedText(Tensor::zeros((2, width), candle_core::DType::F32, &Device::Cpu).unwrap());
    let pipeline = InfinityPipeline::new(model.unwrap(), &text, networks).unwrap();
    let scales = schedule.grids.len();
    let plan = Method::Raw.plan(scales, 1).unwrap();
    let workload = plan.workload(scales, DecodeSize::Full);
    pipeline.estimate(&workload).peak_bytes
}

/// An evicted text encoder counts beside the other networks only if it is there with them, and so
/// does what reading a network takes.
#[test]
fn a_plan_counts_what_is_in_memory_together() {
    const GB: u64 = 1_000_000_000;
    let networks = Networks {
        resident: 9 * GB,
        ..Networks::default()
    };
    let alone = planned(networks);
    assert!((9 * GB..10 * GB).contains(&alone), "{alone}");
    let encoding = Networks {
        encoding: 5 * GB,
        ..networks
    };
    let beside = planned(encoding);
    assert!((14 * GB..15 * GB).contains(&beside), "{beside}");
    let first = Networks {
        encodes_first: true,
        ..encoding
    };
    assert_eq!(planned(first), alone);
    let reading = Networks {
        reading: 2 * GB,
        ..networks
    };
    let reading = planned(reading);
    assert!((11 * GB..12 * GB).contains(&reading), "{reading}");
    let encoder = Networks {
        encoding: 20 * GB,
        ..first
    };
    let encoder = planned(encoder);
    assert!((20 * GB..21 * GB).contains(&encoder), "{encoder}");
}

#[test]
fn a_file_that_was_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    var::write_bundle(folder.path(), "");
    let system = System::builder(folder.path().display().to_string());
    let system = system.open().unwrap();
    let other = golden("var-tiny").join("var_tiny_shared_aln.pth");
    fs::copy(other, folder.path().join("var.pth")).unwrap();
    let error = system.read_all_networks().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the tensors in the file have changed"),
        "{error}"
    );
}
