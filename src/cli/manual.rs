//! A release's man pages and completions, made of the commands and options themselves: by a test, since
//! what ships has no use for their generators.

use std::env;
use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use tempfile::TempDir;

use super::Cli;

/// Into the folder that `VERSION_GUARD_MANUAL` names, if any; docker/release.sh.
#[test]
fn man_pages_and_completions_have_each_command_and_option() {
    let scratch = TempDir::new().unwrap();
    let folder = env::var_os("VERSION_GUARD_MANUAL")
        .map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut Cli::command(), "version-guard", &folder).unwrap();
    }
    clap_mangen::generate_to(Cli::command(), &folder).unwrap();

    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let completions = ["version-guard.bash", "version-guard.fish", "_version-guard"].map(read);
    let mut cli = Cli::command();
    cli.build();
    for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
        let page = read(&format!("version-guard-{}.1", command.get_name()));
        for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
            let in_roff = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&in_roff), "{in_roff}: {page}");
            assert!(completions.iter().all(|text| text.contains(option)), "{option}");
        }
    }
}
