//! Ctrl-C: the program ends within a second, with exit code 130 and no partial file.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ttsvar::{file::is_partial, image::Png, search::Trace};

use crate::desk::Desk;

fn start(desk: &Desk, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
    command.args(arguments).current_dir(desk.path(""));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Sends what Ctrl-C sends, and returns the exit code, what was said, and how long it took.
fn interrupt(child: Child) -> (Option<i32>, String, Duration) {
    let before = Instant::now();
    send(&child, Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
        before.elapsed(),
    )
}

#[test]
fn a_long_search_ends_at_once_and_leaves_nothing() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a red circle",
        "--method",
        "best-of-n",
        "--n",
        "2000",
    ];
    let child = start(
        &desk,
        &[
            &search[..],
            &["--out", "a.png", "--trace", "a.json", "--tree", "t.png"],
        ]
        .concat(),
    );
    sleep(Duration::from_millis(400));
    let (code, said, took) = interrupt(child);
    assert_eq!((code, said.as_str()), (Some(130), "interrupted\n"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(desk.files(), Vec::<String>::new());
}

#[test]
fn a_search_outlives_its_terminal_if_it_is_told_to() {
    let (desk, wrapper) = (Desk::new(), "trap '' HUP; exec \"$0\" \"$@\""); // as `nohup` does
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        wrapper,
        env!("CARGO_BIN_EXE_ttsvar"),
        "generate",
        "a red circle",
        "--method",
        "best-of-n",
    ]);
    command
        .args(["--n", "60", "--out", "a.png"])
        .current_dir(desk.path(""));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(400));
    send(&child, Signal::SIGHUP);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_list_that_is_interrupted_keeps_what_is_whole() {
    let desk = Desk::new();
    fs::write(desk.path("list.txt"), "a red circle\n".repeat(5000)).unwrap();
    let child = start(
        &desk,
        &[
            "generate",
            "--prompts",
            "list.txt",
            "--method",
            "raw",
            "--out",
            "o",
        ],
    );
    let waiting = Instant::now();
    while desk.files().len() < 3 && waiting.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(20));
    }
    let (code, _, took) = interrupt(child);
    assert_eq!(code, Some(130));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let files = desk.files();
    assert!(
        files.len() >= 3
            && files
                .iter()
                .all(|file| file == "list.txt" || file.ends_with(".png")),
        "{files:?}"
    );
    for file in files.iter().filter(|file| file.ends_with(".png")) {
        Png::open(desk.path(file)).unwrap();
    }
}

#[test]
fn a_search_with_a_budget_returns_the_best_so_far() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a red circle",
        "--method",
        "sequential",
        "--seed",
        "2",
    ];
    let budget = [
        "--budget", "10min", "--enough", "9", "--out", "a.png", "--trace", "a.json",
    ];
    let child = start(&desk, &[&search[..], &budget].concat());
    sleep(Duration::from_secs(2));
    let (code, said, took) = interrupt(child);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(took < Duration::from_secs(2), "{took:?}");
    let trace = Trace::from_json(&desk.text("a.json")).unwrap();
    assert_eq!(trace.finals.len(), trace.plan.rounds());
    // The record repeats the image without the budget.
    desk.works(&["generate", "--from", "a.png", "--out", "b.png"]);
    assert_eq!(desk.png("a.png").image, desk.png("b.png").image);
}

/// A safetensors file of matrices of zeros, which takes no room on the disk.
fn write_large_weights(path: &Path) {
    const MATRICES: u64 = 2000;
    const BYTES: u64 = 1024 * 1024 * 4;
    let entries = (0..MATRICES).map(|i| {
        let range = [i * BYTES, (i + 1) * BYTES];
        format!(r#""{i}.weight":{{"dtype":"F32","shape":[1024,1024],"data_offsets":{range:?}}}"#)
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + MATRICES * BYTES)
        .unwrap();
}

/// Waits until `there` is true.
#[track_caller]
fn wait_until(there: impl Fn() -> bool) {
    let waiting = Instant::now();
    while !there() {
        assert!(waiting.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_conversion_leaves_no_part_of_a_file() {
    let desk = Desk::with_demo();
    write_large_weights(&desk.path("bundle/infinity.pth"));
    let child = start(&desk, &["convert", "bundle", "--out", "small"]);
    let parts = || {
        let files = desk.files().into_iter();
        files.filter(|file| is_partial(file.rsplit('/').next().unwrap_or_default()))
    };
    wait_until(|| parts().count() > 0);
    let (code, said, took) = interrupt(child);
    assert_eq!((code, said.as_str()), (Some(130), "interrupted\n"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(parts().collect::<Vec<_>>(), Vec::<String>::new());
}

/// A program that reads neither results nor messages, such as a pager.
#[test]
fn output_that_nobody_reads_does_not_keep_the_program() {
    let desk = Desk::new();
    let search = [
        "generate",
        "a red circle",
        "--method",
        "best-of-n",
        "--n",
        "16",
    ];
    let (reader, writer) = io::pipe().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ttsvar"))
        .args(search)
        .args(["--out", "a.png", "--report", "-"])
        .current_dir(desk.path(""))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    wait_until(|| desk.path("a.png").exists());
    sleep(Duration::from_millis(500)); // until the pipe is full
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "the report is too small for this test"
    );
    send(&child, Signal::SIGINT);
    let code = (0..100).find_map(|_| {
        sleep(Duration::from_millis(20));
        child.try_wait().unwrap()
    });
    let _ = child.kill(); // if it is still there
    assert_eq!(code.expect("it does not end").code(), Some(130));
    drop(reader);
}
