//! A clone that was put back passes the audit, which compares all of it with what was recorded of
//! the first program; and how much memory clones take.

use std::fs;

use http_body_util::BodyExt as _;
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::get;
use usher_engine::{Call, Environment as _, Over, Used as _};

use crate::equal::{cloned, image, programs, why_not};
use crate::rig::{Example, LAMBDAS, Rig, SERVERS};

/// KiB of a program's memory that are its own.
fn private_kib(pid: u32) -> u64 {
    let told = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = told.lines().filter_map(|line| line.split_once(':'));
    let private = lines.filter(|(name, _)| *name == "Anonymous");
    let kib = private.map(|(_, kib)| kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
    kib.sum()
}

async fn passes_audits(example: Example) {
    let rig = Rig::new();
    let image = image(&rig, example, example.name).await;
    let first = image.start().await;
    let [started] = programs(example.name)[..] else {
        panic!("one program was started");
    };
    let mut environment = image.start().await;
    assert_eq!(cloned(&rig), 1, "{:?}", why_not(&rig));
    let all = programs(example.name).into_iter();
    let private: Vec<_> = all.map(|pid| (pid == started, private_kib(pid))).collect();
    println!(
        "{}: private KiB (whether started): {private:?}",
        example.name
    );
    for request in 1..=3 {
        let run = environment
            .run(Call {
                request_id: RequestId(request),
                request: get("http://server.test/counter"),
                output: std::sync::Arc::new(crate::rig::Written::default()),
            })
            .await;
        let (reply, over) = (run.reply.unwrap(), run.over);
        let used = async {
            match over {
                Over::Now(left) => left.unwrap(),
                Over::Later(rest) => rest.await.unwrap(),
            }
        };
        let (body, used) = tokio::join!(reply.into_body().collect(), used);
        let body = body.unwrap().to_bytes();
        assert!(body.ends_with(b"1") || body.ends_with(b"1\n"), "{body:?}");
        let renewal = run.facts.renewal;
        let expected = match request {
            1 => renewal == Renewal::Fresh,
            _ => matches!(renewal, Renewal::InPlace | Renewal::Swap),
        };
        assert!(expected, "{request}: {renewal:?}");
        let renewed = used.renew(true).await;
        environment = renewed.unwrap_or_else(|why| panic!("{why}")).clean;
    }
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_servers_pass_audits() {
    for server in SERVERS {
        passes_audits(server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_lambda_functions_pass_audits() {
    for function in LAMBDAS {
        passes_audits(function).await;
    }
}
