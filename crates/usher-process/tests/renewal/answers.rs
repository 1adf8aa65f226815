//! The example programs answer their own tests' requests the same when they are new and when they
//! have been renewed after any other request.

use bytes::Bytes;
use http::{Method, Request, Response};
use usher_api::body::Body;
use usher_core::function::Isolation;

use crate::rig::{Image, Rig, SERVERS};

/// Headers that tell the time.
const PASSING: [&str; 2] = ["date", "last-modified"];
/// What is asked, and whether it comes with a body. What ends a program is not among it.
const REQUESTS: [(Method, &str, bool); 7] = [
    (Method::GET, "/", false),
    (Method::GET, "/counter", false),
    (Method::GET, "/headers", false),
    (Method::POST, "/echo", true),
    (Method::GET, "/stream", false),
    (Method::HEAD, "/", false),
    (Method::GET, "/nothing-here", false),
];

fn request(at: usize) -> Request<Body> {
    let (method, path, has_body) = &REQUESTS[at];
    let body = match has_body {
        true => Bytes::from("echo this, please. ".repeat(5_000)).into(),
        false => Body::Empty,
    };
    let builder = Request::builder().method(method.clone());
    let builder = builder.header("x-forwarded-for", "192.0.2.1");
    builder.uri(format!("http://server.test{path}")).body(body).unwrap()
}

/// All of a reply that does not tell the time.
fn comparable(reply: Response<Bytes>) -> (u16, Vec<String>, Bytes) {
    let headers = reply.headers().iter();
    let headers = headers.filter(|(name, _)| !PASSING.contains(&name.as_str()));
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort_unstable();
    (reply.status().as_u16(), headers, reply.into_body())
}

/// What a new program answers to each of the requests.
async fn of_new_ones(image: &Image) -> Vec<(u16, Vec<String>, Bytes)> {
    let mut answers = Vec::new();
    for at in 0..REQUESTS.len() {
        let mut seat = image.seat().await;
        answers.push(comparable(seat.answer(request(at)).await.unwrap()));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_program_answers_as_a_new_one() {
    let rig = Rig::new();
    for (example, command) in SERVERS {
        let image = rig.image(example, command, Isolation::Request, &[]).await;
        let new = of_new_ones(&image).await;
        assert_eq!(new[0].0, 200, "{example}");
        let mut seat = image.seat().await;
        // Twice, and the second time backwards: each comes after another one.
        let there = 0..REQUESTS.len();
        for at in there.clone().chain(there.rev()) {
            let renewed = comparable(seat.answer(request(at)).await.unwrap());
            let what = &REQUESTS[at];
            assert_eq!(renewed, new[at], "{example}: {what:?}");
        }
        println!("{example}: {:?}", seat.served);
    }
}

/// The control: where state is kept, the comparison finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_program_does_not_answer_as_a_new_one() {
    let rig = Rig::new();
    let (example, command) = SERVERS[0];
    let image = rig.image(example, command, Isolation::None, &[]).await;
    let new = of_new_ones(&image).await;
    let mut seat = image.seat().await;
    let differs = async |seat: &mut crate::rig::Seat, at: usize| {
        comparable(seat.answer(request(at)).await.unwrap()) != new[at]
    };
    assert!(!differs(&mut seat, 0).await);
    assert!(!differs(&mut seat, 1).await);
    assert!(differs(&mut seat, 1).await, "/counter says 1 again");
}
