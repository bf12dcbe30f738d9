//! Requests and answers pass as they should, over HTTP/1.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nonna_edge::observe::{AccessSink, ChannelSink, HttpVersion};
use nonna_edge::{Route, ServiceConfig};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Seen = Arc<Mutex<Vec<Got>>>;

/// A replica that keeps what it got.
async fn keeper() -> (Replica, Seen) {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let replica = replica(move |got| {
        keep.lock().unwrap().push(got);
        ok("fine")
    })
    .await;
    (replica, seen)
}

fn last(seen: &Seen) -> Got {
    seen.lock()
        .unwrap()
        .last()
        .cloned()
        .expect("the replica got a request")
}

#[tokio::test]
async fn a_request_reaches_its_service_and_connections_are_kept() {
    let (edge, address) = edge(|config| config.threads = 1.try_into().ok());
    let a = replica(|got| ok(format!("a {}", got.line))).await;
    let b = replica(|got| ok(format!("b {}", got.line))).await;
    edge.set_service("a", &service(&[a.address])).unwrap();
    let other = ServiceConfig {
        routes: vec![Route::new(HOST, "/api"), Route::new("*.wild.test", "/")],
        upstreams: vec![b.address],
        ..ServiceConfig::default()
    };
    edge.set_service("b", &other).unwrap();
    let mut client = Client::connect(address).await;
    for (host, path, want) in [
        (HOST, "/", "a GET / HTTP/1.1"),
        (HOST, "/x?q=1", "a GET /x?q=1 HTTP/1.1"),
        (HOST, "/api/y", "b GET /api/y HTTP/1.1"),
        ("APP.TEST:8080", "/apis", "a GET /apis HTTP/1.1"),
        ("x.wild.test", "/", "b GET / HTTP/1.1"),
    ] {
        let answer = client
            .ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, want),
            "{host}{path}"
        );
    }
    assert_eq!(a.connections.load(Ordering::SeqCst), 1);
    assert_eq!(b.connections.load(Ordering::SeqCst), 1);
    let unknown = client
        .ask("GET / HTTP/1.1\r\nhost: no.test\r\naccept: text/html\r\n\r\n")
        .await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("<!doctype html>"));
    let json = client
        .ask("GET / HTTP/1.1\r\nhost: no.test\r\naccept: application/json\r\n\r\n")
        .await;
    assert!(
        json.text().contains("\"code\":\"unknown_host\""),
        "{}",
        json.text()
    );
    edge.remove("b");
    assert_eq!(get(address, "/api/y").await.text(), "a GET /api/y HTTP/1.1");
}

#[tokio::test]
async fn forwarding_headers_cannot_be_forged() {
    let (replica, seen) = keeper().await;
    let (_edge, address) = edge_to(&[replica.address]);
    let forged = "GET / HTTP/1.1\r\nhost: app.test:81\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
        X-Forwarded-Port: 1\r\nX-Forwarded-Anything: 6.6.6.6\r\nProxy: http://evil\r\nX-Request-Id: my id\r\n\
        Connection: x-forwarded-for, x-secret, close\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\nX-Kept: yes\r\n\r\n";
    assert_eq!(ask(address, forged).await.status, 200);
    let got = last(&seen);
    let port = address.port().to_string();
    for (name, value) in [
        ("host", Some("app.test:81")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-real-ip", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("app.test:81")),
        ("x-forwarded-port", Some(port.as_str())),
        ("forwarded", Some("for=127.0.0.1;proto=http;host=\"app.test:81\"")),
        ("x-kept", Some("yes")),
        ("x_forwarded_for", None),
        ("x-forwarded-anything", None),
        ("proxy", None),
        ("connection", None),
        ("x-secret", None),
        ("keep-alive", None),
        ("te", None),
    ] {
        assert_eq!(got.header(name), value, "{name} in {:?}", got.headers);
    }
    assert!(!got.headers.iter().any(|(_, value)| value.contains("6.6.6.6")));
    assert_eq!(got.header("x-request-id").unwrap().len(), 32);
    ask(
        address,
        "GET / HTTP/1.1\r\nhost: app.test\r\nx-request-id: abc-1\r\n\r\n",
    )
    .await;
    assert_eq!(last(&seen).header("x-request-id"), Some("abc-1"));
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let (replica, seen) = keeper().await;
    let (edge, address) = edge(|config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    });
    edge.set_service("web", &service(&[replica.address])).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: app.test\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.1.1.1\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n\r\n";
    ask(address, request).await;
    let got = last(&seen);
    assert_eq!(
        got.header("x-forwarded-for"),
        Some("6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1")
    );
    assert_eq!(got.header("x-real-ip"), Some("192.0.2.7"));
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.header("x-forwarded-host"), Some("shop.test"));
    assert_eq!(got.header("x-forwarded-port"), Some("443"));
}

#[tokio::test]
async fn bodies_pass_with_length_chunked_and_trailers() {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    let replica = replica(move |got| {
        keep.lock().unwrap().push(got);
        Some(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nx-sum: 7\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    let answer = client
        .ask("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5\r\nte: trailers\r\n\r\nhello")
        .await;
    assert_eq!(
        (
            answer.text().as_str(),
            answer.trailers.get("x-sum").map(String::as_str)
        ),
        ("abcdefg", Some("7"))
    );
    assert_eq!(last(&seen).body, b"hello");
    assert_eq!(last(&seen).header("content-length"), Some("5"));
    let chunked = "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n";
    assert_eq!(client.ask(chunked).await.text(), "abcdefg");
    let got = last(&seen);
    assert_eq!(
        (got.body.as_slice(), got.header("transfer-encoding")),
        (&b"abcde"[..], Some("chunked"))
    );
    assert_eq!(got.header("trailer x-t"), Some("1"));
    client.ask("POST / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(last(&seen).header("content-length"), Some("0"));
    assert_eq!(replica.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let replica = replica(|got| ok(&got.body)).await;
    let (_edge, address) = edge_to(&[replica.address]);
    let body: Vec<u8> = (0..3_000_000u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let mut client = Client::connect(address).await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    client.send(&body).await;
    let answer = soon(client.answer()).await.unwrap();
    assert!(answer.body == body);
}

#[tokio::test]
async fn a_stream_is_not_held_back() {
    let replica = raw_replica(|mut stream| async move {
        let mut buffer = Vec::new();
        read_request_head(&mut stream, &mut buffer).await;
        stream
            .write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )
            .await
            .unwrap();
        // Each event is sent only after the client said that it has the last.
        for _ in 0..3 {
            stream.write_all(b"6\r\nevent\n\r\n").await.unwrap();
            let mut byte = [0; 6];
            stream.read_exact(&mut byte).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    client
        .send("POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    soon(read_head(&mut client.stream, &mut client.buffer))
        .await
        .unwrap();
    for _ in 0..3 {
        soon(async {
            while !client.buffer.windows(5).any(|w| w == b"event") {
                client.stream.read_buf(&mut client.buffer).await.unwrap();
            }
        })
        .await;
        client.buffer.clear();
        client.send("1\r\nx\r\n").await;
    }
    soon(async {
        while !client.buffer.ends_with(b"0\r\n\r\n") {
            client.stream.read_buf(&mut client.buffer).await.unwrap();
        }
    })
    .await;
}

async fn read_request_head(stream: &mut tokio::net::TcpStream, buffer: &mut Vec<u8>) {
    read_head(stream, buffer).await.unwrap();
}

#[tokio::test]
async fn a_websocket_passes() {
    let replica = raw_replica(|mut stream| async move {
        let mut buffer = Vec::new();
        let head = String::from_utf8(read_head(&mut stream, &mut buffer).await.unwrap()).unwrap();
        assert!(head.contains("connection: upgrade\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("sec-websocket-key: x\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: y\r\n\r\nearly").await.unwrap();
        let mut bytes = [0; 1024];
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(count) => stream.write_all(&bytes[..count]).await.unwrap(),
            }
        }
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    let upgrade = "GET /ws HTTP/1.1\r\nhost: app.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nhi";
    let answer = client.ask(upgrade).await;
    assert_eq!(answer.status, 101);
    assert_eq!(
        answer.headers.get("upgrade").map(String::as_str),
        Some("websocket")
    );
    assert_eq!(
        answer.headers.get("sec-websocket-accept").map(String::as_str),
        Some("y")
    );
    soon(async {
        while client.buffer != b"earlyhi" {
            client.stream.read_buf(&mut client.buffer).await.unwrap();
        }
    })
    .await;
    client.buffer.clear();
    for i in 0..10 {
        let frame = format!("frame {i}");
        client.send(&frame).await;
        let mut echo = vec![0; frame.len()];
        soon(client.stream.read_exact(&mut echo)).await.unwrap();
        assert_eq!(echo, frame.as_bytes());
    }
    // A WebSocket is in flight until it is closed.
    edge.switch("web", &[]).unwrap();
    assert_eq!(
        edge.drain(&[replica.address], Duration::from_millis(200)).await,
        1
    );
    drop(client);
    assert_eq!(
        soon(edge.drain(&[replica.address], Duration::from_secs(10))).await,
        0
    );
}

#[tokio::test]
async fn old_clients_are_served() {
    let replica = replica(|got| {
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec();
        if got.line.contains("/chunked") {
            Some(chunked)
        } else {
            ok("fine")
        }
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let answer = ask(address, "GET / HTTP/1.0\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(answer.text(), "fine");
    let answer = ask(address, "GET /chunked HTTP/1.0\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(
        (answer.text().as_str(), answer.headers.get("transfer-encoding")),
        ("abc", None)
    );
    assert_eq!(ask(address, "GET / HTTP/1.0\r\n\r\n").await.status, 404);
    let any = ServiceConfig {
        routes: vec![Route::new("*", "/")],
        upstreams: vec![replica.address],
        ..ServiceConfig::default()
    };
    edge.set_service("any", &any).unwrap();
    assert_eq!(ask(address, "GET / HTTP/1.0\r\n\r\n").await.text(), "fine");
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let replica = replica(|got| ok(&got.body)).await;
    let (_edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    let first = client
        .ask("PUT / HTTP/1.1\r\nhost: app.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    assert_eq!(first.status, 100);
    assert_eq!(client.ask("abc").await.text(), "abc");
}

#[tokio::test]
async fn heads_and_bodiless_answers_keep_the_connection() {
    let replica = replica(|got| {
        if got.line.starts_with("HEAD") {
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".to_vec())
        } else if got.line.contains("/204") {
            Some(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec())
        } else {
            Some(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: \"x\"\r\n\r\n".to_vec())
        }
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        let head = soon(client.answer_to("HEAD")).await.unwrap();
        assert_eq!(
            head.headers.get("content-length").map(String::as_str),
            Some("1234")
        );
        assert_eq!(
            client
                .ask("GET /204 HTTP/1.1\r\nhost: app.test\r\n\r\n")
                .await
                .status,
            204
        );
        assert_eq!(
            client
                .ask("GET /304 HTTP/1.1\r\nhost: app.test\r\n\r\n")
                .await
                .status,
            304
        );
    }
    assert_eq!(replica.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn records_and_counters_tell_what_happened() {
    let (sink, mut records) = ChannelSink::new(16);
    let (edge, address) = edge(|config| config.access = Some(Arc::clone(&sink) as Arc<dyn AccessSink>));
    let replica = replica(|_| ok("fine")).await;
    edge.set_service("web", &service(&[replica.address])).unwrap();
    ask(address, "POST /a?b=c HTTP/1.1\r\nhost: app.test\r\nuser-agent: test/1\r\nx-request-id: r1\r\ncontent-length: 3\r\n\r\nabc").await;
    let batch = soon(records.recv()).await.unwrap();
    let record = &batch[0];
    assert_eq!(
        (record.host(), record.path(), record.user_agent()),
        ("app.test", "/a?b=c", "test/1")
    );
    assert_eq!(
        (record.status, record.sent, record.received, record.aborted),
        (200, 4, 3, false)
    );
    assert_eq!(
        (record.service.as_deref(), record.upstream),
        (Some("shop/production/web"), Some(replica.address))
    );
    assert_eq!(
        (record.request_id.to_string().as_str(), record.version, record.tls),
        ("r1", HttpVersion::Http11, false)
    );
    assert_eq!(
        (record.method.as_str(), record.client.to_string().as_str()),
        ("POST", "127.0.0.1")
    );
    let metrics = edge.metrics();
    assert_eq!(
        (metrics.services[0].requests, metrics.services[0].in_flight),
        ([0, 1, 0, 0, 0], 0)
    );
    assert!(
        metrics
            .prometheus()
            .contains("nonna_edge_sent_bytes_total{service=\"shop/production/web\"} 4\n")
    );
}
