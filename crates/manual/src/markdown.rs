//! Markdown as roff: a document of `docs/` as a page for man(1).

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The sections of a page from the document `text`: its title is left out, and what
/// comes before its first heading is the description. Of a table, each row becomes
/// a paragraph that its first cell leads.
pub(crate) fn sections(text: &str) -> String {
    let mut page = Page::default();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.roff
}

/// Text as roff shows it unchanged.
pub(crate) fn escaped(text: &str) -> String {
    let mut roff = String::new();
    for character in text.chars() {
        match character {
            '\\' => roff.push_str("\\e"),
            '-' => roff.push_str("\\-"),
            '~' => roff.push_str("\\(ti"),
            '^' => roff.push_str("\\(ha"),
            '`' => roff.push_str("\\(ga"),
            '\'' => roff.push_str("\\(aq"),
            other => roff.push(other),
        }
    }
    roff
}

#[derive(Debug, Default)]
struct Page {
    roff: String,
    /// The line or paragraph that is being read.
    line: String,
    in_heading: bool,
    in_code: bool,
    has_section: bool,
    /// What the columns of the present table are called, and the cells of its row.
    header: Vec<String>,
    row: Vec<String>,
    in_table: bool,
    /// Where the present link leads.
    link: String,
    /// Lists that are open.
    depth: usize,
    /// The next paragraph follows its bullet.
    after_bullet: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code => self.code(&text),
            Event::Text(text) | Event::Code(text) if self.in_heading => self.line.push_str(&text),
            Event::Text(text) => self.line.push_str(&escaped(&text)),
            Event::Code(text) => {
                let text = escaped(&text);
                self.line.push_str(&format!("\\fB{text}\\fR"));
            }
            Event::SoftBreak => self.line.push(' '),
            Event::HardBreak => self.line.push_str("\n.br\n"),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } => {
                self.flush();
                self.in_heading = true;
            }
            Tag::CodeBlock(_) => {
                self.flush();
                self.describe();
                self.in_code = true;
                self.roff.push_str(".PP\n.RS 4\n.nf\n");
            }
            Tag::List(_) => {
                self.flush();
                if self.depth > 0 {
                    self.roff.push_str(".RS 2\n");
                }
                self.depth += 1;
            }
            Tag::Item => {
                self.describe();
                self.roff.push_str(".IP \\(bu 2\n");
                self.after_bullet = true;
            }
            Tag::Table(_) => {
                self.flush();
                self.describe();
                self.header.clear();
                self.in_table = true;
            }
            Tag::TableHead | Tag::TableRow => self.row.clear(),
            Tag::Strong => self.line.push_str("\\fB"),
            Tag::Emphasis => self.line.push_str("\\fI"),
            Tag::Link { dest_url, .. } => self.link = dest_url.into_string(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph => self.flush(),
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.roff.push_str(".fi\n.RE\n");
            }
            TagEnd::List(_) => {
                self.depth -= 1;
                if self.depth > 0 {
                    self.roff.push_str(".RE\n");
                }
            }
            TagEnd::Item => self.flush(),
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.line)),
            TagEnd::TableHead => self.header = std::mem::take(&mut self.row),
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.in_table = false,
            TagEnd::Strong | TagEnd::Emphasis => self.line.push_str("\\fR"),
            TagEnd::Link => self.end_of_link(),
            _ => {}
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        let text = std::mem::take(&mut self.line);
        self.in_heading = false;
        let line = match level {
            // The document's title.
            HeadingLevel::H1 => return,
            HeadingLevel::H2 => format!(".SH {}\n", quoted(&escaped(&text.to_uppercase()))),
            _ => format!(".SS {}\n", quoted(&escaped(&text))),
        };
        self.has_section = true;
        self.roff.push_str(&line);
    }

    /// What precedes all headings needs one.
    fn describe(&mut self) {
        if !self.has_section {
            self.roff.push_str(".SH DESCRIPTION\n");
            self.has_section = true;
        }
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.line);
        if self.in_table || text.trim().is_empty() {
            return;
        }
        self.describe();
        if !std::mem::take(&mut self.after_bullet) {
            self.roff.push_str(".PP\n");
        }
        self.text(&text);
    }

    /// A request would begin with a full stop or an apostrophe.
    fn text(&mut self, text: &str) {
        if text.starts_with('.') {
            self.roff.push_str("\\&");
        }
        self.roff.push_str(text);
        self.roff.push('\n');
    }

    fn code(&mut self, text: &str) {
        for line in text.lines() {
            self.text(&escaped(line));
        }
    }

    fn row(&mut self) {
        let row = std::mem::take(&mut self.row);
        let mut cells = row.into_iter();
        let first = cells.next().unwrap_or_default();
        self.roff.push_str(".TP\n");
        self.text(&first);
        let header = std::mem::take(&mut self.header);
        let several = header.len() > 2;
        for (cell, name) in cells.zip(header.iter().skip(1)) {
            match several && !name.is_empty() && !cell.is_empty() {
                true => self.text(&format!("\\fI{name}:\\fR {cell}\n.br")),
                false => self.text(&cell),
            }
        }
        self.header = header;
    }

    /// Pages name each other as pages, and documents by their path.
    fn end_of_link(&mut self) {
        let link = std::mem::take(&mut self.link);
        let (path, _) = link.split_once('#').unwrap_or((&link, ""));
        let name = path.rsplit('/').next().unwrap_or_default();
        let target = match name {
            "" => return,
            "configuration.md" => "\\fBuser\\-oom.toml\\fR(5)".to_owned(),
            "registry.md" => "\\fBuser_processes\\fR(5)".to_owned(),
            "options.md" => "\\fBuser\\-oom\\fR(8)".to_owned(),
            _ if link.contains("://") => escaped(&link),
            _ if link.contains("kmod/README") => "\\fBmemory_info\\fR(4)".to_owned(),
            _ => escaped(name),
        };
        self.line.push_str(&format!(" ({target})"));
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn a_document_becomes_sections() {
        let roff = sections(
            "# Title\n\nWhat it *is*: `a-b`.\n\n## Part `two`'s\n\n- one\n- [two](registry.md#x)\n\n\
             | key | unit | for |\n|---|---|---|\n| `k` | s | time |\n\n```sh\n.profile \\n\n```\n",
        );
        assert_eq!(
            roff,
            ".SH DESCRIPTION\n.PP\nWhat it \\fIis\\fR: \\fBa\\-b\\fR.\n.SH \"PART TWO\\(aqS\"\n\
             .IP \\(bu 2\none\n.IP \\(bu 2\ntwo (\\fBuser_processes\\fR(5))\n\
             .TP\n\\fBk\\fR\n\\fIunit:\\fR s\n.br\n\\fIfor:\\fR time\n.br\n\
             .PP\n.RS 4\n.nf\n\\&.profile \\en\n.fi\n.RE\n"
        );
    }
}
