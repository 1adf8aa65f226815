//! What was acknowledged survives the death of the process at any point.
//!
//! The test starts itself anew as a child that serves the API on a folder, deploys through the API
//! from several tasks at once, and kills the child after a number of acknowledgements that differs
//! from round to round. Then it opens the folder itself and looks.
//!
//! The control: what was sent and not acknowledged may be missing, but never be half there.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use usher_api::client::Client;
use usher_api::record::{FUNCTIONS_PREFIX, FunctionRecord};
use usher_backbone::{Blobs, Embedded, KeyValue, Limits};

use super::rig::{Rig, Setup, request};

const FOLDER: &str = "USHER_TEST_KILL_FOLDER";
const ROUNDS: usize = 6;
const DEPLOYERS: usize = 4;

/// Not a test of its own: it is what the child runs, and nothing where nobody asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let backbone = Embedded::open(Path::new(&folder), Limits::default()).unwrap();
    let rig = Rig::over(Arc::new(backbone), Setup::default()).await;
    println!("\nlistening {}", rig.client.url());
    std::future::pending::<()>().await;
}

async fn start(folder: &Path) -> (Child, Client) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kill::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(url) = line.strip_prefix("listening ") {
            return (child, Client::new(url).unwrap());
        }
    }
    panic!("the child ended without listening");
}

/// Deploys one function again and again, each time with other content, until the child is gone.
async fn deploy(client: Client, name: String, begin: u64, acknowledged: mpsc::Sender<()>) -> u64 {
    for number in begin.. {
        let content = Bytes::from(format!("{name} {number}"));
        let Ok(stored) = client.put_artifact(content).await else {
            return number - 1;
        };
        match client.deploy(&request(&name, stored.digest), |_| {}).await {
            Ok(deployed) => assert_eq!(deployed.function.revision.number, number),
            Err(_) => return number - 1,
        }
        let _ = acknowledged.send(()).await;
    }
    unreachable!("the range has no end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut known: HashMap<String, u64> = HashMap::new();
    for round in 0..ROUNDS {
        let (mut child, client) = start(folder.path()).await;
        let (acknowledged, mut acknowledgements) = mpsc::channel(64);
        let deployers: Vec<_> = (0..DEPLOYERS)
            .map(|at| {
                let name = format!("f{at}");
                let begin = known.get(&name).map_or(1, |number| number + 1);
                let deploying = deploy(client.clone(), name.clone(), begin, acknowledged.clone());
                tokio::spawn(async move { (name, deploying.await) })
            })
            .collect();
        // Others are under way when this many have been acknowledged.
        for _ in 0..(1 + round * 7 % 13) {
            acknowledgements.recv().await.unwrap();
        }
        child.start_kill().unwrap();
        acknowledgements.close();
        child.wait().await.unwrap();
        for deployer in join_all(deployers).await {
            let (name, number) = deployer.unwrap();
            known.insert(name, number);
        }
        known = look(folder.path(), known).await;
    }
}

/// Every acknowledged deployment is there, and whatever is there is whole. Answers what is there.
async fn look(folder: &Path, acknowledged: HashMap<String, u64>) -> HashMap<String, u64> {
    let backbone = Embedded::open(folder, Limits::default()).unwrap();
    let entries = backbone.list(FUNCTIONS_PREFIX).await.unwrap().entries;
    let mut there = HashMap::new();
    for entry in entries {
        let record: FunctionRecord = serde_json::from_slice(&entry.value).unwrap();
        let artifact = backbone
            .get_blob(&record.current.artifact)
            .await
            .unwrap()
            .unwrap();
        let name = record.key.name.to_string();
        let content = format!("{name} {}", record.current.number);
        assert_eq!(artifact, content.as_bytes());
        there.insert(name, record.current.number);
    }
    for (name, number) in acknowledged {
        let found = there.get(&name).copied().unwrap_or(0);
        assert!(
            found == number || found == number + 1,
            "{name}: {number}, found {found}"
        );
    }
    there
}
