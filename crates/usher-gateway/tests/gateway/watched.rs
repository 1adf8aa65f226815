//! What a gateway tells of its functions: each by itself up to a bound, all others together, and
//! sums that never fall.

use std::sync::Arc;

use usher_core::function::Settings;
use usher_core::id::FunctionKey;
use usher_gateway::{Bounds, Figures, GatewayFigures, RouteTable};

use crate::rig::{Fake, Rig, revision, text};

fn key(name: &str) -> FunctionKey {
    FunctionKey {
        owner: "default".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn of<'f>(figures: &'f GatewayFigures, name: Option<&str>) -> Option<&'f Figures> {
    let key = name.map(key);
    let mut all = figures.functions.iter();
    let found = all.find(|function| function.function == key);
    found.map(|function| &function.figures)
}

fn begun(figures: &GatewayFigures, name: Option<&str>) -> Option<u64> {
    of(figures, name).map(|figures| figures.begun)
}

#[tokio::test]
async fn functions_beyond_the_bound_are_told_together_and_their_sum_never_falls() {
    let table = Arc::new(RouteTable::new());
    for name in ["a", "b", "c", "idle"] {
        table.put(revision("default", name, Settings::default()));
    }
    let rig = Rig::start(
        Bounds::default(),
        Arc::clone(&table),
        Fake(async |_| text("hi")),
    )
    .await;
    for path in ["/fn/b", "/fn/b"] {
        assert_eq!(rig.get(path).await.status, 200);
    }
    let figures = rig.gauge.figures(1);
    assert_eq!(begun(&figures, Some("b")), Some(2));
    assert_eq!(figures.functions.len(), 1, "nobody has called the others");
    assert!(figures.known.contains(&key("idle")));
    for path in ["/fn/a", "/fn/c", "/fn/b", "/fn/c"] {
        assert_eq!(rig.get(path).await.status, 200);
    }
    let figures = rig.gauge.figures(1);
    assert_eq!(begun(&figures, Some("b")), Some(3), "the first one stays");
    assert_eq!(
        (begun(&figures, Some("a")), begun(&figures, None)),
        (None, Some(3))
    );
    // One of the others goes: what it had counted does not.
    table.remove(&key("c"));
    assert_eq!(begun(&rig.gauge.figures(1), None), Some(3));
    // Another function of the same name begins anew, and there is room again for one by itself.
    table.put(revision("default", "c", Settings::default()));
    table.remove(&key("b"));
    assert_eq!(rig.get("/fn/c").await.status, 200);
    let figures = rig.gauge.figures(1);
    assert_eq!(
        (begun(&figures, Some("c")), begun(&figures, None)),
        (Some(1), Some(3))
    );
}

#[tokio::test]
async fn requests_are_told_apart_by_method_status_and_error() {
    let table = Arc::new(RouteTable::new());
    table.put(revision("default", "a", Settings::default()));
    let rig = Rig::start(Bounds::default(), table, Fake(async |_| text("four"))).await;
    assert_eq!(rig.get("/fn/a").await.status, 200);
    let post = "POST /fn/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(rig.once(post).await.status, 200);
    assert_eq!(rig.get("/fn/nobody").await.status, 404);
    // A reply is counted when its last byte is on its way, which the caller may see before.
    crate::rig::figures(&rig.gauge, |now| {
        of(now, Some("a")).is_some_and(|it| it.http.series.len() == 2 && it.active == 0)
    })
    .await;
    let figures = rig.gauge.snapshot();
    let told = of(&figures, Some("a")).unwrap();
    let series = told.http.series.iter();
    let mut series: Vec<_> = series
        .map(|it| {
            (
                it.method(),
                it.scheme(),
                it.status(),
                it.error(),
                it.times.count(),
            )
        })
        .collect();
    series.sort();
    assert_eq!(
        series,
        [
            ("GET", "http", Some(200), None, 1),
            ("POST", "http", Some(200), None, 1)
        ]
    );
    let reading = told.http.request_bytes.as_ref().unwrap();
    assert_eq!((reading.count(), reading.sum), (2, 2));
    let reading = told.http.reply_bytes.as_ref().unwrap();
    assert_eq!((reading.count(), reading.sum), (2, 8));
    let nobody = &figures.unrouted.http.series[0];
    assert_eq!(nobody.status(), Some(404));
    assert_eq!(nobody.error().as_deref(), Some("no-such-function"));
}
