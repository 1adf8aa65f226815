//! The table `[cors]`: which pages of other origins may call the function from a browser.
//!
//! Deliberately absent: what a browser is told because of it, which is `usher_core::cors`.

use http::{HeaderName, Method};
use usher_core::cors::{ANY, CORS_AGE_MAX_S, CORS_ENTRIES_MAX, Cors, is_origin};

use super::section::{Section, shown};

/// Methods that browsers let no page use.
const FORBIDDEN_METHODS: [&str; 3] = ["CONNECT", "TRACE", "TRACK"];

/// Reads the table.
pub(super) fn read(section: &mut Section<'_, '_>) -> Cors {
    let mut cors = Cors::default();
    section.require("origins", "origins = [\"https://example.com\"], or [\"*\"]");
    section.texts("origins", CORS_ENTRIES_MAX, origin, &mut cors.origins);
    if section.is_empty_list("origins") {
        section.mistake(
            "origins",
            "it names nobody; write [\"https://example.com\"], or leave out the table",
        );
    }
    section.texts("methods", CORS_ENTRIES_MAX, method, &mut cors.methods);
    section.texts("headers", CORS_ENTRIES_MAX, header, &mut cors.headers);
    section.texts("expose", CORS_ENTRIES_MAX, header, &mut cors.expose);
    section.flag("credentials", &mut cors.credentials);
    let age = 0..=u64::from(CORS_AGE_MAX_S);
    section.number("max_age_s", "seconds", age, &mut cors.max_age_s);
    for name in cors.headers.iter_mut().chain(&mut cors.expose) {
        name.make_ascii_lowercase();
    }
    let any = |list: &[String]| list.iter().any(|entry| entry == ANY);
    if cors.credentials && any(&cors.origins) {
        section.mistake(
            "credentials",
            "with origins = [\"*\"] every page could act as the user who is signed in; name the \
             origins, or leave out credentials",
        );
    }
    if cors.credentials && any(&cors.expose) {
        section.mistake(
            "expose",
            "where credentials go along, a browser takes \"*\" for a header's name; name the \
             headers",
        );
    }
    cors
}

fn origin(text: &str) -> Result<(), String> {
    (text == ANY || is_origin(text))
        .then_some(())
        .ok_or_else(|| {
            format!(
                "{} is no origin: a scheme and a host in lower case, with the port where it is not \
             the scheme's own, such as \"https://example.com\"; or \"*\" for all",
                shown(text)
            )
        })
}

fn method(text: &str) -> Result<(), String> {
    let legal = text == ANY || text.parse::<Method>().is_ok() && !FORBIDDEN_METHODS.contains(&text);
    legal.then_some(()).ok_or_else(|| {
        format!(
            "{} is no method that a page can use; write one such as \"PUT\", or \"*\" for all",
            shown(text)
        )
    })
}

fn header(text: &str) -> Result<(), String> {
    let legal = text == ANY || text.parse::<HeaderName>().is_ok();
    legal.then_some(()).ok_or_else(|| {
        format!(
            "{} is no header's name; write one such as \"x-token\", or \"*\" for all",
            shown(text)
        )
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::cors::Cors;

    use crate::manifest::{Manifest, Mistake};

    fn manifest(table: &str) -> String {
        format!("name = \"f\"\ncomponent = \"f.wasm\"\n[cors]\n{table}")
    }

    #[test]
    fn every_setting_is_read_and_none_is_needed_beside_the_origins() {
        let text = manifest(
            "origins = [\"https://a.example\", \"http://localhost:3000\"]\n\
             methods = [\"PUT\"]\nheaders = [\"X-Token\"]\nexpose = [\"X-Total\"]\n\
             credentials = true\nmax_age_s = 0\n",
        );
        let cors = Manifest::read(&text).unwrap().settings.cors.unwrap();
        assert_eq!(cors.origins.len(), 2);
        assert_eq!(cors.methods, ["PUT"]);
        assert_eq!(
            (&*cors.headers, &*cors.expose),
            (&["x-token".to_owned()][..], &["x-total".to_owned()][..])
        );
        assert!(cors.credentials && cors.max_age_s == 0);
        let cors = Manifest::read(&manifest("origins = [\"*\"]\n")).unwrap();
        let expected = Cors {
            origins: vec!["*".to_owned()],
            ..Cors::default()
        };
        assert_eq!(cors.settings.cors, Some(expected));
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_line() {
        let text = manifest(
            "origins = [\"*\", \"https://a.example/\"]\nmethods = [\"TRACE\"]\n\
             headers = [\"x y\"]\nexpose = [\"*\"]\ncredentials = true\nmax_age_s = 86401\n\
             orgins = []\n",
        );
        let told = Manifest::read(&text).unwrap_err();
        let told: Vec<_> = told.list().iter().map(Mistake::to_string).collect();
        let begin = [
            "line 4: cors.origins: \"https://a.example/\" is no origin: ",
            "line 5: cors.methods: \"TRACE\" is no method ",
            "line 6: cors.headers: \"x y\" is no header's name; ",
            "line 7: cors.expose: where credentials go along, ",
            "line 8: cors.credentials: with origins = [\"*\"] ",
            "line 9: cors.max_age_s: 86401 is out of bounds; ",
            "line 10: cors.orgins: unknown; did you mean \"origins\"?",
        ];
        assert_eq!(told.len(), begin.len(), "{told:#?}");
        for (told, begin) in told.iter().zip(begin) {
            assert!(told.starts_with(begin), "{told}");
        }
        for (table, said) in [
            ("", "cors.origins: missing; write origins = "),
            ("origins = []\n", "line 4: cors.origins: it names nobody; "),
        ] {
            let told = Manifest::read(&manifest(table)).unwrap_err().to_string();
            assert!(told.starts_with(said), "{told}");
        }
    }
}
