//! A full disk under the whole data folder: changes and writes are refused with the reason, what
//! was acknowledged stays, what is deployed answers, and all goes on by itself once there is room.
//!
//! ```text
//!   deployed, written ─► filled ─► tried until refused ─► as acknowledged, here and in a copy
//!                                                    └► room is made ─► taken again
//! ```
//!
//! The disk is a file system of memory, which the platform alone sees and which goes with it.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::Command;

use usher_api::client::ClientError;
use usher_core::id::{FunctionKey, Name};

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::tiny;

/// The size of the disk.
const SIZE: &str = "48m";
/// Most that is tried until the disk is full: stores have room of their own within their files.
const TRIES_MAX: usize = 5_000;
/// Keys that one request writes.
const AT_ONCE: usize = 500;
/// A bucket with room for more keys than the disk has.
const GRANT: &str = "[keyvalue]\nbuckets = [\"default\"]\nkeys_max = 100000\n";

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The status that `changing` answers.
    live: u16,
    /// New functions that were deployed, by their statuses.
    deployed: Vec<u16>,
    /// The number in the bucket.
    count: usize,
    /// Keys `fill0`, `fill1` and so on there.
    filled: usize,
}

impl Acknowledged {
    /// Whether all of it is there.
    async fn holds(&self, server: &Server) {
        let caller = Caller::new(server.gateway);
        assert_eq!(caller.get("/fn/hello/").await.status, 200);
        let changing = caller.get("/fn/changing/").await;
        assert_eq!(changing.status, self.live);
        for status in &self.deployed {
            let new = caller.get(&format!("/fn/new{status}/")).await;
            assert_eq!(new.status, *status);
        }
        let bucket = async |query: String| caller.get(&format!("/fn/bucket/?{query}")).await;
        let count = bucket("get=count".to_owned()).await;
        assert_eq!(count.text(), self.count.to_string());
        if let Some(last) = self.filled.checked_sub(1) {
            let value = bucket(format!("get=fill{last}")).await;
            assert_eq!(value.text(), value_of(7_000));
        }
        let beyond = bucket(format!("has=fill{}", self.filled)).await;
        assert_eq!(beyond.text(), "false", "{}", self.filled);
    }

    /// Deploys new functions until one is refused.
    async fn deploy(&mut self, server: &Server) {
        for status in 300..599 {
            let name = format!("new{status}");
            match tiny::deploy(&server.client(), &name, status).await {
                Ok(_) => self.deployed.push(status),
                Err(error) => return refused(&error),
            }
        }
        panic!("the disk never became full");
    }

    /// Rolls back and forth until that is refused.
    async fn roll_back(&mut self, server: &Server) {
        let (client, function) = (server.client(), key("changing"));
        for _ in 0..TRIES_MAX {
            match client.roll_back(&function, None).await {
                Ok(_) => self.live = if self.live == 210 { 211 } else { 210 },
                Err(error) => return refused(&error),
            }
        }
        panic!("the disk never became full");
    }

    /// Writes keys until one is refused, and what is smaller is too.
    async fn write(&mut self, caller: &Caller) {
        let value = value_of(7_000);
        let query = format!("/fn/bucket/?fill={AT_ONCE}&value={value}");
        let taken = caller.get(&query).await;
        self.filled = taken.text().parse().unwrap();
        assert!(self.filled < AT_ONCE, "the disk is full");
        for _ in 0..TRIES_MAX {
            let added = caller.get("/fn/bucket/?add=count").await;
            if added.status == 500 {
                let why = String::from_utf8_lossy(&added.body);
                return assert!(why.contains("the disk is full"), "{why}");
            }
            self.count += 1;
            assert_eq!(added.text(), self.count.to_string());
        }
        panic!("the disk never became full");
    }
}

fn key(name: &str) -> FunctionKey {
    FunctionKey {
        owner: Name::default_owner(),
        name: name.parse().unwrap(),
    }
}

fn value_of(bytes: usize) -> String {
    "0123456789".repeat(bytes / 10)
}

/// The API says that there is no room.
fn refused(error: &ClientError) {
    let ClientError::Refused { status, error } = error else {
        panic!("{error}");
    };
    // A deployment may have begun to answer before there was no room.
    assert!([507, 200].contains(&status.as_u16()), "{status} {error:?}");
    let labels = ["no-room", "no-audit"];
    assert!(labels.contains(&error.label.as_str()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_clearly_loses_nothing_and_recovers_by_itself() {
    let data = Folder::new();
    let server = Server::up_mounted(data.path(), data.path(), SIZE).await;
    let client = server.client();
    for (name, component, lines) in [
        ("hello", "rust-hello", ""),
        ("bucket", "rust-bucket", GRANT),
    ] {
        let folder = Folder::function(name, component, lines);
        server.run(&["deploy", folder.text()]).await.done();
    }
    for status in [210, 211] {
        tiny::deploy(&client, "changing", status).await.unwrap();
    }
    let caller = Caller::new(server.gateway);
    assert_eq!(caller.get("/fn/bucket/?add=count").await.text(), "1");
    let mut acknowledged = Acknowledged {
        live: 211,
        count: 1,
        ..Acknowledged::default()
    };
    acknowledged.holds(&server).await;
    let fill = server.seen(&data.path().join("fill"));
    let mut filled = File::create(&fill).unwrap();
    while filled.write_all(&[0; 4_096]).is_ok() {}
    drop(filled);
    acknowledged.write(&caller).await;
    acknowledged.deploy(&server).await;
    acknowledged.roll_back(&server).await;
    acknowledged.holds(&server).await;
    // What a machine that loses power now would find.
    let copy = Folder::new();
    let all = format!("{}/.", server.seen(data.path()).display());
    let copied = Command::new("cp").args(["-a", &all, copy.text()]).status();
    assert!(copied.unwrap().success());
    fs::remove_file(copy.path().join("fill")).unwrap();
    acknowledged.holds(&Server::up(copy.path()).await).await;
    // The control, which is what all of it is for: there is room, and nothing else was done.
    fs::remove_file(&fill).unwrap();
    assert_eq!(
        caller.get("/fn/bucket/?set=room&value=1").await.text(),
        "set"
    );
    tiny::deploy(&client, "new599", 599).await.unwrap();
    acknowledged.deployed.push(599);
    client.roll_back(&key("changing"), None).await.unwrap();
    acknowledged.live = if acknowledged.live == 210 { 211 } else { 210 };
    acknowledged.holds(&server).await;
}
