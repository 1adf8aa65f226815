//! Events through all their forms and back, and bytes that are no events.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use usher_core::cloud_event::{BATCH, Event, Form, STRUCTURED, check_batch};

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/here","type":"a.b"}"#;

/// The binary form of an event, read again.
fn by_headers(event: &Event) -> Event {
    let headers = event.headers();
    let headers = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    Event::from_headers(headers, event.clone().into_data()).unwrap()
}

fn by_json(event: &Event) -> Event {
    let json = event.json();
    let read = Event::from_json(&json);
    read.unwrap_or_else(|flaws| panic!("{flaws}: {}", String::from_utf8_lossy(&json)))
}

fn text(body: impl AsRef<[u8]>) -> String {
    String::from_utf8(body.as_ref().to_vec()).unwrap()
}

fn attribute_value() -> impl Strategy<Value = String> {
    let letters = any::<char>().prop_filter("legal in an attribute", |c| {
        let code = u32::from(*c);
        !c.is_control() && code & 0xfffe != 0xfffe && !(0xfdd0..=0xfdef).contains(&code)
    });
    vec(letters, 1..12).prop_map(String::from_iter)
}

/// A type of data, and data of that type.
fn data() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let typed = |name: &str| Some(name.to_owned());
    let number = any::<i64>().prop_map(|number| format!("{{\"n\": [{number}.250, null]}}"));
    prop_oneof![
        Just((None, Vec::new())),
        number.prop_map(move |json| (typed("application/json; charset=utf-8"), json.into_bytes())),
        ".{1,20}".prop_map(move |text| (typed("text/plain"), text.into_bytes())),
        vec(any::<u8>(), 1..40).prop_map(move |bytes| (typed("image/png"), bytes)),
        vec(any::<u8>(), 1..40).prop_map(move |bytes| (typed("text/html"), bytes)),
        vec(any::<u8>(), 1..40).prop_map(move |bytes| (None, bytes)),
    ]
}

prop_compose! {
    fn event()(
        id in attribute_value(),
        kind in attribute_value(),
        extensions in btree_map("x[a-z0-9]{0,19}", attribute_value(), 0..5),
        (content_type, data) in data(),
    ) -> Event {
        let mut headers = vec![
            ("ce-specversion".to_owned(), "1.0".to_owned()),
            ("ce-source".to_owned(), "//here.test/a?b#c".to_owned()),
            ("ce-time".to_owned(), "2026-11-29T01:02:03.5+01:00".to_owned()),
        ];
        headers.extend(content_type.map(|value| ("content-type".to_owned(), value)));
        let named = [("id".to_owned(), id), ("type".to_owned(), kind)];
        for (name, value) in named.into_iter().chain(extensions) {
            // Every byte escaped, which any receiver has to understand.
            let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            headers.push((format!("ce-{name}"), value));
        }
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        Event::from_headers(headers, data).unwrap()
    }
}

proptest! {
    #[test]
    fn an_event_is_the_same_in_every_form(event in event()) {
        prop_assert_eq!(&by_headers(&event), &event);
        let structured = by_json(&event);
        prop_assert_eq!(structured.attribute("id"), event.attribute("id"));
        prop_assert_eq!(structured.attribute("type"), event.attribute("type"));
        let trimmed = |event: &Event| event.data().map(|data| data.trim_ascii().to_vec());
        prop_assert_eq!(trimmed(&structured), trimmed(&event));
        // From here on nothing changes any more, whichever way it goes.
        prop_assert_eq!(&by_json(&structured), &structured);
        prop_assert_eq!(&by_headers(&structured), &structured);
        prop_assert_eq!(check_batch(&list(&structured)), Ok(1));
        for (name, value) in event.headers() {
            let plain = value.bytes().all(|byte| byte.is_ascii_graphic());
            prop_assert!(plain || name == "content-type");
        }
    }

    #[test]
    fn bytes_that_are_no_event_are_refused_and_never_panic(
        bytes in vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        event in event(),
    ) {
        let _judged = (Event::from_json(&bytes), check_batch(&bytes));
        let names = ["ce-id", "ce-source", "ce-type", "ce-specversion", "content-type"];
        let headers = names.iter().map(|name| (*name, bytes.as_slice()));
        let _judged = Event::from_headers(headers, bytes.clone());
        let mut json = event.json();
        let at = cut.index(json.len());
        json[at] = byte;
        let _judged = (Event::from_json(&json), check_batch(&json));
        json.truncate(at);
        prop_assert!(Event::from_json(&json).is_err());
    }
}

fn list(event: &Event) -> Vec<u8> {
    format!("[{}]", text(event.json())).into_bytes()
}

#[test]
fn forms_are_told_by_type_and_headers() {
    let of = |content_type, names: &[&str]| Form::of(content_type, names.iter().copied());
    assert_eq!(of(None, &["host"]), None);
    assert_eq!(of(Some("application/json"), &["ce-foo"]), None);
    assert_eq!(of(Some("text/plain"), &["ce-type"]), Some(Form::Binary));
    let charset = format!("{STRUCTURED}; charset=UTF-8");
    assert_eq!(of(Some(&charset), &[]), Some(Form::Structured));
    assert_eq!(
        of(Some("Application/CloudEvents+JSON"), &[]),
        Some(Form::Structured)
    );
    assert_eq!(of(Some(BATCH), &["ce-id"]), Some(Form::Batch));
    let avro = "application/cloudevents+avro";
    assert_eq!(of(Some(avro), &[]), Some(Form::Foreign(avro.into())));
}

#[test]
fn data_keeps_every_letter_and_its_kind() {
    let with = |rest: &str| {
        let json = format!("{},{rest}}}", EVENT.trim_end_matches('}'));
        Event::from_json(json.as_bytes()).unwrap()
    };
    let event = with(r#""data": {"n":1.500000000000000000001, "a":[ 1 ]}"#);
    assert_eq!(
        text(event.data().unwrap()),
        r#"{"n":1.500000000000000000001, "a":[ 1 ]}"#
    );
    assert_eq!(event.attribute("datacontenttype"), Some("application/json"));
    let event = with(r#""datacontenttype":"text/plain","data":"a\n\u00e9""#);
    assert_eq!(text(event.data().unwrap()), "a\n\u{e9}");
    assert!(text(event.json()).contains(r#""data":"a\n"#));
    let event = with(r#""datacontenttype":"image/png","data_base64":"AP8=""#);
    assert_eq!(event.data(), Some([0, 255].as_slice()));
    assert!(text(event.json()).contains(r#""data_base64":"AP8=""#));
    let event = with(r#""comflag":true,"comcount":-5,"comnone":null"#);
    assert_eq!(event.attribute("comflag"), Some("true"));
    assert_eq!(event.attribute("comcount"), Some("-5"));
    assert_eq!(event.attribute("comnone"), None);
    assert_eq!(event.data(), None);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let told = |json: &str| Event::from_json(json.as_bytes()).unwrap_err().to_string();
    let all = told(r#"{"specversion":"0.3","source":"a b","Upper":"x","n":1.5,"time":"now"}"#);
    for part in [
        "specversion: \"0.3\"",
        "source: ",
        "Upper: ",
        "n: ",
        "time: ",
        "id: ",
        "type: ",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    for (rest, part) in [
        (r#""id":"2""#, "id: it stands there twice"),
        (r#""data":1,"data_base64":"AA==""#, "both there"),
        (r#""data":1,"data":2"#, "data: it stands there twice"),
        (r#""data_base64":"?""#, "data_base64: no text in base64"),
        (r#""com":[1]"#, "com: neither"),
        (r#""com":3000000000"#, "com: no integer of 32 bits"),
    ] {
        let json = format!("{},{rest}}}", EVENT.trim_end_matches('}'));
        assert!(told(&json).contains(part), "{part}");
    }
    let batch = format!("[{EVENT},{{}},{EVENT}]");
    let flaws = check_batch(batch.as_bytes()).unwrap_err().to_string();
    assert!(flaws.contains("event 1, id: it is missing"), "{flaws}");
    assert!(!flaws.contains("event 0"), "{flaws}");
    assert_eq!(check_batch(b" [] "), Ok(0));
    let named = |name| Event::from_headers([(name, b"x".as_slice())].into_iter(), Vec::new());
    let flaws = named("ce-datacontenttype").unwrap_err().to_string();
    assert!(flaws.contains("stands as Content-Type"), "{flaws}");
}
