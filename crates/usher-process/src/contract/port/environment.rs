//! The environment variables of a program that speaks the `$PORT` contract.
//!
//! The names are those of Knative's runtime contract, which people's programs know. Deliberately
//! absent: those of the function's own manifest, and of the outbound proxy.

/// What a program is told about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// The function's name.
    pub name: String,
    /// The revision that runs, as `name-00001` or any other name of it.
    pub revision: String,
    /// Where the program is to listen.
    pub port: u16,
}

/// Variables that are the contract's own, whatever a function's settings say.
pub const RESERVED: [&str; 4] = ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"];

/// All variables that the contract sets.
pub fn port_environment(about: &About) -> Vec<(String, String)> {
    let port = about.port.to_string();
    let variables = [
        ("PORT", port.as_str()),
        ("K_SERVICE", &about.name),
        ("K_REVISION", &about.revision),
        ("K_CONFIGURATION", &about.name),
        (
            "PATH",
            "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        ),
        ("HOME", "/tmp"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("TZ", "UTC"),
        // What a program prints stands in the log when it was printed, and not when its buffer was
        // full or never.
        ("PYTHONUNBUFFERED", "1"),
        // The program's folder is read-only.
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("NODE_ENV", "production"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into()
}
