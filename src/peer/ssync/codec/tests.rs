use proptest::prelude::*;

use super::*;

const HASH: &[u8; 32] = b"4c03f3f53e065aa1d93a854912c68b20";

fn hash() -> ObjectHash {
    ObjectHash::from_name(HASH).unwrap()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn offered(data: &str, meta: Option<&str>, content_type: Option<&str>) -> String {
    let times = Times { data: time(data), meta: meta.map(time), content_type: content_type.map(time) };
    let chunk = written(|out| offer(out, hash(), &times));
    let (size, line) = chunk.split_once("\r\n").unwrap();
    let line = line.strip_suffix("\r\n").unwrap();
    assert_eq!(usize::from_str_radix(size, 16).unwrap(), line.len(), "{chunk:?}");
    line.strip_suffix("\r\n").unwrap().strip_prefix("4c03f3f53e065aa1d93a854912c68b20 ").unwrap().to_owned()
}

fn metadata(items: &[(&str, &str)]) -> Metadata {
    let mut metadata = Metadata::default();
    items.iter().for_each(|(key, value)| metadata.set(key, value.as_bytes()));
    metadata
}

fn name(name: &str) -> ObjectName<'_> {
    ObjectName::parse(name.as_bytes()).unwrap()
}

#[test]
fn markers_are_chunks_of_a_line() {
    assert_eq!(written(|out| marker(out, MISSING_CHECK_START)), "17\r\n:MISSING_CHECK: START\r\n\r\n");
    assert_eq!(written(|out| marker(out, MISSING_CHECK_END)), "15\r\n:MISSING_CHECK: END\r\n\r\n");
    assert_eq!(written(|out| marker(out, UPDATES_START)), "11\r\n:UPDATES: START\r\n\r\n");
    assert_eq!(written(|out| marker(out, UPDATES_END)), "f\r\n:UPDATES: END\r\n\r\n");
}

#[test]
fn an_offer_tells_the_times_of_all_parts() {
    let data = "1700000011.00011";
    assert_eq!(offered(data, None, None), data);
    assert_eq!(offered(data, Some(data), Some(data)), data, "what is as old as the data goes without saying");
    assert_eq!(offered(data, Some("1700000100.00000"), Some("1700000100.00000")), "1700000011.00011 m:87cd95,t:87cd95");
    assert_eq!(offered(data, Some("1700000100.00000"), Some("1700000011.00012")), "1700000011.00011 m:87cd95,t:1");
    assert_eq!(offered(data, None, Some("1700000100.00000")), data, "a content type comes with metadata");
    assert_eq!(offered(data, Some("1700000011.00010"), None), "1700000011.00011 m:-1");
}

#[test]
fn an_offer_tells_offsets() {
    let data = "1700000011.00011_000000000000000a";
    assert_eq!(offered(data, None, None), data);
    assert_eq!(offered(data, Some("1700000011.00011"), None), format!("{data} m:0"));
    assert_eq!(
        offered(data, Some("1700000011.00012_1f"), Some("1700000011.00012_2")),
        format!("{data} m:1__1f,t:1__2")
    );
}

#[test]
fn a_put_has_sorted_headers_and_the_length_of_the_file() {
    let metadata = metadata(&[
        ("X-Timestamp", "1700000003.00003"),
        ("name", "/AUTH_t/c/o3"),
        ("ETag", "c1e5"),
        ("Content-Length", "8"),
        ("Content-Type", "text/plain"),
        ("A", "caf\u{c3}\u{a9}"),
    ]);
    let mut out = Vec::new();
    put(&mut out, name("/AUTH_t/c/o 3"), &metadata, 7).unwrap();
    let expected = b"79\r\nPUT /AUTH_t/c/o%203\r\nA: caf\xc3\xa9\r\nContent-Length: 7\r\nContent-Type: text/plain\r\n\
        ETag: c1e5\r\nX-Timestamp: 1700000003.00003\r\n\r\n\r\n";
    assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    let early = written(|out| put(out, name("/a/c/o"), &Metadata::default(), 0).unwrap());
    assert_eq!(early, "21\r\nPUT /a/c/o\r\nContent-Length: 0\r\n\r\n\r\n");
}

#[test]
fn a_post_has_all_metadata_and_a_delete_only_the_time() {
    let metadata = metadata(&[("X-Timestamp", "1700000003.00003"), ("name", "/a/c/o"), ("X-Object-Meta-A", "")]);
    let post = written(|out| post(out, name("/a/c/o"), &metadata).unwrap());
    assert_eq!(post, "41\r\nPOST /a/c/o\r\nX-Object-Meta-A: \r\nX-Timestamp: 1700000003.00003\r\n\r\n\r\n");
    let delete = written(|out| delete(out, name("/a/c/o"), time("1700000003.00003_1")));
    assert_eq!(delete, "41\r\nDELETE /a/c/o\r\nX-Timestamp: 1700000003.00003_0000000000000001\r\n\r\n\r\n");
}

#[test]
fn metadata_that_cannot_be_headers_are_refused_and_leave_nothing_behind() {
    let mut out = b"before".to_vec();
    for (key, value, reason) in [
        ("X-Object-Meta-A", "\u{20ac}", "its metadata X-Object-Meta-A is not Latin-1"),
        ("X-Object-Meta-A", "a\r\nb", "its metadata X-Object-Meta-A contains a line break"),
        ("X\n", "a", "its metadata X\\n contains a line break"),
    ] {
        let metadata = metadata(&[(key, value), ("Content-Type", "text/plain")]);
        assert_eq!(put(&mut out, name("/a/c/o"), &metadata, 1).unwrap_err().to_string(), reason);
        assert_eq!(post(&mut out, name("/a/c/o"), &metadata).unwrap_err().to_string(), reason);
        assert_eq!(out, b"before");
    }
}

#[test]
fn wants_name_an_object_and_its_parts() {
    let want = |line: &str| {
        parse_want(line.as_bytes()).map(|(found, want)| {
            assert_eq!(found, hash());
            (want.data, want.meta)
        })
    };
    let line = |parts: &str| format!("4c03f3f53e065aa1d93a854912c68b20{parts}");
    assert_eq!(want(&line(" d")), Some((true, false)));
    assert_eq!(want(&line(" m")), Some((false, true)));
    assert_eq!(want(&line("  dm\tx")), Some((true, true)));
    assert_eq!(want(&line("")), Some((true, false)), "an old receiver");
    assert_eq!(want(&line(" xyz")), Some((true, false)), "unknown parts");
    for junk in ["", " ", "d", ":ERROR: 503 b'busy'", "../../../../etc/passwd dm", &line("x d"), &line("0")] {
        assert_eq!(parse_want(junk.as_bytes()), None, "{junk:?}");
    }
}

proptest! {
    #[test]
    fn no_line_makes_a_want_panic(line: Vec<u8>) {
        let _ = parse_want(&line);
    }

    #[test]
    fn every_message_is_one_whole_chunk(value in "[ -~]{0,300}", key in "[!-9;-~]{1,30}", length: u64) {
        prop_assume!(key != "Content-Length" && key != "name");
        let mut out = Vec::new();
        put(&mut out, name("/a/c/o"), &metadata(&[(&key, &value)]), length).unwrap();
        let end = out.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&out[..end]).unwrap(), 16).unwrap();
        prop_assert_eq!(out.len(), end + 2 + size + 2);
        let message = String::from_utf8(out[end + 2..end + 2 + size].to_vec()).unwrap();
        let mut lines: Vec<_> = message.split("\r\n").collect();
        prop_assert_eq!(lines.split_off(lines.len() - 2), ["", ""]);
        prop_assert_eq!(lines.remove(0), "PUT /a/c/o");
        let mut expected = [format!("{key}: {value}"), format!("Content-Length: {length}")];
        if key.as_str() > "Content-Length" {
            expected.reverse();
        }
        prop_assert_eq!(lines, expected);
    }
}
