//! Which folders of the user are used where none is named.
//!
//! Deliberately absent: making them, which is done by whoever writes there.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Names the folder that compiled code is cached in.
const CACHE_VARIABLE: &str = "USHER_CACHE";

/// Where functions and logs are kept: `usher` in the user's folder for data; none: no home.
pub(crate) fn data() -> Option<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share", env::var_os)
}

/// Where compiled code is cached for platforms on throw-away data: `$USHER_CACHE`, or `usher` in
/// the user's folder for caches; none: no home.
pub(crate) fn cache() -> Option<PathBuf> {
    cache_by(env::var_os)
}

fn cache_by(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<PathBuf> {
    match variable(CACHE_VARIABLE).filter(|named| !named.is_empty()) {
        Some(named) => Some(PathBuf::from(named)),
        None => user_folder("XDG_CACHE_HOME", ".cache", variable),
    }
}

/// After the XDG base directory specification: a relative path in such a variable is not obeyed.
fn user_folder(
    xdg: &'static str,
    below_home: &str,
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute(xdg).or_else(|| absolute("HOME").map(|home| home.join(below_home)));
    base.map(|base| base.join("usher"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        cache_by(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_nearest_variable_that_means_something_decides() {
        let home = ("HOME", "/users/ann");
        let xdg = ("XDG_CACHE_HOME", "/cache");
        let own = ("USHER_CACHE", "here");
        assert_eq!(cache_with(&[home, xdg, own]), Some("here".into()));
        assert_eq!(cache_with(&[home, xdg]), Some("/cache/usher".into()));
        let home_only = Some("/users/ann/.cache/usher".into());
        assert_eq!(cache_with(&[home]), home_only);
        assert_eq!(cache_with(&[home, ("XDG_CACHE_HOME", "rel")]), home_only);
        assert_eq!(cache_with(&[home, ("USHER_CACHE", "")]), home_only);
        assert_eq!(cache_with(&[]), None);
    }
}
