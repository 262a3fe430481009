//! Completions and the manual page name every command and every flag.

use crate::desk::Desk;

/// The commands and flags that `ttsvar help` prints, and those of commands inside commands.
fn commands_and_flags(desk: &Desk, command: &[&str]) -> (Vec<String>, Vec<String>) {
    let help = desk.works(&[&["help"], command].concat());
    let mut commands = vec![];
    let mut flags = vec![];
    let mut in_commands = false;
    for line in help.lines() {
        in_commands = match line {
            "Commands:" => true,
            _ if line.ends_with(':') && !line.starts_with(' ') => false,
            _ => in_commands,
        };
        let first = line.split_whitespace().next().unwrap_or_default();
        if in_commands && line.starts_with("  ") && !line.starts_with("   ") && first != "help" {
            commands.push(first.to_owned());
        }
        flags.extend(
            line.split_whitespace()
                .take_while(|word| word.starts_with('-'))
                .map(|word| word.trim_end_matches(','))
                .filter(|word| word.starts_with("--") && word.len() > 2)
                .filter(|word| word.chars().all(|c| c == '-' || c.is_ascii_lowercase()))
                .map(str::to_owned),
        );
    }
    for inner in commands.clone() {
        let deeper = commands_and_flags(desk, &[command, &[inner.as_str()]].concat());
        commands.extend(deeper.0);
        flags.extend(deeper.1);
    }
    (commands, flags)
}

#[test]
fn they_are_complete() {
    let desk = Desk::new();
    let (commands, mut flags) = commands_and_flags(&desk, &[]);
    flags.sort();
    flags.dedup();
    assert!(
        commands.len() > 13 && flags.len() > 60,
        "{commands:?} {flags:?}"
    );
    let page = desk.works(&["man"]).replace("\\-", "-");
    assert!(page.contains(".TH ttsvar 1"), "{page}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = desk.works(&["completions", shell]);
        for name in &commands {
            assert!(script.contains(name.as_str()), "{shell}: {name}");
        }
        for flag in &flags {
            assert!(
                script.contains(flag.trim_start_matches('-')),
                "{shell}: {flag}"
            );
        }
    }
    for name in commands.iter().chain(&flags) {
        assert!(page.to_lowercase().contains(&name.to_lowercase()), "{name}");
    }
}

#[test]
fn the_manual_is_a_single_page() {
    let page = Desk::new().works(&["man"]);
    assert!(!page.contains("(1)") && !page.contains("EXTRA"), "{page}");
    for part in [
        ".TP\nttsvar generate\n",
        ".SH \"TTSVAR GENERATE\"\n",
        ".SH EXAMPLES\nTry it: ttsvar generate ",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn an_unknown_shell_is_refused_with_the_known_ones() {
    let refused = Desk::new().refuses(&["completions", "bsh"]);
    assert!(refused.contains("bash"), "{refused}");
}
