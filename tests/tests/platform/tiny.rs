//! The smallest component that can be told from others: it answers with a status of its own and no
//! body, and is compiled in a moment.

use bytes::Bytes;
use usher_api::client::{Client, ClientError};
use usher_api::http::{DeployRequest, Deployed};
use usher_core::function::Settings;

/// A component around core modules, to which the means to make a response are added below.
const SHELL: &str = include_str!("../../../crates/usher-wasm/src/swap_bench/shell.wat");

const TYPES: (&str, &str) = (
    r#"(export "outgoing-response" (type $response (sub resource)))"#,
    r#"(export "outgoing-response" (type $response (sub resource)))
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields)) (result (own $response))))
    (export "[method]outgoing-response.set-status-code" (func
      (param "self" (borrow $response)) (param "status-code" u16) (result (result))))"#,
);

const HOST: (&str, &str) = (
    r#"(core instance $host"#,
    r#"(core func $fields (canon lower (func $types "[constructor]fields")))
  (core func $response (canon lower (func $types "[constructor]outgoing-response")))
  (core func $status (canon lower
    (func $types "[method]outgoing-response.set-status-code")))
  (core instance $host
    (export "fields" (func $fields))
    (export "response" (func $response))
    (export "status" (func $status))"#,
);

const STATE: &str = r#"(core module $memory (memory (export "memory") 1 1))
  (core instance $state (instantiate $memory))"#;

const MAIN: &str = r#"(core module $run
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "response" (func $response (param i32) (result i32)))
    (import "host" "status" (func $status (param i32 i32) (result i32)))
    (func (export "handle") (param $request i32) (param $outparam i32) (local $it i32)
      (call $drop-request (local.get $request))
      (local.set $it (call $response (call $fields)))
      (drop (call $status (local.get $it) (i32.const @STATUS@)))
      (call $set (local.get $outparam) (i32.const 0) (local.get $it) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
  (core instance $main (instantiate $run (with "host" (instance $host))))"#;

/// The component that answers with this status.
pub(crate) fn component(status: u16) -> Bytes {
    let text = SHELL
        .replace(TYPES.0, TYPES.1)
        .replace(HOST.0, HOST.1)
        .replace("@STATE@", STATE)
        .replace("@MAIN@", &MAIN.replace("@STATUS@", &status.to_string()));
    wat::parse_str(text).unwrap().into()
}

/// Stores it, and says how it is deployed.
pub(crate) async fn request(
    client: &Client,
    name: &str,
    status: u16,
) -> Result<DeployRequest, ClientError> {
    let stored = client.put_artifact(component(status)).await?;
    Ok(DeployRequest {
        owner: None,
        name: name.parse().unwrap(),
        artifact: stored.digest,
        settings: Settings::default(),
    })
}

/// Deploys it.
pub(crate) async fn deploy(
    client: &Client,
    name: &str,
    status: u16,
) -> Result<Deployed, ClientError> {
    let request = request(client, name, status).await?;
    client.deploy(&request, |_| {}).await
}

/// Deploys it without traffic.
pub(crate) async fn stage(
    client: &Client,
    name: &str,
    status: u16,
) -> Result<Deployed, ClientError> {
    let request = request(client, name, status).await?;
    let events = client.stage_events(&request).await?;
    client.outcome(events, &mut |_| {}).await
}
