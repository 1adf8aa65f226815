//! Requests that a new program serves before it serves anybody.

use usher_api::node::Mode;
use usher_core::function::{Isolation, RenewalChoice, Sample, Settings};
use usher_core::proof::Renewal;

use crate::PYTHON;
use crate::rig::{Program, Rig, path};

const C: Program = Program::example("http-c", &["./server"]);

fn twice(settings: &mut Settings) {
    settings.warm_up = vec![path("/counter"), path("/counter")];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_new_program_has_served_them() {
    let rig = Rig::new();
    for (isolation, renewal, expected) in [
        (Isolation::Request, RenewalChoice::Live, ["3", "3", "3"]),
        (Isolation::Request, RenewalChoice::Fresh, ["3", "3", "3"]),
        (Isolation::None, RenewalChoice::Auto, ["3", "4", "5"]),
    ] {
        let image = rig.image(C, |it| {
            twice(it);
            (it.isolation, it.renewal) = (isolation, renewal);
        });
        let image = image.await.unwrap();
        let mut seat = image.seat().await;
        for expected in expected {
            assert_eq!(seat.ask("/counter").await.1, expected, "{renewal:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_request_has_them_in_its_log_and_no_other() {
    let rig = Rig::new();
    let image = rig.image(C, twice).await.unwrap();
    let mut seat = image.seat().await;
    for expected in [2, 0] {
        seat.ask("/counter").await;
        let notes = std::mem::take(&mut *seat.notes.0.lock());
        let told = notes
            .iter()
            .filter(|it| it.starts_with("warm-up: GET /counter was answered 200"));
        assert_eq!(told.count(), expected, "{notes:?}");
    }
    let [first, second] = seat.served[..] else {
        panic!("{:?}", seat.served);
    };
    assert_eq!(first, Renewal::Fresh);
    assert!(
        matches!(second, Renewal::InPlace | Renewal::Swap),
        "{second:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lambda_function_is_given_events() {
    let rig = Rig::new();
    let program = Program::lambda(&["/usr/bin/python3", "-m", "awslambdaric", "app.handler"]);
    let event = |text: &str| Sample {
        event: Some(text.to_owned()),
        ..Sample::default()
    };
    let image = rig.image(program, |it| it.warm_up = vec![event("{}"), event("{}")]);
    let image = image.await.unwrap();
    assert_eq!(image.report().mode, Mode::Live);
    for _ in 0..3 {
        let told = image.seat().await.ask("/").await.1;
        assert!(told.contains("\"calls\":3"), "{told}");
    }
    let fails = rig.image(program, |it| it.warm_up = vec![event("{\"fail\": 1}")]);
    let refused = fails.await.err().unwrap();
    assert!(
        refused.contains("warm-up request an event was answered 200: "),
        "{refused}"
    );
    assert!(refused.contains("as the event says"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_fails_the_start() {
    let rig = Rig::new();
    let nowhere = rig.image(PYTHON, |it| it.warm_up = vec![path("/nowhere")]);
    let refused = nowhere.await.err().unwrap();
    assert!(
        refused.contains("its warm-up request GET /nowhere was answered 404: {}"),
        "{refused}"
    );
    assert!(refused.contains("it wrote:"), "{refused}");
    let crash = rig.image(C, |it| it.warm_up = vec![path("/crash")]);
    let refused = crash.await.err().unwrap();
    assert!(
        refused.contains("its warm-up request GET /crash failed: "),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_count_as_part_of_the_start() {
    let rig = Rig::new();
    let slow = rig.image(C, |it| {
        it.warm_up = vec![path("/slow")];
        it.limits.start_max_ms = 500;
    });
    let refused = slow.await.err().unwrap();
    assert!(
        refused.contains("limits.start_max_ms = 500: its warm-up requests are not all answered"),
        "{refused}"
    );
}
