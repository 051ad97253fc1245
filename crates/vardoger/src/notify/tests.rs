//! Delivery to real little servers on free ports of this machine.

use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

/// Short, so that a server that never answers costs little; the outcome does not depend on it.
const QUICK: Limits = Limits {
    deadline: Duration::from_secs(60),
    attempt: Duration::from_secs(20),
    attempts: 3,
    back_off: Duration::from_millis(1),
};

/// Answers one request after the other with these statuses; gives the requests, head and body.
fn server(statuses: &'static [u16]) -> (String, JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let answer = |status: &u16| answer(&listener.accept().unwrap().0, *status);
        statuses.iter().map(answer).collect()
    });
    (url, serving)
}

fn answer(mut stream: &TcpStream, status: u16) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let place = "location: http://127.0.0.1:1/elsewhere";
    let answer =
        format!("HTTP/1.1 {status} x\r\n{place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn target(url: &str) -> Target {
    Target::parse(url, None).unwrap_or_else(|failure| panic!("{}", failure.message))
}

#[test]
fn a_server_that_fails_twice_is_asked_again() {
    let (url, serving) = server(&[503, 500, 204]);
    deliver(&target(&url), b"{}", QUICK).unwrap();
    let requests = serving.join().unwrap();
    assert_eq!(requests.len(), 3);
    for (head, body) in requests {
        assert!(head.starts_with("post /hook http/1.1"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert_eq!(body, "{}");
    }
}

#[test]
fn a_server_that_goes_on_failing_is_given_up() {
    let (url, serving) = server(&[500, 500, 500]);
    let error = deliver(&target(&url), b"{}", QUICK).unwrap_err();
    assert_eq!(error, "it answered 500 (3 attempts)");
    assert_eq!(serving.join().unwrap().len(), 3);
}

#[test]
fn what_is_refused_is_not_tried_again() {
    for (statuses, said) in [
        (&[404], "it answered 404 (1 attempt)"),
        (&[401], "it answered 401 (1 attempt)"),
        // Findings go nowhere but where they were sent.
        (&[307], "it answered 307 (1 attempt)"),
    ] {
        let (url, serving) = server(statuses);
        assert_eq!(deliver(&target(&url), b"{}", QUICK).unwrap_err(), said);
        serving.join().unwrap();
    }
}

#[test]
fn a_server_that_never_answers_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let limits = Limits {
        attempt: Duration::from_millis(100),
        ..QUICK
    };
    let error = deliver(&target(&url), b"{}", limits).unwrap_err();
    assert_eq!(error, "it did not answer in time (3 attempts)");
    let late = Limits {
        deadline: Duration::from_millis(100),
        ..limits
    };
    let error = deliver(&target(&url), b"{}", late).unwrap_err();
    assert_eq!(error, "it did not answer in time (1 attempt)");
}

#[test]
fn a_server_that_dribbles_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 x\r\n").unwrap();
        // Another header, and another, until the other side has gone.
        while stream.write_all(b"a: b\r\n").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let limits = Limits {
        attempt: Duration::from_millis(100),
        attempts: 1,
        ..QUICK
    };
    let error = deliver(&target(&url), b"{}", limits).unwrap_err();
    assert!(error.ends_with("(1 attempt)"), "{error}");
    serving.join().unwrap();
}

#[test]
fn a_closed_port_is_a_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = deliver(&target(&url), b"{}", QUICK).unwrap_err();
    assert!(error.starts_with("no connection"), "{error}");
    assert!(error.ends_with("(3 attempts)"), "{error}");
}

#[test]
fn https_is_spoken_and_a_server_that_does_not_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).unwrap();
        stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").unwrap();
        first
    });
    let once = Limits {
        attempts: 1,
        ..QUICK
    };
    let error = deliver(&target(&url), b"{}", once).unwrap_err();
    // A handshake record of TLS.
    assert_eq!(serving.join().unwrap()[..2], [0x16, 0x03]);
    assert!(
        error.contains("TLS") || error.contains("connection"),
        "{error}"
    );
}

#[test]
fn a_user_in_the_url_is_authenticated_and_never_shown() {
    let (url, serving) = server(&[200]);
    let url = url.replace("http://", "http://me:secret@");
    let target = target(&url);
    deliver(&target, b"{}", QUICK).unwrap();
    let (head, _) = serving.join().unwrap().remove(0);
    assert!(head.contains("authorization: basic bwu6c2vjcmv0"), "{head}");
    let shown = target.to_string();
    assert!(
        !shown.contains("secret") && !shown.contains("hook"),
        "{shown}"
    );
}

#[test]
fn what_is_no_target_is_refused_without_being_repeated() {
    for url in [
        "",
        "hook",
        "ftp://h/secret",
        "/secret",
        "http://",
        "http:///secret",
        "http://a b/secret",
        "h:secret@x",
    ] {
        let failure = Target::parse(url, None)
            .err()
            .unwrap_or_else(|| panic!("{url}"));
        assert_eq!(failure.exit, 2, "{url}");
        assert!(!failure.message.contains("secret"), "{}", failure.message);
    }
    assert!(Target::parse(&format!("http://h/{}", "x".repeat(3_000)), None).is_err());
    assert_eq!(
        target("https://u:p@h.example:8443/a?b").to_string(),
        "https://h.example:8443"
    );
}
