//! Functions that cannot be deployed: each with a clear error, the server unharmed.

use std::fs;

use serde_json::Value;

use crate::caller::Caller;
use crate::example;
use crate::folder::Folder;
use crate::server::Server;

/// Deploys what cannot be; the error is told, nothing is listed, and what was there answers.
async fn refused(server: &Server, folder: &Folder) -> Value {
    let error = server.run(&["deploy", folder.text()]).await.error();
    let listed = server.run(&["list"]).await.done();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let answer = Caller::new(server.gateway).get("/fn/hello/").await;
    assert_eq!(answer.text(), "Hello from Rust");
    error
}

async fn with_hello(data: &Folder) -> Server {
    let server = Server::up(data.path()).await;
    let hello = Folder::function("hello", "rust-hello", "");
    server.run(&["deploy", hello.text()]).await.done();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_component_for_http_is_refused_with_its_reason() {
    let data = Folder::new();
    let server = with_hello(&data).await;
    let whole = fs::read(example("rust-hello")).unwrap();
    let module = "(module (func (export \"handle\")))";
    let world = "(component (import \"nowhere:at/all\" (func)))";
    for (bytes, reason) in [
        (whole[..whole.len() / 2].to_vec(), "component"),
        (wat::parse_str(module).unwrap(), "core WebAssembly module"),
        (wat::parse_str("(component)").unwrap(), "wasi:http"),
        (wat::parse_str(world).unwrap(), "wasi:http"),
        (b"#!/bin/sh\necho hello\n".to_vec(), "component"),
    ] {
        let error = refused(&server, &Folder::component(&bytes)).await;
        assert_eq!(error["label"], "not-deployable", "{error}");
        assert_eq!(error["blame"], "function", "{error}");
        let told = error["message"].as_str().unwrap();
        assert!(told.contains(reason), "{reason}: {told}");
    }
    let error = refused(&server, &Folder::component(b"")).await;
    assert_eq!(error["label"], "empty-artifact", "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_take_too_long_to_compile_is_refused_by_its_bounds() {
    let data = Folder::new();
    let server = with_hello(&data).await;
    for (piece, pieces, bound) in [
        ("(core module)", 257, "256"),
        ("(core module (memory 1))", 65, "64"),
        ("(component (core module))", 5_000, "256"),
    ] {
        let bomb = format!("(component {})", piece.repeat(pieces));
        let bomb = wat::parse_str(bomb).unwrap();
        let error = refused(&server, &Folder::component(&bomb)).await;
        assert_eq!(error["label"], "not-deployable", "{error}");
        let told = error["message"].as_str().unwrap();
        assert!(told.contains(bound), "{piece}: {told}");
    }
}

/// A component that answers, and that holds state which nobody can prove to be put back: behind all
/// that it has stands one more section, with a component inside.
fn not_provable() -> Vec<u8> {
    let inner = "(component (component (core module (memory 1)) (core instance (instantiate 0))))";
    let mut component = fs::read(example("rust-hello")).unwrap();
    let header_bytes = 8;
    component.extend_from_slice(&wat::parse_str(inner).unwrap()[header_bytes..]);
    component
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proven_is_served_fresh_and_never_called_live() {
    let data = Folder::new();
    let server = with_hello(&data).await;
    let function = Folder::component(&not_provable());
    let manifest = function.path().join("function.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}renewal = \"live\"\n")).unwrap();
    let error = refused(&server, &function).await;
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("nested component"), "{told}");

    fs::write(&manifest, text).unwrap();
    let deployed = server.run(&["deploy", function.text()]).await.done();
    let shown = server.run(&["show", "bad"]).await.done();
    for image in [&deployed[0]["function"]["image"], &shown[0]["image"]] {
        assert_eq!(image["mode"], "fresh", "{image}");
        let reason = image["reasons"][0].as_str().unwrap();
        assert!(reason.contains("nested component"), "{reason}");
    }
    for _ in 0..3 {
        let answer = Caller::new(server.gateway).get("/fn/bad/").await;
        assert_eq!(answer.text(), "Hello from Rust");
        assert_eq!(answer.run().renewal, "fresh");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_mistakes_of_a_manifest_are_told_at_once() {
    let data = Folder::new();
    let server = with_hello(&data).await;
    let function = Folder::function(
        "bad",
        "rust-hello",
        "isolation = \"some\"\n\
         renewal = 7\n\
         colour = \"red\"\n\
         outbound = [\"ftp://example.com\"]\n\
         [limits]\n\
         memory_max_mib = -1\n",
    );
    let error = refused(&server, &function).await;
    let told = error["message"].as_str().unwrap();
    for mistake in [
        "isolation",
        "renewal",
        "colour",
        "ftp://example.com",
        "memory_max_mib",
    ] {
        assert!(told.contains(mistake), "{mistake} is missing: {told}");
    }
    assert!(told.contains("function.toml"), "{told}");
}
