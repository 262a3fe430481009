//! Downloads, from a small server on this machine that speaks as Hugging Face does, and from
//! nowhere.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use assert_cmd::Command;
use sha2::{Digest, Sha256};

use crate::{
    desk::{Desk, Said},
    scoring::recorded,
};

/// Files of repositories: repository, file, content.
type Files = Vec<(&'static str, &'static str, Vec<u8>)>;

/// What the server does and has seen.
#[derive(Default)]
struct State {
    files: Files,
    /// Downloads that break off half-way before one comes through.
    breaks: AtomicUsize,
    /// Downloads that stop half-way, on a connection that stays open.
    stalls: AtomicUsize,
    /// Commits that the repositories had before the present one; each answers one description.
    past: Mutex<Vec<&'static str>>,
    /// A file that is listed but cannot be had.
    withheld: Mutex<Option<&'static str>>,
    /// The commit and the name of every file that was asked for.
    asked: Mutex<Vec<(String, String)>>,
    /// Send other bytes than announced.
    lies: bool,
    /// The first byte asked for, of every download.
    starts: Mutex<Vec<usize>>,
    /// The token of every request.
    tokens: Mutex<Vec<Option<String>>>,
    /// The status of every answer, if not the right one.
    status: Option<u16>,
    /// Where downloads are redirected to.
    elsewhere: Option<String>,
}

/// Serves until the test ends; returns the endpoint.
fn serve(state: Arc<State>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            // The client may have gone.
            thread::spawn(move || drop(answer(stream, &state)));
        }
    });
    endpoint
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut start = None;
    let mut token = None;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        if line.to_lowercase().starts_with("authorization: ") {
            token = line.split_once(": ").map(|(_, token)| token.to_owned());
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = range.split_once('-').unwrap();
            start = Some((from.parse::<usize>().unwrap(), to.to_owned()));
        }
    }
    state.tokens.lock().unwrap().push(token);
    if let Some(status) = state.status {
        return write!(
            stream,
            "HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    if let Some(repository) = path
        .strip_prefix("/api/models/")
        .and_then(|path| path.strip_suffix("/revision/main"))
    {
        let own = state.files.iter().filter(|(of, ..)| *of == repository);
        let siblings: Vec<_> = own
            .map(|(_, name, _)| serde_json::json!({ "rfilename": name }))
            .collect();
        let known = !siblings.is_empty();
        let sha = state.past.lock().unwrap().pop().unwrap_or("c0ffee");
        let body = serde_json::json!({ "sha": sha, "siblings": siblings }).to_string();
        let status = if known { "200 OK" } else { "404 Not Found" };
        let length = body.len();
        return write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }
    let asked = |repository: &str| {
        let rest = path.strip_prefix(&format!("/{repository}/resolve/"))?;
        rest.split_once('/')
    };
    let withheld = *state.withheld.lock().unwrap();
    let of = |(repository, name, _): &&(&str, &str, _)| {
        let asked = asked(repository);
        withheld != Some(*name) && asked.is_some_and(|(_, file)| file == *name)
    };
    let found = state.files.iter().find(of);
    if let Some((commit, name)) = found.and_then(|(repository, ..)| asked(repository)) {
        let mut all = state.asked.lock().unwrap();
        all.push((commit.to_owned(), name.to_owned()));
    }
    let Some((.., content)) = found else {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    };
    if let Some(elsewhere) = &state.elsewhere {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {elsewhere}{path}\r\nETag: \"e7a6\"\r\n\
             X-Repo-Commit: c0ffee\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let (from, to) = start.unwrap_or_default();
    let end = to.parse::<usize>().map_or(content.len(), |last| last + 1);
    let sum: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nETag: \"{sum}\"\r\nX-Repo-Commit: c0ffee\r\nContent-Length: {}\r\n\
         Content-Range: bytes {from}-{}/{}\r\nConnection: close\r\n\r\n",
        end - from,
        end - 1,
        content.len()
    )?;
    if to.is_empty() {
        state.starts.lock().unwrap().push(from);
        let breaks = is_left(&state.breaks);
        let stalls = is_left(&state.stalls);
        let end = if breaks || stalls { end / 2 } else { end };
        let lie: Vec<u8> = if state.lies {
            vec![0; content.len()]
        } else {
            content.clone()
        };
        stream.write_all(&lie[from..end])?;
        if stalls {
            // Until the client goes
            let _ = lines.next();
        }
        return Ok(());
    }
    stream.write_all(&content[from..end])
}

/// Takes one of a number of faults, if there is one left.
fn is_left(faults: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    faults
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

/// Runs the program against an endpoint.
fn run(desk: &Desk, endpoint: &str, arguments: &[&str]) -> Said {
    run_with(desk, endpoint, &[], arguments)
}

/// The same with environment variables.
fn run_with(desk: &Desk, endpoint: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
    command
        .current_dir(desk.path(""))
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", desk.path("home"));
    for proxy in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(proxy);
    }
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "HF_HUB_DOWNLOAD_TIMEOUT",
        "TRANSFORMERS_OFFLINE",
    ] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = command.args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

const FETCH_HPS: [&str; 5] = ["models", "fetch", "hps", "--weights", "downloads"];

/// What the scorer `hps` needs, small.
fn hps() -> Files {
    vec![
        (
            "xswu/HPSv2",
            "HPS_v2.1_compressed.pt",
            fs::read(recorded("hpsv2-tiny/HPS_v2.1_compressed.pt")).unwrap(),
        ),
        ("xswu/HPSv2", "README.md", b"not wanted".to_vec()),
        (
            "openai/clip-vit-large-patch14",
            "merges.txt",
            fs::read(recorded("clip-tiny/model/merges.txt")).unwrap(),
        ),
    ]
}

#[test]
fn a_download_that_broke_off_goes_on_and_what_came_can_be_used() {
    let desk = Desk::new();
    let state = Arc::new(State {
        files: hps(),
        breaks: AtomicUsize::new(4), // once more than a download goes on by itself
        ..State::default()
    });
    let endpoint = serve(state.clone());
    let broken = run(&desk, &endpoint, &FETCH_HPS);
    assert_eq!(broken.code, Some(2), "{broken:?}");
    assert!(
        broken
            .err
            .contains("error: hps-v2.1: Hugging Face xswu/HPSv2 cannot be reached: "),
        "{broken:?}"
    );
    assert!(broken.err.contains(
        "hint: run the command again, which resumes the download; or download \
         HPS_v2.1_compressed.pt manually into a sub-folder `hps-v2.1`"
    ));
    assert!(
        broken.out.contains("clip-bpe: merges.txt, "),
        "the rest is fetched: {broken:?}"
    );

    let whole = run(&desk, &endpoint, &FETCH_HPS);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(
        whole
            .out
            .starts_with("hps-v2.1: HPS_v2.1_compressed.pt, 2.1 MB"),
        "{whole:?}"
    );
    assert!(whole.err.contains("clip-bpe: already present"), "{whole:?}");
    let size = state.files[0].2.len();
    let half = size / 2;
    assert_eq!(
        *state.starts.lock().unwrap(),
        [0, half, half, half, 0, half],
        "weights, three times the rest of them, merges, the rest of the weights"
    );
    let listed = desk.works(&["models", "--weights", "downloads"]);
    let line = listed
        .lines()
        .find(|line| line.contains("HPS_v2.1_compressed.pt"))
        .unwrap();
    assert!(line.contains("present"), "{line}");

    fs::copy(
        recorded("hpsv2-tiny/open_clip_model_config.json"),
        desk.path("downloads/open_clip_model_config.json"),
    )
    .unwrap();
    let picture = recorded("hpsv2-tiny/images")
        .join("img3_224x224.png")
        .display()
        .to_string();
    if recorded("hpsv2-tiny/images/img3_224x224.png").exists() {
        let scored = desk.works(&[
            "score",
            &picture,
            "--prompt",
            "a cat",
            "--scorer",
            "hps",
            "--weights",
            "downloads",
        ]);
        assert!(scored.contains("hps"), "{scored}");
    }
}

const TOKEN: &str = "hf_secret";

#[test]
fn the_token_goes_to_the_endpoint_and_nowhere_else() {
    let desk = Desk::new();
    let store = Arc::new(State {
        files: hps(),
        ..State::default()
    });
    let elsewhere = serve(store.clone());
    let hub = Arc::new(State {
        files: hps(),
        elsewhere: Some(elsewhere),
        ..State::default()
    });
    let endpoint = serve(hub.clone());
    let said = run_with(&desk, &endpoint, &[("HF_TOKEN", TOKEN)], &FETCH_HPS);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        !said.out.contains(TOKEN) && !said.err.contains(TOKEN),
        "{said:?}"
    );
    let sent = Some(format!("Bearer {TOKEN}"));
    let at_hub = hub.tokens.lock().unwrap().clone();
    assert!(
        at_hub.len() >= 6 && at_hub.iter().all(|token| *token == sent),
        "{at_hub:?}"
    );
    let at_store = store.tokens.lock().unwrap().clone();
    assert!(
        at_store.len() >= 4 && at_store.iter().all(Option::is_none),
        "{at_store:?}"
    );
}

#[test]
fn the_token_may_be_in_a_file() {
    let sent = |prepare: &dyn Fn(&Desk) -> Vec<(&'static str, String)>| {
        let desk = Desk::new();
        let hub = Arc::new(State::default());
        let endpoint = serve(hub.clone());
        let variables = prepare(&desk);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        run_with(&desk, &endpoint, &variables, &FETCH_HPS);
        hub.tokens.lock().unwrap()[0].clone()
    };
    let write = |desk: &Desk, name: &str, token: &str| {
        fs::create_dir_all(desk.path("home")).unwrap();
        desk.write(name, format!("{token}\n"));
        desk.path(name).display().to_string()
    };
    let at_home = |desk: &Desk| {
        write(desk, "home/token", "hf_home");
        vec![]
    };
    assert_eq!(sent(&|_| vec![]), None);
    assert_eq!(sent(&at_home).as_deref(), Some("Bearer hf_home"));
    let by_path = |desk: &Desk| vec![("HF_TOKEN_PATH", write(desk, "other", "hf_other"))];
    assert_eq!(sent(&by_path).as_deref(), Some("Bearer hf_other"));
    let not_implied = |desk: &Desk| {
        at_home(desk);
        vec![("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1".to_owned())]
    };
    assert_eq!(sent(&not_implied), None);
}

#[test]
fn no_server_is_asked_when_that_is_forbidden() {
    for value in ["1", "ON", "yes", "True"] {
        let desk = Desk::new();
        let hub = Arc::new(State::default());
        let endpoint = serve(hub.clone());
        let offline = [("HF_HUB_OFFLINE", value)];
        let said = run_with(&desk, &endpoint, &offline, &FETCH_HPS);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(
            said.err.contains("HF_HUB_OFFLINE forbids downloads"),
            "{said:?}"
        );
        assert!(hub.tokens.lock().unwrap().is_empty());
    }
}

#[test]
fn the_status_of_an_answer_is_named() {
    for (status, token, hint) in [
        (404, "", "manually"),
        (401, "", "set HF_TOKEN to a token that has access"),
        (403, TOKEN, "the token is not valid or has no access"),
        (500, TOKEN, "manually"),
    ] {
        let desk = Desk::new();
        let endpoint = serve(Arc::new(State {
            status: Some(status),
            ..State::default()
        }));
        let said = run_with(&desk, &endpoint, &[("HF_TOKEN", token)], &FETCH_HPS);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        let answered = format!("Hugging Face xswu/HPSv2 answered {status}\n");
        assert!(
            said.err.contains(&answered) && said.err.contains(hint),
            "{said:?}"
        );
        assert!(!said.err.contains(TOKEN), "{said:?}");
    }
}

#[test]
fn what_came_is_held_against_what_was_announced() {
    let desk = Desk::new();
    let endpoint = serve(Arc::new(State {
        files: hps(),
        lies: true,
        ..State::default()
    }));
    let said = run(&desk, &endpoint, &FETCH_HPS);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert_eq!(
        said.err.matches("was not downloaded completely").count(),
        2,
        "{said:?}"
    );
    let left = desk.files();
    assert!(
        !left
            .iter()
            .any(|file| file.ends_with(".pt") || file.ends_with(".txt")),
        "{left:?}"
    );
}

/// The content of a file with this name; an index names the shards beside it.
fn content(name: &str) -> Vec<u8> {
    let shards: &[&str] = match name {
        "infinity_8b_weights/model.safetensors.index.json" => &["00001.safetensors"],
        "model.safetensors.index.json" => &[
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ],
        _ => return name.as_bytes().to_vec(),
    };
    let tensors = shards.iter().map(|shard| (format!("in {shard}"), *shard));
    let map: std::collections::BTreeMap<String, &str> = tensors.collect();
    let index = serde_json::json!({ "weight_map": map });
    index.to_string().into_bytes()
}

const T5: &str = "google/flan-t5-xl";
const FETCH_T5: [&str; 6] = [
    "models",
    "fetch",
    "flan-t5-xl",
    "--weights",
    "downloads",
    "-q",
];

/// A text encoder in two shards.
fn t5() -> Files {
    let names = [
        "config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    names.map(|name| (T5, name, content(name))).to_vec()
}

#[test]
fn files_of_two_revisions_are_not_mixed() {
    let desk = Desk::new();
    let last = "model-00002-of-00002.safetensors";
    let state = Arc::new(State {
        files: t5(),
        past: Mutex::new(vec!["0ld"]),
        withheld: Mutex::new(Some(last)),
        ..State::default()
    });
    let endpoint = serve(state.clone());
    let cache = "downloads/models--google--flan-t5-xl";
    let broken = run(&desk, &endpoint, &FETCH_T5);
    assert_eq!(broken.code, Some(2), "{broken:?}");
    let asked = state.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(commit, _)| commit == "0ld"), "{asked:?}");
    assert!(!desk.path(&format!("{cache}/refs/main")).exists());

    // Meanwhile the repository has another commit.
    *state.withheld.lock().unwrap() = None;
    state.asked.lock().unwrap().clear();
    let before = state.starts.lock().unwrap().len();
    let whole = run(&desk, &endpoint, &FETCH_T5);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let asked = state.asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|(commit, _)| commit == "c0ffee"),
        "{asked:?}"
    );
    assert_eq!(desk.text(&format!("{cache}/refs/main")), "c0ffee");
    for (_, name, content) in t5() {
        assert_eq!(
            desk.read(&format!("{cache}/snapshots/c0ffee/{name}")),
            content
        );
    }
    let starts = state.starts.lock().unwrap()[before..].to_vec();
    assert_eq!(
        starts,
        [0, 0],
        "of what is the same in both, nothing comes again"
    );
}

#[test]
fn an_index_comes_after_its_shards() {
    let desk = Desk::new();
    let state = Arc::new(State {
        files: t5(),
        withheld: Mutex::new(Some("model-00002-of-00002.safetensors")),
        ..State::default()
    });
    let endpoint = serve(state.clone());
    assert_eq!(run(&desk, &endpoint, &FETCH_T5).code, Some(2));
    let files = desk.files();
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("00001-of-00002.safetensors"))
    );
    assert!(
        !files.iter().any(|file| file.ends_with(".index.json")),
        "{files:?}"
    );
}

#[test]
fn a_file_that_another_process_downloads_is_left_alone() {
    let desk = Desk::new();
    let state = Arc::new(State {
        files: hps(),
        ..State::default()
    });
    let endpoint = serve(state.clone());
    let whole = run(&desk, &endpoint, &FETCH_HPS);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    let place = desk.path("downloads/models--xswu--HPSv2/snapshots/c0ffee/HPS_v2.1_compressed.pt");
    let blob = place.canonicalize().unwrap();
    let begun = blob.with_extension("part");
    fs::rename(&blob, &begun).unwrap();
    let other = fs::File::create(blob.with_extension("lock")).unwrap();
    other.lock().unwrap();
    let said = run(&desk, &endpoint, &FETCH_HPS);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err
            .contains("another process is downloading this file"),
        "{said:?}"
    );
    assert_eq!(fs::read(begun).unwrap(), state.files[0].2);
}

#[test]
fn a_server_that_stalls_is_asked_for_the_rest() {
    let desk = Desk::new();
    let state = Arc::new(State {
        files: hps(),
        stalls: AtomicUsize::new(1),
        ..State::default()
    });
    let endpoint = serve(state.clone());
    let patience = [("HF_HUB_DOWNLOAD_TIMEOUT", "1")];
    let said = run_with(&desk, &endpoint, &patience, &FETCH_HPS);
    assert_eq!(said.code, Some(0), "{said:?}");
    let half = state.files[0].2.len() / 2;
    assert_eq!(*state.starts.lock().unwrap(), [0, half, 0]);
    let wrong = [("HF_HUB_DOWNLOAD_TIMEOUT", "soon")];
    let said = run_with(&desk, &endpoint, &wrong, &FETCH_HPS);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err
            .contains("expected whole seconds in HF_HUB_DOWNLOAD_TIMEOUT, found `soon`")
    );
}

#[test]
fn a_whole_system_is_fetched_with_its_shards_and_folders() {
    let desk = Desk::new();
    let infinity = "FoundationVision/Infinity";
    let t5 = "google/flan-t5-xl";
    let dino = "facebook/dinov2-with-registers-large";
    let names = [
        (infinity, "infinity_8b_weights/model.safetensors.index.json"),
        (infinity, "infinity_8b_weights/00001.safetensors"),
        (infinity, "infinity_2b_reg.pth"),
        (infinity, "infinity_vae_d56_f8_14_patchify.pth"),
        (t5, "config.json"),
        (t5, "tokenizer.json"),
        (t5, "model.safetensors.index.json"),
        (t5, "model-00001-of-00002.safetensors"),
        (t5, "model-00002-of-00002.safetensors"),
        (t5, "pytorch_model.bin.index.json"),
        (dino, "config.json"),
        (dino, "model.safetensors"),
        ("THUDM/ImageReward", "ImageReward.pt"),
        ("google-bert/bert-base-uncased", "vocab.txt"),
    ];
    let files = names
        .map(|(repository, name)| (repository, name, content(name)))
        .to_vec();
    let state = Arc::new(State {
        files,
        ..State::default()
    });
    let endpoint = serve(state.clone());
    let fetch = || {
        run(
            &desk,
            &endpoint,
            &[
                "models",
                "fetch",
                "infinity-8b",
                "--weights",
                "downloads",
                "--json",
                "-q",
            ],
        )
    };
    let said = fetch();
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let fetched: Vec<serde_json::Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        fetched.len(),
        names.len() - 2,
        "all but the other model and the other shards: {said:?}"
    );
    assert!(
        fetched
            .iter()
            .all(|line| fs::read(line["path"].as_str().unwrap()).unwrap()
                == content(line["file"].as_str().unwrap()))
    );
    // Of a set that is not whole, only what is missing is fetched again, here nothing, as all of its
    // bytes came before.
    let weights = fetched.iter().find(|line| {
        line["name"] == "dinov2-with-registers-large" && line["file"] == "model.safetensors"
    });
    let place = PathBuf::from(weights.unwrap()["path"].as_str().unwrap());
    let blob = place.canonicalize().unwrap();
    fs::rename(&blob, blob.with_extension("part")).unwrap();
    fs::remove_file(&place).unwrap();
    let before = state.starts.lock().unwrap().len();
    assert_eq!(fetch().code, Some(0));
    assert_eq!(state.starts.lock().unwrap().len(), before);
    assert!(place.exists());
    // A shard that is missing is noticed, and so is one that was never linked.
    let shards = fetched
        .iter()
        .filter(|line| line["file"].as_str().unwrap().contains("00001"));
    let shards: Vec<PathBuf> = shards
        .map(|line| PathBuf::from(line["path"].as_str().unwrap()))
        .collect();
    assert_eq!(shards.len(), 2);
    for shard in &shards {
        fs::remove_file(shard.canonicalize().unwrap()).unwrap();
    }
    fs::remove_file(&shards[0]).unwrap();
    let lacks = run(
        &desk,
        &endpoint,
        &[
            "generate",
            "a cat",
            "--model",
            "infinity-8b",
            "--weights",
            "downloads",
        ],
    );
    for name in [
        "infinity_8b_weights/00001.safetensors",
        "model-00001-of-00002.safetensors",
    ] {
        assert!(lacks.err.contains(name), "{lacks:?}");
    }
    assert!(
        lacks.err.contains("ttsvar models fetch infinity-8b"),
        "{lacks:?}"
    );
    let listed = desk.works(&["models", "--weights", "downloads"]);
    let line = listed
        .lines()
        .find(|line| line.contains("model-00001-of-00002"));
    assert!(line.unwrap().contains("missing"), "{listed}");
    let before = state.starts.lock().unwrap().len();
    assert_eq!(fetch().code, Some(0));
    assert_eq!(state.starts.lock().unwrap()[before..], [0, 0]);
    assert!(shards.iter().all(|shard| shard.exists()));
    let error = run(
        &desk,
        &endpoint,
        &[
            "generate",
            "a cat",
            "--model",
            "infinity-8b",
            "--weights",
            "downloads",
        ],
    );
    assert!(
        !error.err.contains("missing"),
        "everything was found: {error:?}"
    );
}

#[test]
fn without_a_connection_it_is_said_what_is_missing_and_where_it_goes() {
    let desk = Desk::new();
    let nobody = "http://127.0.0.1:9"; // the discard port, on which nobody listens
    let said = run(
        &desk,
        nobody,
        &[
            "models",
            "fetch",
            "aesthetic",
            "image-reward",
            "--weights",
            "downloads",
        ],
    );
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 8, "two lines for each of four: {said:?}");
    assert!(
        lines[0].starts_with(
            "error: aesthetic-v2.5: is not on Hugging Face; it is published by GitHub"
        ),
        "{said:?}"
    );
    assert!(lines[1].starts_with(
        "hint: download aesthetic_predictor_v2_5.pth there and put what you downloaded into downloads or"
    ));
    assert!(lines[2].starts_with(
        "error: siglip-so400m-patch14-384: Hugging Face google/siglip-so400m-patch14-384 cannot"
    ));
    assert!(lines[3].ends_with(
        "manually into a sub-folder `siglip-so400m-patch14-384` of the --weights folder"
    ));
    let unknown = desk.refuses(&["models", "fetch", "nope"]);
    assert_eq!(
        unknown,
        "$ models fetch nope\n\
         error: unknown model or scorer `nope`\n\
         hint: `ttsvar models` lists them\n"
    );
    let demo = desk.refuses(&["models", "fetch", "demo"]);
    assert!(
        demo.contains("`demo` is built into this program; there is nothing to download"),
        "{demo}"
    );
    let fetched = desk.refuses(&["models", "infinity-2b"]);
    assert!(
        fetched.contains("hint: `ttsvar models fetch infinity-2b` downloads it"),
        "{fetched}"
    );
}

#[test]
fn a_released_var_comes_with_its_tokenizer() {
    let desk = Desk::new();
    let published = "FoundationVision/var";
    let state = Arc::new(State {
        files: vec![
            (published, "var_d16.pth", b"transformer".to_vec()),
            (published, "var_d30.pth", b"not wanted".to_vec()),
            (published, "vae_ch160v4096z32.pth", b"tokenizer".to_vec()),
        ],
        ..State::default()
    });
    let endpoint = serve(state);
    let fetch = ["models", "fetch", "var-d16", "--weights", "downloads"];
    let said = run(&desk, &endpoint, &fetch);
    for file in ["var_d16.pth", "vae_ch160v4096z32.pth"] {
        assert!(said.out.contains(&format!("var-d16: {file}, ")), "{said:?}");
    }
    assert!(!said.out.contains("var_d30"), "{said:?}");
    assert!(!said.err.contains("flan-t5"), "it reads no text: {said:?}");
    assert!(
        said.err.contains("image-reward"),
        "it is needed too: {said:?}"
    );
}
