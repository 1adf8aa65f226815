//! A request of the platform's own to a program that nobody else calls, answered whole.
//!
//! Deliberately absent: why it is asked (`warm_up`, `lint`), and the log: what the program writes
//! meanwhile belongs to no request.

use std::time::Instant;

use http::Request;
use usher_api::body::Body;
use usher_core::function::{Limits, Sample};
use usher_core::id::RequestId;
use usher_engine::ask::{self, HOST};

pub(crate) use usher_engine::ask::{Answered, Unanswered};

use crate::contract::lambda::Style;
use crate::image::ProcessImage;
use crate::run::unheard;
use crate::served::Served;

/// Asks, and waits until the program is ready for the next request.
pub(crate) async fn ask(
    served: Served,
    image: &ProcessImage,
    sample: &Sample,
    agent: &'static str,
) -> Result<(Served, Answered), Unanswered> {
    let request = request(sample, image, agent)?;
    let limits: &Limits = &image.revision.settings.limits;
    let id = RequestId(rand::random());
    let begun = Instant::now();
    let (reply, over) = unheard(served, id, request, limits, true).await;
    ask::whole(reply, over, begun).await
}

fn request(
    sample: &Sample,
    image: &ProcessImage,
    agent: &'static str,
) -> Result<Request<Body>, http::Error> {
    let Some(event) = &sample.event else {
        return ask::request(sample, agent);
    };
    let path = Style::direct_path(image.revision.function.name.as_str());
    let body = Body::from(event.clone());
    Request::post(format!("http://{HOST}{path}")).body(body)
}
