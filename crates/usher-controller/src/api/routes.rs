//! All routes in one table, of which the router and the OpenAPI document are both made.
//!
//! Deliberately absent: what the handlers do.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{self, MethodRouter};

use super::call::{self, Outer};
use super::gate::{self, Access, Gate, Of};
use super::guard::Guard;
use super::{
    Shared, access, artifacts, backup, error, functions, logs, observe, platform, secrets, traffic,
};

/// One route.
pub(super) struct Route {
    /// In lower case, as OpenAPI wants it.
    pub(super) method: &'static str,
    /// With its parameters in braces.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// Parameters of the query: name, type, meaning.
    pub(super) query: &'static [(&'static str, &'static str, &'static str)],
    /// Media type of the request's body.
    pub(super) takes: Option<&'static str>,
    /// Media type of a success.
    pub(super) gives: &'static str,
    /// Who may ask it.
    pub(super) access: Access,
    pub(super) handler: MethodRouter<Arc<Shared>>,
}

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = usher_api::http::NDJSON;
pub(super) const TEXT: &str = "text/plain";
pub(super) const OWNER: (&str, &str, &str) =
    ("owner", "string", "Whose function; default: default");

/// The router: all routes, each behind its gate, and all of them accounted for.
pub(super) fn router(shared: Arc<Shared>, guard: Guard) -> Router {
    let routes = all().into_iter().fold(Router::new(), |router, route| {
        let gate = Arc::new(Gate::new(&route, &shared));
        let gate = middleware::from_fn_with_state(gate, gate::pass);
        router.route(route.path, route.handler.layer(gate))
    });
    let outer = Outer {
        guard,
        shared: Arc::clone(&shared),
    };
    routes
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(middleware::from_fn_with_state(
            Arc::new(outer),
            call::account,
        ))
        .with_state(shared)
}

/// Every route there is.
pub(super) fn all() -> Vec<Route> {
    let mut routes = for_functions();
    routes.extend(secrets::routes());
    routes.extend(traffic::routes());
    routes.extend(logs::routes());
    routes.extend(for_the_platform());
    routes.extend(access::routes());
    routes.extend(backup::routes());
    routes.extend(observe::routes());
    routes
}

fn for_functions() -> Vec<Route> {
    vec![
        Route {
            query: &[("owner", "string", "For whom it is stored; default: nobody")],
            takes: Some("application/octet-stream"),
            handler: routing::post(artifacts::store),
            ..route("post", "/v1/artifacts", "Store an artifact")
        },
        Route {
            takes: Some(JSON),
            access: asked_with(Of::Body),
            query: &[(
                "traffic",
                "boolean",
                "false: make it ready, and leave the traffic where it is",
            )],
            handler: routing::post(functions::deploy),
            ..route(
                "post",
                "/v1/functions",
                "Deploy a function; as NDJSON with its progress",
            )
        },
        Route {
            query: &[
                ("owner", "string", "Only this owner's; default: all"),
                ("after", "string", "The last page's next"),
                ("limit", "integer", "How many at most"),
            ],
            handler: routing::get(functions::list),
            ..route("get", "/v1/functions", "List functions")
        },
        Route {
            query: &[OWNER],
            handler: routing::get(functions::show),
            ..route("get", "/v1/functions/{name}", "Show a function")
        },
        Route {
            query: &[OWNER],
            handler: routing::delete(functions::remove),
            ..route("delete", "/v1/functions/{name}", "Delete a function")
        },
    ]
}

fn for_the_platform() -> Vec<Route> {
    vec![
        Route {
            access: asked_with(Of::AnyKey),
            handler: routing::get(platform::openapi),
            ..route("get", "/v1/openapi.json", "This document")
        },
        Route {
            access: asked_with(Of::Nobody),
            handler: routing::get(platform::healthz),
            ..route("get", "/healthz", "Whether this process serves")
        },
        Route {
            access: asked_with(Of::Nobody),
            handler: routing::get(platform::readyz),
            ..route("get", "/readyz", "Whether all of the platform is up")
        },
        Route {
            gives: TEXT,
            access: asked_with(Of::AnyKey),
            handler: routing::get(platform::index),
            ..route("get", "/", "What this is")
        },
    ]
}

/// The scope by the method, and the owner as this says.
const fn asked_with(of: Of) -> Access {
    Access { scope: None, of }
}

/// A route without parameters and body, whose answer is JSON.
pub(super) fn route(method: &'static str, path: &'static str, summary: &'static str) -> Route {
    Route {
        method,
        path,
        summary,
        query: &[],
        takes: None,
        gives: JSON,
        access: Access::default(),
        handler: MethodRouter::new(),
    }
}
