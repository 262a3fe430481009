//! FIFOs, devices, sockets and folders in place of files: refused at once, or read where a pipe
//! makes sense.
#![cfg(unix)]

use std::{
    fs,
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

use crate::{desk::Desk, support::make_fifo};

/// The longest time for a refusal, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn they_are_refused_wherever_a_file_is_read() {
    let desk = Desk::new();
    make_fifo(&desk.path("fifo"));
    let _listener = UnixListener::bind(desk.path("socket")).unwrap();
    fs::create_dir(desk.path("folder")).unwrap();
    for (odd, found) in [
        ("fifo", "a pipe"),
        ("/dev/zero", "a device"),
        ("socket", "a socket"),
        ("folder", "a folder"),
    ] {
        for arguments in [
            &["inspect", odd][..],
            &["generate", "--from", odd],
            &["generate", "a ring", "--plan", odd],
            &["plan", odd],
            &["score", odd, "--prompt", "a ring"],
            &["eval", "scenes", "--experiments", odd],
            &["eval", "geneval", "--prompts", odd],
            &["eval", "compbench", "--prompts", odd],
        ] {
            let takes_folders = ["score", "--experiments", "compbench"];
            if odd == "folder" && takes_folders.iter().any(|word| arguments.contains(word)) {
                continue;
            }
            let began = Instant::now();
            let said = desk.run(arguments);
            assert!(began.elapsed() < SOON, "{arguments:?}");
            assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
            let expected = ["expected a regular file", "expected a text file"];
            let refused = said.err.contains(found)
                && expected.iter().any(|message| said.err.contains(message));
            let missing = said.err.contains("contains no"); // where only named files are looked for
            let needed = said.err.contains("the weights of");
            assert!(refused || missing || needed, "{arguments:?}: {said:?}");
        }
    }
}

#[test]
fn a_list_of_prompts_may_come_from_a_pipe() {
    let desk = Desk::new();
    make_fifo(&desk.path("fifo"));
    let path = desk.path("fifo");
    let writer = std::thread::spawn(move || fs::write(path, "a red circle\n").unwrap());
    let flags = [
        "generate",
        "--prompts",
        "fifo",
        "--method",
        "raw",
        "-o",
        "out",
        "-q",
    ];
    assert_eq!(desk.works(&flags), "out/0001-a-red-circle.png\n");
    writer.join().unwrap();

    let refused = desk.run(&["generate", "--prompts", "fifo"]);
    assert!(
        refused.err.contains("nothing was written to this pipe"),
        "{refused:?}"
    );
    assert_eq!(refused.code, Some(2));
    let refused = desk.run(&["generate", "--prompts", "/dev/zero"]);
    assert!(refused.err.contains("found a device"), "{refused:?}");
}
