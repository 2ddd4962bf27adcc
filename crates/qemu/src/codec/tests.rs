use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Lines as QEMU 7.2 sends them.
const SESSION: &str = concat!(
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}"#,
    "\r\n",
    r#"{"return": {}, "id": 1}"#,
    "\r\n\r\n",
    r#"{"id": 2, "error": {"class": "CommandNotFound", "desc": "The command bogus has not been found"}}"#,
    "\r\n",
    r#"{"timestamp": {"seconds": 1795253620, "microseconds": 930337}, "event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}}"#,
    "\r\n",
    r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#,
    "\r\n",
    r#"{"return": null}"#,
    "\n",
);

fn decode_all(chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<Message> {
    let mut decoder = Decoder::new(1000);
    let mut messages = Vec::new();
    for chunk in chunks {
        decoder.push(&chunk);
        while let Some(message) = decoder.message().unwrap() {
            messages.push(message);
        }
    }
    messages
}

#[test]
fn a_session_is_understood() {
    let messages = decode_all([SESSION.as_bytes().to_vec()]);
    assert_eq!(messages.len(), 6);
    assert!(
        matches!(&messages[0], Message::Greeting(v) if (v.major, v.minor, v.micro) == (7, 2, 22))
    );
    assert_eq!(
        messages[1],
        Message::Return {
            id: Some(1),
            value: json!({})
        }
    );
    assert!(
        matches!(&messages[2], Message::Error { id: Some(2), error } if error.class == "CommandNotFound")
    );
    assert!(
        matches!(&messages[3], Message::Event(e) if e.event == "SHUTDOWN" && e.data["guest"] == json!(false))
    );
    assert!(matches!(&messages[4], Message::Event(e) if e.data.is_empty()));
    assert_eq!(
        messages[5],
        Message::Return {
            id: None,
            value: Value::Null
        }
    );
}

#[test]
fn a_bad_line_does_not_hide_the_next() {
    let mut decoder = Decoder::new(100);
    decoder.push(b"{\"hello\": 1}\n][\n{\"return\": 1, \"id\": 7}\n");
    assert!(matches!(decoder.message(), Err(CodecError::Unknown)));
    assert!(matches!(decoder.message(), Err(CodecError::Malformed(_))));
    assert_eq!(
        decoder.message().unwrap(),
        Some(Message::Return {
            id: Some(7),
            value: json!(1)
        })
    );
}

#[test]
fn a_line_without_end_is_refused() {
    let mut decoder = Decoder::new(100);
    decoder.push(&[b' '; 101]);
    assert!(matches!(
        decoder.message(),
        Err(CodecError::TooLong { limit: 100 })
    ));
    decoder.push(b"\n");
    assert!(matches!(
        decoder.message(),
        Err(CodecError::TooLong { limit: 100 })
    ));
}

#[test]
fn commands_are_lines() {
    assert_eq!(
        encode("cont", None::<()>, 3).unwrap(),
        b"{\"execute\":\"cont\",\"id\":3}\n"
    );
    let line = encode("device_del", Some(json!({"id": "d\n0"})), 4).unwrap();
    assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
}

proptest! {
    #[test]
    fn the_cut_of_the_stream_does_not_matter(cuts in prop::collection::vec(1_usize..40, 1..60)) {
        let mut rest = SESSION.as_bytes();
        let mut chunks = Vec::new();
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, tail) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk.to_vec());
            rest = tail;
        }
        prop_assert_eq!(decode_all(chunks), decode_all([SESSION.as_bytes().to_vec()]));
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::new(64);
        decoder.push(&bytes);
        for _ in 0..=bytes.len() {
            if let Ok(None) | Err(CodecError::TooLong { .. }) = decoder.message() { return Ok(()); }
        }
        prop_assert!(false, "decoding did not come to an end");
    }
}
