//! What clients and replicas may not do: too large, too slow, ambiguous.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let replica = replica(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ok("fine")
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: app.test\r\n\r\n";
    for head in [
        "content-length: 6\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 6\r\n",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "content-length: 6\r\ncontent-length: 7\r\n",
        "content-length: 6, 7\r\n",
        "content-length: +6\r\n",
        "content-length: 0x6\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding : chunked\r\n",
        "x: y\r\n folded\r\n",
        "host: other.test\r\n",
        "x\0y: 1\r\n",
    ] {
        let mut client = Client::connect(address).await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nhost: app.test\r\n{head}\r\n{smuggled}"
            ))
            .await;
        let first = soon(client.answer())
            .await
            .unwrap_or_else(|| panic!("no answer to {head:?}"));
        assert_eq!(first.status, 400, "{head:?}");
        // Nothing behind it is taken for a request.
        let mut rest = Vec::new();
        let end = soon(async {
            let mut bytes = [0; 1024];
            loop {
                match client.stream.read(&mut bytes).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => rest.extend_from_slice(&bytes[..count]),
                }
            }
        });
        if !head.starts_with("host") {
            end.await;
            assert!(
                client.buffer.is_empty() && rest.is_empty(),
                "{head:?}: {:?}",
                String::from_utf8_lossy(&rest)
            );
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_length_that_comes_apart_from_its_encoding_is_never_passed_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let replica = replica(move |got| {
        keep.lock().unwrap().push(got);
        ok("fine")
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    // Pipelined behind another request, in one segment: the second head is not
    // looked at while the first is under way.
    let both = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\nPOST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\
        transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: app.test\r\n\r\n";
    let mut client = Client::connect(address).await;
    assert_eq!(client.ask(both).await.status, 200);
    let second = soon(client.answer()).await;
    assert!(
        soon(client.answer()).await.is_none(),
        "the connection must end after {second:?}"
    );
    for got in seen.lock().unwrap().iter() {
        assert!(
            !(got.header("content-length").is_some() && got.header("transfer-encoding").is_some()),
            "{got:?}"
        );
        assert!(!got.line.contains("smuggled"));
    }
}

#[tokio::test]
async fn methods_and_hosts_that_are_not_served_are_refused() {
    let replica = replica(|_| ok("fine")).await;
    let (_edge, address) = edge_to(&[replica.address]);
    for (request, status) in [
        ("CONNECT app.test:443 HTTP/1.1\r\nhost: app.test:443\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: app.test/x\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: <script>\r\naccept: text/html\r\n\r\n",
            400,
        ),
        (
            "GET http://app.test/abs HTTP/1.1\r\nhost: other.test\r\n\r\n",
            200,
        ),
        ("nonsense\r\n\r\n", 400),
    ] {
        let answer = ask(address, request).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert!(!answer.text().contains("<script>"));
    }
}

#[tokio::test]
async fn large_heads_and_bodies_are_refused_with_a_page() {
    let replica = replica(|got| ok(&got.body)).await;
    let (edge, address) = edge(|config| {
        config.limits.header_bytes = 4096;
        config.limits.header_count = 20;
    });
    let mut config = service(&[replica.address]);
    config.body_bytes = Some(10);
    edge.set_service("web", &config).unwrap();
    let long = format!(
        "GET / HTTP/1.1\r\nhost: app.test\r\ncookie: {}\r\n\r\n",
        "x".repeat(8000)
    );
    let answer = ask(address, long).await;
    assert_eq!(answer.status, 431);
    assert!(answer.text().contains("<!doctype html>"), "{answer:?}");
    let many: String = (0..30).map(|i| format!("x-{i}: 1\r\n")).collect();
    assert_eq!(
        ask(address, format!("GET / HTTP/1.1\r\nhost: app.test\r\n{many}\r\n"))
            .await
            .status,
        431
    );
    let body = "x".repeat(100_000);
    let length = format!(
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(ask(address, length).await.status, 413);
    let chunked = "POST / HTTP/1.1\r\nhost: app.test\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n";
    assert_eq!(ask(address, chunked).await.status, 413);
    assert_eq!(
        ask(
            address,
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc"
        )
        .await
        .text(),
        "abc"
    );
}

#[tokio::test]
async fn slow_clients_are_cut() {
    let replica = replica(|got| ok(&got.body)).await;
    let (edge, address) = edge(|config| {
        config.timeouts.header = SHORT;
        config.timeouts.idle = SHORT;
        config.timeouts.response = SHORT;
    });
    edge.set_service("web", &service(&[replica.address])).unwrap();
    // One byte at a time does not help.
    let start = Instant::now();
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: ap").await;
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if client.stream.write_all(b"p").await.is_err() {
                return;
            }
        }
    };
    soon(drip).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let mut client = Client::connect(address).await;
    let answer = client.ask("GET / HTTP/1.1\r\nhost: ap").await;
    assert_eq!(answer.status, 408);
    // Nothing at all.
    let mut client = Client::connect(address).await;
    assert!(soon(client.answer()).await.is_none());
    // Idle between two requests.
    let mut client = Client::connect(address).await;
    assert_eq!(
        client
            .ask("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n")
            .await
            .status,
        200
    );
    assert!(soon(client.answer()).await.is_none());
    // Half a body.
    let mut client = Client::connect(address).await;
    let answer = client
        .ask("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 9\r\n\r\nabc")
        .await;
    assert_eq!(answer.status, 408);
    soon(async {
        while edge.metrics().connections > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn slow_and_broken_replicas_are_answered_for() {
    let slow = raw_replica(|stream| async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(stream);
    })
    .await;
    let (edge, address) = edge(|config| {
        config.timeouts.response = SHORT;
        config.timeouts.body = SHORT;
    });
    edge.set_service("web", &service(&[slow.address])).unwrap();
    assert_eq!(get(address, "/").await.status, 504);
    edge.switch("web", &[]).unwrap();
    let none = get(address, "/").await;
    assert_eq!(
        (none.status, none.headers.contains_key("retry-after")),
        (503, true)
    );
    let mut paused = service(&[slow.address]);
    paused.paused = true;
    edge.set_service("web", &paused).unwrap();
    let page = ask(
        address,
        "GET / HTTP/1.1\r\nhost: app.test\r\naccept: text/html\r\n\r\n",
    )
    .await;
    assert_eq!(
        (page.status, page.text().contains("paused by its owner")),
        (503, true)
    );
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    edge.set_service("web", &service(&[free])).unwrap();
    assert_eq!(get(address, "/").await.status, 502);
    let nonsense = replica(|_| Some(b"nonsense\r\n\r\n".to_vec())).await;
    edge.switch("web", &[nonsense.address]).unwrap();
    assert_eq!(get(address, "/").await.status, 502);
    // A body that stalls is cut, not ended as if it were whole.
    let stalling = raw_replica(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    edge.switch("web", &[stalling.address]).unwrap();
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(soon(client.answer()).await.is_none());
    // Nor is one that breaks off.
    let breaking = raw_replica(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    })
    .await;
    edge.switch("web", &[breaking.address]).unwrap();
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(soon(client.answer()).await.is_none());
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let replica = replica(|_| ok("fine")).await;
    let (edge, address) = edge(|config| {
        config.threads = 1.try_into().ok();
        config.limits.connections = 2;
    });
    edge.set_service("web", &service(&[replica.address])).unwrap();
    let mut first = Client::connect(address).await;
    let mut second = Client::connect(address).await;
    let request = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
    assert_eq!(
        (first.ask(request).await.status, second.ask(request).await.status),
        (200, 200)
    );
    let mut third = Client::connect(address).await;
    third.send(request).await;
    assert!(tokio::time::timeout(SHORT, third.answer()).await.is_err());
    drop(first);
    assert_eq!(soon(third.answer()).await.unwrap().status, 200);
}
