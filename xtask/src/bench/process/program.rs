//! The programs that are measured. Every front serves the same handler of `bench/process/`, and a
//! server or a Lambda function is one file, run unmodified by every arm.

use std::path::Path;

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A static C server, a thread for each connection.
    C,
    /// The server of CPython's standard library, a thread for each connection.
    Python,
    /// The same with 100 MiB of objects and some imports.
    PythonBig,
    /// Node's HTTP server.
    Node,
    /// A Lambda function with the official client for Python.
    PythonLambda,
    /// The same for Node.
    NodeLambda,
}

/// How programs are started, where it is not their own file.
#[derive(Clone, Debug)]
pub(super) struct Runtimes {
    /// The interpreter of the distribution, not a script that looks for one.
    pub(super) python: String,
    /// Node.
    pub(super) node: String,
}

impl Program {
    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::C,
        Self::Python,
        Self::PythonBig,
        Self::Node,
        Self::PythonLambda,
        Self::NodeLambda,
    ];

    /// The words for it in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::C => "C server",
            Self::Python => "Python server",
            Self::PythonBig => "Python server, 100 MiB",
            Self::Node => "Node server",
            Self::PythonLambda => "Python, Lambda client",
            Self::NodeLambda => "Node, Lambda client",
        }
    }

    /// Its name where only small letters do.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Python => "python",
            Self::PythonBig => "python-big",
            Self::Node => "node",
            Self::PythonLambda => "python-lambda",
            Self::NodeLambda => "node-lambda",
        }
    }

    /// The folder of its sources in `bench/process/`.
    pub(super) fn sources(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Python | Self::PythonBig | Self::PythonLambda => "python",
            Self::Node | Self::NodeLambda => "node",
        }
    }

    /// Whether it asks the Lambda Runtime API for requests, rather than serving HTTP.
    pub(super) fn is_lambda(self) -> bool {
        matches!(self, Self::PythonLambda | Self::NodeLambda)
    }

    /// The command line, to be run in its folder.
    pub(super) fn command(self, runtimes: &Runtimes) -> Vec<String> {
        let python = |args: &[&str]| words(&runtimes.python, args);
        let node = |args: &[&str]| words(&runtimes.node, args);
        match self {
            Self::C => words("./server", &[]),
            Self::Python => python(&["server.py"]),
            Self::PythonBig => python(&["big.py"]),
            Self::Node => node(&["server.js"]),
            Self::PythonLambda => python(&["-m", "awslambdaric", HANDLER]),
            Self::NodeLambda => node(&["node_modules/aws-lambda-ric/bin/index.mjs", HANDLER]),
        }
    }

    /// The command line of the server that forks for each request, where there is one.
    pub(super) fn zygote(self, runtimes: &Runtimes) -> Option<Vec<String>> {
        match self {
            Self::Python => Some(words(&runtimes.python, &["zygote.py"])),
            Self::PythonBig => Some(words(&runtimes.python, &["zygote.py", "ballast"])),
            _ => None,
        }
    }

    /// The file in its folder that speaks CGI, where there is one.
    pub(super) fn cgi(self) -> Option<&'static str> {
        match self {
            Self::C => Some("as_cgi"),
            Self::Python => Some("as_cgi.py"),
            Self::Node => Some("as_cgi.js"),
            _ => None,
        }
    }

    /// What the platform is told of it: the table `[process]` of its manifest.
    pub(super) fn process(self, runtimes: &Runtimes) -> String {
        let (contract, handler) = match self.is_lambda() {
            true => ("lambda", format!("handler = \"{HANDLER}\"\n")),
            false => ("http", String::new()),
        };
        // It draws no random values, and knows nothing of being put back.
        let reuse = match self {
            Self::C => "reuse = true\n",
            _ => "",
        };
        let command = self.command(runtimes);
        format!("contract = \"{contract}\"\ncommand = {command:?}\n{handler}{reuse}")
    }
}

/// What a Lambda client is to call.
const HANDLER: &str = "aws.handler";

/// What the clients want to be told beside the address of the API.
pub(super) fn lambda_variables(folder: &Path) -> Vec<(&'static str, String)> {
    let fixed = [
        ("_HANDLER", HANDLER),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
        ("AWS_REGION", "us-east-1"),
    ];
    let fixed = fixed.map(|(name, value)| (name, value.to_owned()));
    let root = ("LAMBDA_TASK_ROOT", folder.display().to_string());
    fixed.into_iter().chain([root]).collect()
}

fn words(program: &str, args: &[&str]) -> Vec<String> {
    let all = [program].into_iter().chain(args.iter().copied());
    all.map(str::to_owned).collect()
}
