//! Memory areas of a program on another device: a folder on disk stands in for one.

use std::fs;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

/// Requests of each program, one after the other.
const REQUESTS: usize = 12;

/// The example in C, in two areas of these names.
fn program(name: &str, areas: &str) -> Folder {
    let folder = Folder::program("http-c", name, "", "");
    folder.insert("[process]", &format!("areas = {areas}"));
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn areas_of_a_program_take_turns_between_two_devices() {
    let (data, device) = (Folder::new(), Folder::new());
    let area = format!("disk={}", device.text());
    let server = Server::up_with(data.path(), &["--area", &area]).await;
    let caller = Caller::new(server.gateway);
    for areas in ["[\"memory\", \"disk\"]", "[\"disk\", \"disk\"]"] {
        let program = program("it", areas);
        server.run(&["deploy", program.text()]).await.done();
        let mut former = None;
        for nth in 0..REQUESTS {
            let answer = caller.get("/fn/it/counter").await;
            assert_eq!(answer.text(), "1", "{areas}, {nth}: {answer:?}");
            let run = answer.run();
            if let Some((environment, area)) = former {
                assert_eq!(run.environment, environment, "{areas}, {nth}: {run:?}");
                assert_ne!(run.area, area, "{areas}, {nth}: {run:?}");
                assert_eq!(run.renewal, "swap", "{areas}, {nth}: {run:?}");
            }
            former = Some((run.environment, run.area));
        }
    }
    // The files have no names.
    assert_eq!(fs::read_dir(device.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_the_platform_does_not_know_is_told() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let program = program("it", "[\"memory\", \"tape\"]");
    let error = server.run(&["deploy", program.text()]).await.error();
    let error = error["message"].as_str().unwrap();
    assert!(error.contains("\"tape\""), "{error}");
    assert!(error.contains("\"memory\""), "{error}");
}

/// A child would share what it expects a copy of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_memory_is_on_a_device_cannot_fork() {
    let (data, device, folder) = (Folder::new(), Folder::new(), Folder::new());
    let app = "import http.server, os, subprocess\n\
               class Forks(http.server.BaseHTTPRequestHandler):\n    \
                   def do_GET(self):\n        \
                       try:\n            \
                           child = os.fork()\n            \
                           if child == 0:\n                \
                               os._exit(0)\n            \
                           os.waitpid(child, 0)\n            \
                           body = b'forked'\n        \
                       except OSError as error:\n            \
                           body = str(error.errno).encode()\n        \
                       run = subprocess.run(['echo', ' and run'], capture_output=True)\n        \
                       body += run.stdout\n        \
                       self.send_response(200)\n        \
                       self.send_header('content-length', str(len(body)))\n        \
                       self.end_headers()\n        \
                       self.wfile.write(body)\n\
               port = int(os.environ['PORT'])\n\
               http.server.HTTPServer(('127.0.0.1', port), Forks).serve_forever()\n";
    fs::write(folder.path().join("app.py"), app).unwrap();
    let area = format!("disk={}", device.text());
    let server = Server::up_with(data.path(), &["--area", &area]).await;
    for (areas, expected) in [
        ("[\"memory\", \"disk\"]", "1 and run"),
        // The controls.
        ("[\"memory\", \"memory\"]", "forked and run"),
        ("", "forked and run"),
    ] {
        let areas = match areas {
            "" => String::new(),
            areas => format!("areas = {areas}\n"),
        };
        let manifest = format!(
            "name = \"forks\"\n[process]\ncontract = \"http\"\n\
             command = [\"python3\", \"app.py\"]\n{areas}"
        );
        fs::write(folder.path().join("function.toml"), manifest).unwrap();
        server.run(&["deploy", folder.text()]).await.done();
        let answer = Caller::new(server.gateway).get("/fn/forks/").await;
        assert_eq!(answer.text().trim(), expected, "{areas}: {answer:?}");
    }
}
