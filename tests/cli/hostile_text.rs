//! Text from files and file names: it never reaches the terminal, a table, a page or a shell as
//! anything but text.

use std::{fs, process::Command};

use ttsvar::image::Png;

use crate::desk::{Desk, Said};

/// Everything that a terminal obeys, hides or reorders.
const HOSTILE: &str = "red\u{1b}[31m\u{7}\u{8}\u{7f}\u{9b}2J\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\
                       \u{200b}\u{feff}\u{e0041}\nseed       999\r\nttsvar generate --from evil";

/// Fails if one of these characters is in an output.
fn assert_shown(said: &Said) {
    for text in [&said.out, &said.err] {
        let odd = text.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{61c}')
                || matches!(*c, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
        });
        assert_eq!(odd, None, "{text:?}");
    }
}

/// Generates `made.png` and copies it with another text under `key`.
fn forge(desk: &Desk, key: &str, text: &str) -> String {
    if !desk.path("made.png").exists() {
        desk.works(&[
            "generate",
            "a red circle",
            "--method",
            "raw",
            "-o",
            "made.png",
        ]);
    }
    let mut png = Png::open(desk.path("made.png")).unwrap();
    png.text
        .retain(|(known, _)| known != &format!("ttsvar:{key}"));
    let name = format!("{key}.png");
    png.with_text(format!("ttsvar:{key}"), text)
        .save(desk.path(&name))
        .unwrap();
    name
}

#[test]
fn texts_of_an_image_cannot_forge_lines_or_move_the_cursor() {
    let desk = Desk::new();
    let settings = serde_json::json!({ "cfg": 2.0, HOSTILE: HOSTILE }).to_string();
    for (key, text) in [
        ("prompt", HOSTILE),
        ("negative", HOSTILE),
        ("model", HOSTILE),
        ("version", HOSTILE),
        ("settings", &settings),
    ] {
        let name = forge(&desk, key, text);
        let said = desk.run(&["inspect", &name]);
        assert_shown(&said);
        assert!(said.out.contains("red\\u{1b}[31m"), "{said:?}");
        let lines = |start: &str| {
            said.out
                .lines()
                .filter(|line| line.starts_with(start))
                .count()
        };
        assert_eq!(
            (lines("seed"), lines("ttsvar generate")),
            (1, 1),
            "{said:?}"
        );
        assert_shown(&desk.run(&["generate", "--from", &name, "-o", "again.png"]));
        assert_shown(&desk.run(&["score", &name]));
        let json = desk.run(&["inspect", &name, "--json"]);
        assert_shown(&json);
        let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        if key != "settings" {
            assert_eq!(value[key], HOSTILE);
        }
    }
}

#[test]
fn a_trace_cannot_either() {
    let desk = Desk::new();
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "beam",
        "--n",
        "2",
        "-o",
        "a.png",
        "--trace",
        "a.json",
    ]);
    let mut trace: serde_json::Value = serde_json::from_str(&desk.text("a.json")).unwrap();
    trace["prompt"] = HOSTILE.into();
    trace["settings"]["model"] = HOSTILE.into();
    desk.write("a.json", trace.to_string());
    let said = desk.run(&["inspect", "a.json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_shown(&said);
}

#[test]
fn prompts_plans_and_arguments_are_shown_as_text() {
    let desk = Desk::new();
    desk.write(
        "plan.toml",
        format!("start = 1\n{} = 2\n", serde_json::json!("a\u{1b}b")),
    );
    desk.write("list.txt", "a \u{1b}[31mdragon\n");
    let hostile = "a\u{1b}[31m\u{202e}";
    for arguments in [
        &["generate", "a ring", "--plan", "plan.toml"][..],
        &[
            "generate",
            "--prompts",
            "list.txt",
            "--method",
            "raw",
            "-o",
            "out",
        ],
        &["generate", "a ring", "--model", hostile],
        &["generate", "a ring", "--method", hostile],
        &["generate", "a ring", "--seed", hostile],
        &["generate", "a ring", hostile],
        &[hostile],
        &["inspect", hostile],
        &["score", hostile],
        &["plan", hostile],
        &["doctor", "--weights", hostile],
        &["models", "--weights", hostile],
        &["models", "fetch", hostile],
        &["eval", "scenes", "--experiments", hostile],
        &["eval", "geneval", "--prompts", hostile],
        &[
            "eval",
            "compbench",
            "--prompts",
            ".",
            "--categories",
            hostile,
        ],
    ] {
        assert_shown(&desk.run(arguments));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_of_files_are_shown_and_quoted_for_a_shell() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let desk = Desk::new();
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "raw",
        "--seed",
        "7",
        "-o",
        "a.png",
    ]);
    for name in [
        &b"it's $(a) `b`.png"[..],
        b"-o.png",
        b"a\x1b[31m\n.png",
        b"a\xff.png",
        "a\u{202e}gnp.png".as_bytes(),
    ] {
        let name = OsStr::from_bytes(name);
        fs::copy(desk.path("a.png"), desk.path("").join(name)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ttsvar"))
            .current_dir(desk.path(""))
            .args(["inspect", "--"])
            .arg(name)
            .output()
            .unwrap();
        let said = Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_shown(&said);
        let line = said.out.lines().last().unwrap();
        let words = line.strip_suffix("   generates it again").unwrap();
        let words = words.strip_prefix("ttsvar generate --from ").unwrap();
        // Only newer shells read the other form of quotes.
        if words.starts_with("$'") {
            assert!(words.ends_with("'") && words.is_ascii(), "{words}");
            continue;
        }
        let script = format!("\"$0\" generate --from {words} -o again.png");
        let status = Command::new("/bin/sh")
            .current_dir(desk.path(""))
            .args(["-c", &script, env!("CARGO_BIN_EXE_ttsvar")])
            .output()
            .unwrap()
            .status;
        assert!(status.success(), "{script}");
        assert_eq!(desk.read("again.png"), desk.read("a.png"));
    }
}

#[test]
fn names_of_contenders_do_not_break_tables_and_charts() {
    let desk = Desk::new();
    desk.write(
        "experiment.toml",
        r#"
        title = "t|<img src=x onerror=alert(1)>\u001b[31m\n# forged"
        prompts = 6
        samples = 1
        consistency = 0
        [[contender]]
        name = "a|b<script>alert(7)</script>\n| evil `x` \uFFFE"
        method = "raw"
        n = 1
        [[contender]]
        name = "=cmd|calc\u001b[31m"
        method = "best-of-n"
        n = 1
        "#,
    );
    let said = desk.run(&[
        "eval",
        "scenes",
        "--experiments",
        "experiment.toml",
        "--out",
        "o",
    ]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_shown(&said);
    let table = desk.text("o/experiment/table.md");
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    let bars = |row: &str| row.replace("\\|", "").matches('|').count();
    assert!(rows.iter().all(|row| bars(row) == bars(rows[0])), "{table}");
    assert!(!table.contains('<') && !table.contains('\u{1b}'), "{table}");
    assert!(!desk.text("o/experiment/table.txt").contains('\u{1b}'));
    for chart in ["accuracy-by-n.svg", "accuracy-by-cost.svg"] {
        let svg = desk.text(&format!("o/experiment/{chart}"));
        let allowed = |c: char| !c.is_control() || c == '\n';
        assert!(svg.chars().all(|c| allowed(c) && c != '\u{fffe}'), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("<img"), "{svg}");
    }
}
