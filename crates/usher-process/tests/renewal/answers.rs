//! The example programs answer their own tests' requests the same when they are new and when they
//! have been renewed after any other request.

use bytes::Bytes;
use http::{Method, Request, Response};
use usher_api::body::Body;
use usher_core::function::Isolation;

use crate::rig::{Example, Image, LAMBDAS, Rig, SERVERS};

/// Headers that tell the time, or which request it was.
const PASSING: [&str; 3] = ["date", "last-modified", "x-amzn-requestid"];
/// Method, path, and whether there is a body.
type Asked = (Method, &'static str, bool);
/// What is asked of servers. What ends a program is not among it.
const OF_SERVERS: [Asked; 7] = [
    (Method::GET, "/", false),
    (Method::GET, "/counter", false),
    (Method::GET, "/headers", false),
    (Method::POST, "/echo", true),
    (Method::GET, "/stream", false),
    (Method::HEAD, "/", false),
    (Method::GET, "/nothing-here", false),
];
/// What is asked of Lambda functions. Their `/echo` tells the time.
const OF_LAMBDAS: [Asked; 4] = [
    (Method::GET, "/hello", false),
    (Method::GET, "/counter", false),
    (Method::GET, "/reply", false),
    (Method::GET, "/nothing-here", false),
];

fn request((method, path, has_body): &Asked) -> Request<Body> {
    let body = match has_body {
        true => Bytes::from("echo this, please. ".repeat(5_000)).into(),
        false => Body::Empty,
    };
    let builder = Request::builder().method(method.clone());
    let builder = builder.header("x-forwarded-for", "192.0.2.1");
    builder
        .uri(format!("http://server.test{path}"))
        .body(body)
        .unwrap()
}

/// All of a reply that does not tell the time.
fn comparable(reply: Response<Bytes>) -> (u16, Vec<String>, Bytes) {
    let headers = reply.headers().iter();
    let headers = headers.filter(|(name, _)| !PASSING.contains(&name.as_str()));
    let mut headers: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort_unstable();
    (reply.status().as_u16(), headers, reply.into_body())
}

/// What a new program answers to each of the requests.
async fn of_new_ones(image: &Image, asked: &[Asked]) -> Vec<(u16, Vec<String>, Bytes)> {
    let mut answers = Vec::new();
    for one in asked {
        let mut seat = image.seat().await;
        answers.push(comparable(seat.answer(request(one)).await.unwrap()));
    }
    answers
}

async fn answer_as_new_ones(examples: &[Example], asked: &[Asked]) {
    let rig = Rig::new();
    for &example in examples {
        let image = rig.image(example, Isolation::Request, &[]).await;
        let new = of_new_ones(&image, asked).await;
        let name = example.name;
        assert_eq!(new[0].0, 200, "{name}: {:?}", new[0]);
        let mut seat = image.seat().await;
        for (one, new) in asked.iter().zip(&new) {
            let renewed = seat.answer(request(one)).await;
            let because = &seat.replaced_because;
            let renewed = renewed.unwrap_or_else(|| panic!("{name}: {one:?}: {because:?}"));
            assert_eq!(&comparable(renewed), new, "{name}: {one:?}");
        }
        // All were answered by one program, which was put back.
        let (back, because) = (seat.put_back(), &seat.reasons);
        assert_eq!(back, asked.len() - 1, "{name}: {because:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_server_answers_as_a_new_one() {
    answer_as_new_ones(&SERVERS, &OF_SERVERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_lambda_function_answers_as_a_new_one() {
    answer_as_new_ones(&LAMBDAS, &OF_LAMBDAS).await;
}

/// The control: where state is kept, the comparison finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_program_does_not_answer_as_a_new_one() {
    let rig = Rig::new();
    let image = rig.image(SERVERS[0], Isolation::None, &[]).await;
    let new = of_new_ones(&image, &OF_SERVERS).await;
    let mut seat = image.seat().await;
    for (at, same) in [(0, true), (1, true), (1, false)] {
        let kept = comparable(seat.answer(request(&OF_SERVERS[at])).await.unwrap());
        assert_eq!(kept == new[at], same, "{:?}", OF_SERVERS[at]);
    }
}
