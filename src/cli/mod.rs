//! The command line: one file per subcommand. Arguments are declared in `arguments`, and everything
//! that is printed goes through `console`.

mod arguments;
mod bench;
mod collect;
mod console;
mod convert;
mod copying;
mod doctor;
mod eval;
mod fetch;
mod generate;
mod inspect;
mod interrupt;
mod manual;
mod memory;
mod models;
mod outputs;
mod plan;
mod preview_size;
mod progress;
mod prompts;
mod reading;
mod score;
#[cfg(feature = "server")]
mod serve;
mod usage;

use std::process::ExitCode;

use arguments::{Arguments, Global, Subcommands};
use console::Console;

use crate::{
    Error, ErrorKind, Result,
    report::{numbers, table},
};

/// Exit code of everything that the user can put right.
const REFUSED: u8 = 2;

/// Exit code of failures of the program or the system.
const FAILED: u8 = 1;

/// Exit code of a run that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the program and returns its exit code: 0 when all went well, 2 for what the user can put
/// right, 1 for failures of the program, 130 after Ctrl-C.
pub fn main() -> ExitCode {
    interrupt::install();
    let arguments = match usage::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let console = Console::new(arguments.global.quiet, arguments.global.json);
    ExitCode::from(run(&arguments, &console).unwrap_or_else(|error| {
        console.error(&error);
        code(&error)
    }))
}

fn run(arguments: &Arguments, console: &Console) -> Result<u8> {
    crate::bench::check_kernels()?;
    start_threads(&arguments.global, console)?;
    arguments.global.device.open()?;
    match &arguments.command {
        Subcommands::Generate(typed) => return generate::run(typed, &arguments.global, console),
        Subcommands::Doctor(typed) => return doctor::run(typed, console),
        Subcommands::Score(typed) => return score::run(typed, &arguments.global, console),
        Subcommands::Models(typed) => match &typed.what {
            Some(arguments::ModelsWhat::Fetch(typed)) => return fetch::run(typed, console),
            None => models::run(typed, console)?,
        },
        Subcommands::Plan(typed) => plan::run(typed, &arguments.global, console)?,
        Subcommands::Bench(typed) => bench::run(typed, &arguments.global, console)?,
        #[cfg(feature = "server")]
        Subcommands::Serve(typed) => serve::run(typed, &arguments.global, console)?,
        Subcommands::Inspect(typed) => inspect::run(typed, console)?,
        Subcommands::Convert(typed) => convert::run(typed, console)?,
        Subcommands::Completions(typed) => manual::completions(typed, console)?,
        Subcommands::Man => manual::man(console)?,
        Subcommands::Collect(typed) => collect::run(typed, &arguments.global, console)?,
        Subcommands::Eval(arguments::Eval::Scenes(typed)) => {
            eval::scenes(typed, &arguments.global, console)?
        }
        Subcommands::Eval(arguments::Eval::Compbench(typed)) => {
            eval::compbench(typed, &arguments.global, console)?
        }
        Subcommands::Eval(arguments::Eval::Questions(typed)) => {
            eval::questions(typed, &arguments.global, console)?
        }
        Subcommands::Eval(arguments::Eval::Geneval(typed)) => {
            eval::geneval(typed, &arguments.global, console)?
        }
    }
    Ok(0)
}

/// The exit code that an error asks for.
fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Input => REFUSED,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::System | ErrorKind::Internal | ErrorKind::External => FAILED,
    }
}

fn start_threads(global: &Global, console: &Console) -> Result<()> {
    let Some(threads) = global.threads else {
        return Ok(());
    };
    if threads == 0 {
        return Err(
            Error::input("--threads is 0, but the work needs at least 1 thread")
                .with_hint("leave it out to use every core"),
        );
    }
    // More threads than cores would only wait for one another.
    let cores = std::thread::available_parallelism().map_or(threads, usize::from);
    if threads > cores {
        let cores = numbers::counted(cores, "core");
        console.note(&format!(
            "--threads is {threads}, but this machine has only {cores}; all of them are used"
        ));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.min(cores))
        .build_global();
    pool.map_err(|error| Error::system(format!("cannot start {threads} threads: {error}")))
}
