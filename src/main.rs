//! The `ttsvar` program: parses, runs, prints.

fn main() -> std::process::ExitCode {
    ttsvar::cli::main()
}
