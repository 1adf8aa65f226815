//! One Rust file as the rules see it: its functions, its tests, and the words that are not allowed
//! everywhere.
//!
//! Read as tokens, not as text: what stands in strings and comments is no code, and what stands in
//! a macro's arguments is. Deliberately absent: the rules; see `code`.

use std::ops::RangeInclusive;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What was found in one Rust file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Every function with a body.
    pub(crate) functions: Vec<Function>,
    /// Every word of interest.
    pub(crate) words: Vec<(Word, usize)>,
    /// The lines of items that exist in tests only.
    pub(crate) tests: Vec<RangeInclusive<usize>>,
    /// Arguments of the file's own `#![…]` attributes, blanks removed: `forbid(unsafe_code)`.
    pub(crate) attributes: Vec<String>,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// Lines from there to the closing bracket.
    pub(crate) lines: usize,
    /// Marked as a test, or among what exists in tests only.
    pub(crate) test: bool,
}

/// Something that is not allowed everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `unsafe`, in any form.
    Unsafe,
    /// A place left open by macro.
    Unfinished,
    /// A test that does not run.
    Ignored,
    /// Waiting by the clock.
    Sleep,
}

impl Source {
    /// Reads `text`; the error tells why it is no Rust.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text
            .parse()
            .map_err(|error: proc_macro2::LexError| error.to_string())?;
        let mut source = Self::default();
        source.walk(tokens, false);
        Ok(source)
    }

    /// Whether the line belongs to an item that exists in tests only.
    pub(crate) fn in_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    /// How many of the file's lines exist in tests only.
    pub(crate) fn test_lines(&self) -> usize {
        self.tests
            .iter()
            .map(|range| range.end() - range.start() + 1)
            .sum()
    }

    fn walk(&mut self, tokens: TokenStream, in_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // What the attributes in front of the current item said.
        let (mut only_test, mut marked_test) = (None, false);
        for at in 0..tokens.len() {
            self.note_word(&tokens, at);
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(attribute) = attribute(&tokens, at) {
                        if attribute.text == "cfg(test)" {
                            only_test = only_test.or(Some(punct.span().start().line));
                        }
                        marked_test |= attribute.marks_test();
                        self.note_attribute(attribute);
                    }
                }
                TokenTree::Ident(ident) if ident == "fn" => {
                    let test = in_test || marked_test || only_test.is_some();
                    self.functions.extend(function(&tokens[at..], test));
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    (only_test, marked_test) = (None, false);
                }
                TokenTree::Group(group) => {
                    self.walk(group.stream(), in_test || only_test.is_some());
                    if group.delimiter() == Delimiter::Brace {
                        if let Some(first) = only_test.filter(|_| !in_test) {
                            self.tests.push(first..=group.span_close().end().line);
                        }
                        (only_test, marked_test) = (None, false);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_word(&mut self, tokens: &[TokenTree], at: usize) {
        let TokenTree::Ident(ident) = &tokens[at] else {
            return;
        };
        let punct = |at: Option<usize>, wanted: char| {
            at.and_then(|at| tokens.get(at)).is_some_and(
                |token| matches!(token, TokenTree::Punct(it) if it.as_char() == wanted),
            )
        };
        let word = match ident.to_string().as_str() {
            "unsafe" => Word::Unsafe,
            "todo" | "unimplemented" if punct(Some(at + 1), '!') => Word::Unfinished,
            "sleep" if punct(at.checked_sub(1), ':') => {
                match at.checked_sub(3).map(|at| &tokens[at]) {
                    Some(TokenTree::Ident(of)) if of == "thread" || of == "time" => Word::Sleep,
                    _ => return,
                }
            }
            _ => return,
        };
        self.words.push((word, ident.span().start().line));
    }

    fn note_attribute(&mut self, attribute: Attribute) {
        if attribute.text == "ignore" || attribute.text.starts_with("ignore=") {
            self.words.push((Word::Ignored, attribute.line));
        }
        if attribute.of_file {
            self.attributes.push(attribute.text);
        }
    }
}

/// Whether the whole file exists in tests only, by its place.
pub(crate) fn is_test_file(path: &Path) -> bool {
    let in_folder = path.components().any(|part| part.as_os_str() == "tests");
    in_folder || path.file_stem().is_some_and(|stem| stem == "tests")
}

struct Attribute {
    text: String,
    line: usize,
    of_file: bool,
}

impl Attribute {
    /// `test`, `tokio::test`, `tokio::test(flavor = …)` and the like.
    fn marks_test(&self) -> bool {
        let path = self.text.split(['(', '=']).next().unwrap_or_default();
        path.rsplit("::").next() == Some("test")
    }
}

fn attribute(tokens: &[TokenTree], at: usize) -> Option<Attribute> {
    let of_file = matches!(tokens.get(at + 1)?, TokenTree::Punct(punct) if punct.as_char() == '!');
    let TokenTree::Group(group) = tokens.get(at + 1 + usize::from(of_file))? else {
        return None;
    };
    let text = group.stream().to_string().split_whitespace().collect();
    let line = group.span_open().start().line;
    (group.delimiter() == Delimiter::Bracket).then_some(Attribute {
        text,
        line,
        of_file,
    })
}

/// The function whose `fn` is the first token; none for a type or a declaration without a body.
fn function(tokens: &[TokenTree], test: bool) -> Option<Function> {
    let [first, TokenTree::Ident(name), rest @ ..] = tokens else {
        return None;
    };
    let is_end = |token: &&TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let TokenTree::Group(body) = rest.iter().find(is_end)? else {
        return None;
    };
    let line = first.span().start().line;
    let lines = Group::span_close(body).end().line - line + 1;
    Some(Function {
        name: name.to_string(),
        line,
        lines,
        test,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_names_and_lines() {
        let text = "fn one() {}\nimpl A {\n  fn two(a: fn(u8) -> u8)\n\
            where A: B {\n    x\n  }\n}\n\
            trait T { fn three(); fn four() { fn five() {\n} } }\n\
            macro! { #[test]\nfn six() {} }\n";
        let source = Source::parse(text).unwrap();
        let found: Vec<_> = (source.functions.iter())
            .map(|function| {
                (
                    function.name.as_str(),
                    function.line,
                    function.lines,
                    function.test,
                )
            })
            .collect();
        let expected = [
            ("one", 1, 1, false),
            ("two", 3, 4, false),
            ("four", 8, 2, false),
            ("five", 8, 2, false),
            ("six", 11, 1, true),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_exists_in_tests_only_is_told_apart() {
        let text = "fn a() {}\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n  fn b() {}\n}\n\
            #[cfg(test)]\nuse x;\nfn c() {}\n";
        let source = Source::parse(text).unwrap();
        assert_eq!(source.tests, [2..=6]);
        let test: Vec<_> = source
            .functions
            .iter()
            .map(|function| function.test)
            .collect();
        assert_eq!(test, [false, true, false]);
        assert_eq!(source.test_lines(), 5);
        assert!(source.in_test(5) && !source.in_test(9));
    }

    #[test]
    fn words_are_found_in_code_and_macros_but_not_in_strings_and_comments() {
        let text = "// unsafe\nconst A: &str = \"unsafe todo!()\";\nfn a() { unsafe {} }\n\
            b! { todo!() }\n#[ignore = \"slow\"]\n\
            fn c() { std::thread::sleep(x); clock.sleep(x); }\n";
        let words = Source::parse(text).unwrap().words;
        let expected = [
            (Word::Unsafe, 3),
            (Word::Unfinished, 4),
            (Word::Ignored, 5),
            (Word::Sleep, 6),
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn attributes_of_the_file_are_kept() {
        let source =
            Source::parse("//! a\n#![forbid(unsafe_code)]\n#[deny(x)]\nfn a() {}\n").unwrap();
        assert!(
            source
                .attributes
                .contains(&"forbid(unsafe_code)".to_owned())
        );
        assert!(!source.attributes.contains(&"deny(x)".to_owned()));
        assert!(Source::parse("fn a( {").is_err());
    }
}
