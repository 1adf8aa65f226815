//! A real browser: Chromium without a window, told what to do by WebDriver (W3C), which is HTTP and
//! JSON.
//!
//! It waits inside of the page for what shall be seen there, so that nothing is polled. Driver and
//! browser are one process group and end with what holds them.

use std::process::Stdio;

use http::{Method, Request};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use usher_api::body::Body;

use crate::{EVENT_WAIT_MAX_S, event};

/// Without a window, without a sandbox of its own (which root cannot have), speaking to nobody.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Calls back with the time when the page has the text.
const SEES: &str = "const [text, done] = arguments;
    const look = () => {
      const seen = (document.body?.innerText ?? '').includes(text);
      if (seen) done(Date.now());
      return seen;
    };
    if (!look()) {
      const changes = { childList: true, subtree: true, characterData: true };
      new MutationObserver(look).observe(document, changes);
      addEventListener('load', look);
    }";

/// A browser with one page.
pub(crate) struct Browser {
    client: Client<HttpConnector, Body>,
    session: String,
    driver: Child,
    /// Kept open, as the driver writes to it.
    _told: Lines<BufReader<ChildStdout>>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, with a profile of its own.
    pub(crate) async fn open() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut driver =
            started.expect("chromedriver is not there; `cargo xtask peers` installs it");
        let mut told = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = event("the driver is up", async {
            while let Some(line) = told.next_line().await.unwrap() {
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
            panic!("chromedriver ended at once")
        });
        let base = format!("http://127.0.0.1:{}", port.await);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut browser = Self {
            client,
            session: format!("{base}/session"),
            driver,
            _told: told,
            _profile: profile,
        };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([folder.as_str()]).collect();
        let timeout_ms = EVENT_WAIT_MAX_S * 1_000;
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "timeouts": { "script": timeout_ms, "pageLoad": timeout_ms },
        }}});
        let session = browser.told(Method::POST, "", wanted).await.unwrap();
        let id = session["sessionId"].as_str().unwrap();
        browser.session = format!("{base}/session/{id}");
        browser
    }

    /// Opens an address.
    pub(crate) async fn go(&self, url: &str) {
        let told = self.told(Method::POST, "/url", json!({ "url": url })).await;
        told.unwrap();
    }

    /// Waits until the page shows a text, whatever pages come before; when it did, in milliseconds
    /// since 1970.
    pub(crate) async fn sees(&self, text: &str) -> u64 {
        let script = json!({ "script": SEES, "args": [text] });
        let seen = async {
            loop {
                // A page that gives way to another one takes the script along.
                match self
                    .told(Method::POST, "/execute/async", script.clone())
                    .await
                {
                    Ok(at) => return at.as_u64().unwrap(),
                    Err(error) if error["error"] == "javascript error" => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        event(&format!("the browser sees {text:?}"), seen).await
    }

    /// All that the page shows.
    pub(crate) async fn text(&self) -> String {
        let script = json!({ "script": "return document.body.innerText", "args": [] });
        let text = self.told(Method::POST, "/execute/sync", script).await;
        text.unwrap().as_str().unwrap().to_owned()
    }

    /// Ends it in good order.
    pub(crate) async fn close(mut self) {
        self.told(Method::DELETE, "", json!({})).await.unwrap();
        self.end();
        event("the driver ends", self.driver.wait()).await.unwrap();
    }

    async fn told(&self, method: Method, path: &str, what: Value) -> Result<Value, Value> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .body(Body::from(what.to_string()))
            .unwrap();
        let answered = async {
            let answer = self.client.request(request).await.unwrap();
            let ok = answer.status().is_success();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let mut told: Value = serde_json::from_slice(&body).unwrap();
            let value = told["value"].take();
            if ok { Ok(value) } else { Err(value) }
        };
        event("the driver answers", answered).await
    }

    fn end(&self) {
        let id = self.driver.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // Nobody is left where all have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.end();
    }
}
