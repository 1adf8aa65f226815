//! What a program is told about itself: its environment variables, its ARN, and the forms that ids
//! have there.
//!
//! Deliberately absent: credentials. There is no account behind a function, so none are made up;
//! what the function's own settings name is passed on.

use std::collections::BTreeMap;

use usher_core::id::RequestId;
use usher_core::trace::TraceParent;

/// Where the Runtime API listens, as the program sees it. Official clients take host and port and
/// nothing else.
pub const API_ADDRESS: &str = "127.0.0.1:9001";

/// Where the function's folder is mounted.
pub const TASK_ROOT: &str = "/var/task";

/// The region of those who name none.
pub const DEFAULT_REGION: &str = "us-east-1";

/// The version that is always the deployed one.
pub const LATEST: &str = "$LATEST";

/// The account in ARNs: twelve digits by their grammar, and nobody's.
const ACCOUNT: &str = "000000000000";

/// What AWS lets a function's settings override; all the rest is the platform's.
const UNRESERVED: [(&str, &str); 6] = [
    ("HOME", "/tmp"),
    ("LANG", "en_US.UTF-8"),
    ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin"),
    ("TMPDIR", "/tmp"),
    ("TZ", ":UTC"),
];

/// Settings that would make a client ask for what is not here: concurrent events, a pipe for
/// framed log lines.
const WITHHELD: [&str; 4] = [
    "AWS_LAMBDA_MAX_CONCURRENCY",
    "AWS_LAMBDA_NODEJS_WORKER_COUNT",
    "_LAMBDA_TELEMETRY_LOG_FD",
    "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET",
];

/// The function that a program belongs to.
#[derive(Clone, Debug)]
pub struct About {
    /// The function's name.
    pub name: String,
    /// Whose function it is.
    pub owner: String,
    /// What the program is told as its version; [`LATEST`] on AWS unless one was published.
    pub version: String,
    /// The bound on its memory, in MiB.
    pub memory_max_mib: u32,
    /// What `_HANDLER` says, such as `app.handler`.
    pub handler: String,
    /// What the region variables say unless the settings name one; [`DEFAULT_REGION`] as a rule.
    pub region: String,
    /// What the function's settings add. The platform's own variables win, but for those that AWS
    /// lets a function override (`PATH`, `LD_LIBRARY_PATH`, `LANG`, `TZ`, and here also the region,
    /// `HOME` and `TMPDIR`).
    pub environment: BTreeMap<String, String>,
    /// The program is told that its state will be taken when it has started, and that its hooks are
    /// run before each run: AWS's SnapStart.
    pub snap_start: bool,
}

impl About {
    /// The function's name in AWS's form.
    pub fn arn(&self) -> String {
        let (region, name) = (self.region(), &self.name);
        format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}")
    }

    fn region(&self) -> &str {
        let named = self.environment.get("AWS_REGION");
        named.map_or(self.region.as_str(), String::as_str)
    }
}

/// The whole environment of a program that speaks the Lambda Runtime API, sorted by name.
pub fn environment(about: &About) -> Vec<(String, String)> {
    let mut all: BTreeMap<String, String> = UNRESERVED
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    all.insert("AWS_REGION".to_owned(), about.region().to_owned());
    all.insert("AWS_DEFAULT_REGION".to_owned(), about.region().to_owned());
    all.extend(about.environment.clone());
    for name in WITHHELD {
        all.remove(name);
    }
    let own = format!("{}/{}", about.owner, about.name);
    let initialization = match about.snap_start {
        true => "snap-start",
        false => "on-demand",
    };
    let ours: [(&str, String); 11] = [
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            about.memory_max_mib.to_string(),
        ),
        ("AWS_LAMBDA_FUNCTION_NAME", about.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", about.version.clone()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization.to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/usher/{own}")),
        (
            "AWS_LAMBDA_LOG_STREAM_NAME",
            format!("{own}/[{}]", about.version),
        ),
        ("AWS_LAMBDA_RUNTIME_API", API_ADDRESS.to_owned()),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("LAMBDA_TASK_ROOT", TASK_ROOT.to_owned()),
        ("PWD", TASK_ROOT.to_owned()),
        ("_HANDLER", about.handler.clone()),
    ];
    all.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    all.into_iter().collect()
}

/// A request's id as AWS writes ids: its 32 digits in the groups of a UUID.
pub(super) fn request_id(id: RequestId) -> String {
    let digits = id.to_string();
    let groups = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    groups.join("-")
}

/// The id that [`request_id`] wrote, and no other spelling of it.
pub(super) fn read_request_id(text: &str) -> Option<RequestId> {
    let id = RequestId::try_from(text.replace('-', "")).ok()?;
    (request_id(id) == text).then_some(id)
}

/// A trace in the form of AWS's header.
pub(super) fn trace_id(trace: TraceParent) -> String {
    let root = format!("{:032x}", trace.trace_id);
    let sampled = u8::from(trace.sampled);
    let (time, rest) = root.split_at(8);
    format!(
        "Root=1-{time}-{rest};Parent={:016x};Sampled={sampled}",
        trace.parent_id
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn about(settings: &[(&str, &str)]) -> About {
        let settings = settings.iter();
        About {
            name: "hello".to_owned(),
            owner: "default".to_owned(),
            version: LATEST.to_owned(),
            memory_max_mib: 128,
            handler: "app.handler".to_owned(),
            region: DEFAULT_REGION.to_owned(),
            environment: settings
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            snap_start: false,
        }
    }

    fn value(about: &About, name: &str) -> Option<String> {
        let all = environment(about);
        let mut named = all.into_iter().filter(|(of, _)| of == name);
        let first = named.next();
        assert!(named.next().is_none(), "{name} is there twice");
        first.map(|(_, value)| value)
    }

    #[test]
    fn clients_find_what_they_want() {
        let about = about(&[]);
        for (name, wanted) in [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_FUNCTION_NAME", "hello"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("_HANDLER", "app.handler"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("AWS_REGION", "us-east-1"),
            ("TZ", ":UTC"),
        ] {
            assert_eq!(value(&about, name).as_deref(), Some(wanted), "{name}");
        }
        for invented in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_EXECUTION_ENV",
        ] {
            assert_eq!(value(&about, invented), None, "{invented}");
        }
        assert_eq!(
            about.arn(),
            "arn:aws:lambda:us-east-1:000000000000:function:hello"
        );
    }

    #[test]
    fn the_platform_wins_over_the_settings_but_for_what_is_not_reserved() {
        let about = about(&[
            ("AWS_LAMBDA_RUNTIME_API", "evil:1"),
            ("_HANDLER", "other.handler"),
            ("AWS_LAMBDA_MAX_CONCURRENCY", "8"),
            ("_LAMBDA_TELEMETRY_LOG_FD", "0"),
            ("PATH", "/var/task/bin"),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "theirs"),
        ]);
        for (name, wanted) in [
            ("AWS_LAMBDA_RUNTIME_API", Some("127.0.0.1:9001")),
            ("_HANDLER", Some("app.handler")),
            ("AWS_LAMBDA_MAX_CONCURRENCY", None),
            ("_LAMBDA_TELEMETRY_LOG_FD", None),
            ("PATH", Some("/var/task/bin")),
            ("AWS_REGION", Some("eu-central-1")),
            ("AWS_DEFAULT_REGION", Some("eu-central-1")),
            ("AWS_ACCESS_KEY_ID", Some("theirs")),
        ] {
            assert_eq!(value(&about, name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn a_client_is_told_of_hooks_only_where_its_function_asks_for_it() {
        let name = "AWS_LAMBDA_INITIALIZATION_TYPE";
        let mut about = about(&[(name, "snap-start")]);
        assert_eq!(value(&about, name).as_deref(), Some("on-demand"));
        about.snap_start = true;
        assert_eq!(value(&about, name).as_deref(), Some("snap-start"));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = RequestId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(request_id(id), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(read_request_id(&request_id(id)), Some(id));
        for other in [
            "",
            "-",
            "0123456789abcdef0123456789abcdef",
            "01234567-89AB-cdef-0123-456789abcdef",
        ] {
            assert_eq!(read_request_id(other), None, "{other}");
        }
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            trace_id(trace.parse().unwrap()),
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1"
        );
    }
}
