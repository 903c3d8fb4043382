//! Which pages there are.

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use crate::markdown::{escaped, sections};

/// Of a program: what it takes, and what is written by hand besides.
#[derive(Debug)]
pub(crate) struct ProgramPage {
    pub(crate) name: &'static str,
    pub(crate) section: u8,
    pub(crate) command: fn() -> Command,
    /// Markdown: sections that follow.
    more: &'static str,
}

/// Of something else, in markdown.
#[derive(Debug)]
pub(crate) struct DocumentPage {
    pub(crate) name: &'static str,
    pub(crate) section: u8,
    what: &'static str,
    text: &'static str,
}

pub(crate) const PROGRAMS: &[ProgramPage] = &[
    ProgramPage {
        name: "user-oomctl",
        section: 1,
        command: user_oomctl::command,
        more: include_str!("../pages/user-oomctl.1.md"),
    },
    ProgramPage {
        name: "user-oom",
        section: 8,
        command: user_oom::command,
        more: include_str!("../pages/user-oom.8.md"),
    },
    ProgramPage {
        name: "psi-monitor",
        section: 8,
        command: psi_monitor::command,
        more: include_str!("../pages/psi-monitor.8.md"),
    },
];

pub(crate) const DOCUMENTS: &[DocumentPage] = &[
    DocumentPage {
        name: "memory_info",
        section: 4,
        what: "kernel module that asks user space before the kernel kills",
        text: include_str!("../../../kmod/README.md"),
    },
    DocumentPage {
        name: "user-oom.toml",
        section: 5,
        what: "configuration of user-oom",
        text: include_str!("../../../docs/configuration.md"),
    },
    DocumentPage {
        name: "user_processes",
        section: 5,
        what: "values that processes have for user-oom",
        text: include_str!("../../../docs/registry.md"),
    },
    DocumentPage {
        name: "user-oom",
        section: 7,
        what: "how user-oom decides",
        text: include_str!("../pages/user-oom.7.md"),
    },
];

impl ProgramPage {
    pub(crate) fn page(&self) -> Result<String> {
        let mut command = (self.command)();
        // With what all subcommands take.
        command.build();
        let command = command.disable_help_subcommand(true);
        let about = command.get_about().map(ToString::to_string);
        let about = about.context("a program without a word of what it is for")?;
        let mut page = head(self.name, self.section, first_lower(&about));
        let man = Man::new(command.clone());
        page.push_str(&rendered(|buffer| man.render_synopsis_section(buffer))?);
        page.push_str(&rendered(|buffer| man.render_description_section(buffer))?);
        page.push_str(&rendered(|buffer| man.render_options_section(buffer))?);
        page.push_str(&subcommands(&command)?);
        if let Some(end) = command.get_after_help() {
            let text = end.to_string();
            let status = text.strip_prefix("Exit status: ");
            let status = status.context("the help ends with something else")?;
            page.push_str(&format!(".SH \"EXIT STATUS\"\n{}\n", escaped(status)));
        }
        page.push_str(&sections(self.more));
        page.push_str(&others(self.name, self.section));
        Ok(page)
    }
}

impl DocumentPage {
    pub(crate) fn page(&self) -> String {
        let mut page = head(self.name, self.section, self.what.to_owned());
        page.push_str(&sections(self.text));
        page.push_str(&others(self.name, self.section));
        page
    }
}

fn head(name: &str, section: u8, what: String) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (title, name, what) = (escaped(&name.to_uppercase()), escaped(name), escaped(&what));
    format!(
        ".TH {title} {section} \"\" \"user\\-oom {version}\" \"\"\n.SH NAME\n{name} \\- {what}\n"
    )
}

/// As what follows a dash.
fn first_lower(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn rendered(render: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>) -> Result<String> {
    let mut buffer = Vec::new();
    render(&mut buffer).context("cannot render")?;
    String::from_utf8(buffer).context("that is no text")
}

/// On the program's own page: a page each would be opened for three lines.
fn subcommands(command: &Command) -> Result<String> {
    let mut page = String::new();
    let is_shown = |sub: &&Command| !sub.is_hide_set() && sub.get_name() != "help";
    for sub in command.get_subcommands().filter(is_shown) {
        if page.is_empty() {
            page.push_str(".SH COMMANDS\n");
        }
        let mut usage = sub.clone().mut_args(|arg| {
            let of_all = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(of_all)
        });
        let line = usage.render_usage().to_string();
        let line = line.trim_start_matches("Usage: ").trim();
        page.push_str(&format!(".SS \"{}\"\n", escaped(line)));
        let about = sub.get_long_about().or_else(|| sub.get_about());
        let about = about.context("a command without a word of what it does")?;
        page.push_str(&format!("{}.\n", escaped(&about.to_string())));
        if usage.get_arguments().any(|arg| !arg.is_hide_set()) {
            let man = Man::new(usage);
            let options = rendered(|buffer| man.render_options_section(buffer))?;
            page.push_str(&options.replacen(".SH OPTIONS\n", "", 1));
        }
    }
    Ok(page)
}

fn others(name: &str, section: u8) -> String {
    let programs = PROGRAMS
        .iter()
        .map(|program| (program.section, program.name));
    let documents = (DOCUMENTS.iter()).map(|document| (document.section, document.name));
    let mut all: Vec<_> = programs.chain(documents).collect();
    all.retain(|other| *other != (section, name));
    all.sort_unstable();
    let names = all
        .iter()
        .map(|(section, name)| format!("\\fB{}\\fR({section})", escaped(name)));
    let names = names.collect::<Vec<_>>().join(",\n");
    format!(".SH \"SEE ALSO\"\n{names}\n.PP\nMore documents: \\fI/usr/share/doc/user\\-oom\\fR\n")
}

#[cfg(test)]
mod tests {
    use super::{DOCUMENTS, PROGRAMS, escaped};

    #[test]
    fn a_programs_page_has_all_that_it_takes_and_how_it_exits() {
        for program in PROGRAMS {
            let page = program.page().expect("it has one");
            let mut command = (program.command)();
            command.build();
            let subcommands: Vec<_> = command.get_subcommands().cloned().collect();
            for each in std::iter::once(&command).chain(&subcommands) {
                let options = each.get_arguments().filter(|option| !option.is_hide_set());
                for long in options.filter_map(|option| option.get_long()) {
                    let option = escaped(&format!("--{long}"));
                    assert!(page.contains(&option), "{}: {option}", program.name);
                }
            }
            assert!(page.contains(".SH \"EXIT STATUS\"\n0 "), "{}", program.name);
        }
    }

    #[test]
    fn the_configurations_page_has_each_key() {
        let document = DOCUMENTS
            .iter()
            .find(|document| document.name == "user-oom.toml");
        let document = document.expect("there is one");
        let (_, file) = document
            .text
            .split_once("#memory = ")
            .expect("it has the file");
        let keys = file
            .lines()
            .filter(|line| line.starts_with('#') && line.contains(" = "));
        let page = document.page();
        let mut count = 0;
        for key in keys {
            assert!(page.contains(&escaped(key)), "{key}");
            count += 1;
        }
        assert!(count > 20, "{count} keys");
    }
}
