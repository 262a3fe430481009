//! `ttsvar completions` and `ttsvar man`: both are made from the declared arguments, so nothing can
//! be missing in them.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{
    arguments::{self, Arguments},
    console::Console,
};
use crate::{Error, Result};

/// Prints the completions for a shell.
pub(super) fn completions(typed: &arguments::Completions, console: &Console) -> Result<()> {
    let mut script = vec![];
    clap_complete::generate(
        typed.shell,
        &mut Arguments::command(),
        "ttsvar",
        &mut script,
    );
    console.output(&script)
}

/// Prints the manual page, with all subcommands.
pub(super) fn man(console: &Console) -> Result<()> {
    let mut command = Arguments::command();
    command.build();
    let mut page = vec![];
    Man::new(command.clone())
        .render(&mut page)
        .map_err(Error::io("the manual page"))?;
    let mut page = as_single_page(&command, &String::from_utf8_lossy(&page)).into_bytes();
    for inner in command.get_subcommands() {
        append(inner, &mut page)?;
    }
    console.output(&page)
}

/// The page of a command whose subcommands have sections of this page instead of pages of their own,
/// with the example under a heading that says so.
fn as_single_page(command: &Command, page: &str) -> String {
    let mut page = page.replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    for inner in command.get_subcommands() {
        let (outer, name) = (command.get_name(), inner.get_name());
        page = page.replace(&format!("{outer}\\-{name}(1)"), &format!("{outer} {name}"));
    }
    page
}

/// Adds a section on a command and its own subcommands.
fn append(command: &Command, page: &mut Vec<u8>) -> Result<()> {
    if command.get_name() == "help" {
        return Ok(());
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    page.extend(format!(".SH \"{}\"\n", name.to_uppercase()).into_bytes());
    let man = Man::new(command.clone());
    let mut section = vec![];
    man.render_description_section(&mut section)
        .and_then(|()| man.render_synopsis_section(&mut section))
        .and_then(|()| man.render_options_section(&mut section))
        .map_err(Error::io("the manual page"))?;
    // Sections of a page of its own are subsections here.
    let section = String::from_utf8_lossy(&section).replace(".SH ", ".SS ");
    page.extend(section.into_bytes());
    for inner in command.get_subcommands() {
        append(inner, page)?;
    }
    Ok(())
}
