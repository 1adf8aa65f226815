//! `cargo xtask tidy --wrap`: comments that are too long for their line flow on into the next one.
//!
//! rustfmt leaves comments alone. Tables, drawings in fences and addresses are left alone here too.

use super::code::LINE_MAX_CHARS;

/// The text with every comment wrapped.
pub(crate) fn wrap(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut fenced = false;
    let mut at = 0;
    while at < lines.len() {
        if let Some((_, said)) = comment(&lines[at]) {
            fenced ^= said.trim_start().starts_with("```");
        } else {
            fenced = false;
        }
        if !fenced && let Some((line, rest)) = split(&lines[at]) {
            lines[at] = line;
            match lines
                .get(at + 1)
                .and_then(|next| flows_on(&lines[at], next))
            {
                Some((prefix, said)) => lines[at + 1] = format!("{prefix}{rest} {said}"),
                None => lines.insert(at + 1, format!("{}{rest}", hanging(&lines[at]))),
            }
        }
        at += 1;
    }
    lines.join("\n") + "\n"
}

/// A comment's beginning (`    /// `) and what it says; none for a line of code.
fn comment(line: &str) -> Option<(&str, &str)> {
    let start = line.len() - line.trim_start().len();
    let slashes = line[start..].len() - line[start..].trim_start_matches('/').len();
    let mark = slashes + usize::from(line[start + slashes..].starts_with('!'));
    let blank = usize::from(line[start + mark..].starts_with(' '));
    (slashes >= 2).then(|| line.split_at(start + mark + blank))
}

/// A comment that is too long, in two at its last blank that fits.
fn split(line: &str) -> Option<(String, String)> {
    let (prefix, said) = comment(line)?;
    if line.chars().count() <= LINE_MAX_CHARS || said.starts_with('|') || line.contains("://") {
        return None;
    }
    let left = LINE_MAX_CHARS.checked_sub(prefix.chars().count())?;
    let (fits, _) = said.char_indices().nth(left)?;
    let indent = said.len() - said.trim_start().len();
    let at = said[..=fits].rfind(' ').filter(|at| *at > indent)?;
    let (first, rest) = said.split_at(at);
    Some((
        format!("{prefix}{}", first.trim_end()),
        rest.trim_start().to_owned(),
    ))
}

/// Beginning and words of `next` if it continues the paragraph of `line`.
fn flows_on<'a>(line: &str, next: &'a str) -> Option<(&'a str, &'a str)> {
    let (prefix, said) = comment(next)?;
    let words = said.trim_start();
    let begins = ["- ", "* ", "|", "#", "```", "["]
        .iter()
        .any(|mark| words.starts_with(mark));
    let numbered = words
        .split_once(". ")
        .is_some_and(|(number, _)| number.parse::<u8>().is_ok());
    let same = comment(line)?.0 == prefix && !words.is_empty() && !begins && !numbered;
    same.then(|| next.split_at(next.len() - words.len()))
}

/// How a new line begins that continues `line`: below the words of a list's item.
fn hanging(line: &str) -> String {
    let (prefix, said) = comment(line).unwrap_or((line, ""));
    let words = said.trim_start();
    let item = usize::from(words.starts_with("- ") || words.starts_with("* ")) * 2;
    format!("{prefix}{}", " ".repeat(said.len() - words.len() + item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> String {
        vec!["word"; count].join(" ")
    }

    #[test]
    fn a_long_comment_flows_into_the_rest_of_its_paragraph() {
        let text = format!("    /// {}\n    /// end.\n    fn a() {{}}\n", words(21));
        let wrapped = format!(
            "    /// {}\n    /// {} end.\n    fn a() {{}}\n",
            words(18),
            words(3)
        );
        assert_eq!(wrap(&text), wrapped);
        assert!(
            wrap(&text)
                .lines()
                .all(|line| line.chars().count() <= LINE_MAX_CHARS)
        );
    }

    #[test]
    fn a_new_line_is_made_before_code_and_list_items() {
        let text = format!("//! - {}\n//! - next\n", words(21));
        let wrapped = format!("//! - {}\n//!   word word\n//! - next\n", words(19));
        assert_eq!(wrap(&text), wrapped);
    }

    #[test]
    fn code_tables_drawings_and_short_lines_stay() {
        let long = words(30);
        let text =
            format!("let a = \"{long}\";\n// | {long} |\n//! ```text\n//! {long}\n//! ```\n// a\n");
        assert_eq!(wrap(&text), text);
    }
}
