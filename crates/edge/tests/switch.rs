//! Replicas come and go, and no request is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_replicas_are_replaced_under_load() {
    let (edge, address) = edge(|_| {});
    let slow = |name: usize| async move {
        raw_replica(move |mut stream| async move {
            let mut buffer = Vec::new();
            while let Some(got) = read_request(&mut stream, &mut buffer).await {
                tokio::time::sleep(Duration::from_millis(3)).await;
                let body = format!("{name} {}", got.body.len());
                if stream.write_all(&ok(body).unwrap()).await.is_err() {
                    return;
                }
            }
        })
        .await
    };
    let mut current = slow(0).await;
    edge.set_service("web", &service(&[current.address])).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut load = tokio::task::JoinSet::new();
    for i in 0..16 {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        load.spawn(async move {
            let mut client = Client::connect(address).await;
            let request = if i % 2 == 0 {
                "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n"
            } else {
                "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5\r\n\r\nhello"
            };
            while !stop.load(Ordering::Relaxed) {
                let answer = client.ask(request).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for name in 1..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = slow(name).await;
        let took = edge.switch("web", &[next.address]).unwrap();
        assert!(took < Duration::from_millis(100), "{took:?}");
        assert_eq!(edge.drain(&[current.address], Duration::from_secs(10)).await, 0);
        // Now, and not before, it may go.
        current = next;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = soon(load.join_next()).await {
        done.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 500, "{served:?}");
    assert_eq!(edge.metrics().services[0].in_flight, 0);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_no_longer() {
    let replica = raw_replica(|mut stream| async move {
        let mut buffer = Vec::new();
        read_request(&mut stream, &mut buffer).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        stream.write_all(&ok("late").unwrap()).await.unwrap();
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let asking = tokio::spawn(get(address, "/"));
    soon(async {
        while edge.metrics().services[0].in_flight == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    edge.switch("web", &[]).unwrap();
    assert_eq!(
        edge.drain(&[replica.address], Duration::from_millis(100)).await,
        1
    );
    assert_eq!(
        soon(edge.drain(&[replica.address], Duration::from_secs(10))).await,
        0
    );
    assert_eq!(asking.await.unwrap().text(), "late");
}

#[tokio::test]
async fn a_replica_that_refuses_costs_no_request() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let replica = replica(|got| ok(&got.body)).await;
    let (_edge, address) = edge_to(&[free, replica.address]);
    for _ in 0..20 {
        assert_eq!(get(address, "/").await.status, 200);
        let answer = ask(
            address,
            "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc",
        )
        .await;
        assert_eq!(answer.text(), "abc");
    }
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_no_request() {
    // Each connection serves one request, and is then closed without a word,
    // just when the next request comes.
    let replica = raw_replica(|mut stream| async move {
        let mut buffer = Vec::new();
        let got = read_request(&mut stream, &mut buffer).await.unwrap();
        stream.write_all(&ok(&got.body).unwrap()).await.unwrap();
        let mut byte = [0];
        let _ = stream.read(&mut byte).await;
    })
    .await;
    let (_edge, address) = edge(|config| config.threads = 1.try_into().ok());
    _edge.set_service("web", &service(&[replica.address])).unwrap();
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        assert_eq!(
            client
                .ask("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n")
                .await
                .status,
            200
        );
        let put = client
            .ask("PUT / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc")
            .await;
        assert_eq!(put.text(), "abc");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let replica = replica(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    })
    .await;
    let (_edge, address) = edge_to(&[replica.address]);
    let answer = ask(
        address,
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 3\r\n\r\nabc",
    )
    .await;
    assert_eq!((answer.status, posts.load(Ordering::SeqCst)), (502, 1));
}

#[tokio::test]
async fn load_is_spread_over_replicas() {
    let one = replica(|_| ok("one")).await;
    let two = replica(|_| ok("two")).await;
    let (_edge, address) = edge_to(&[one.address, two.address]);
    let mut ones = 0;
    let mut client = Client::connect(address).await;
    for _ in 0..40 {
        let answer = client.ask("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        ones += usize::from(answer.text() == "one");
    }
    assert!((10..=30).contains(&ones), "{ones}");
}

#[tokio::test]
async fn shutting_down_lets_requests_end() {
    let replica = raw_replica(|mut stream| async move {
        let mut buffer = Vec::new();
        while read_request(&mut stream, &mut buffer).await.is_some() {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if stream.write_all(&ok("late").unwrap()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let mut idle = Client::connect(address).await;
    assert_eq!(
        idle.ask("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await.status,
        200
    );
    let mut busy = Client::connect(address).await;
    busy.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ending = tokio::spawn({
        let edge = edge.clone();
        async move { edge.shutdown(Duration::from_secs(10)).await }
    });
    let answer = soon(busy.answer()).await.unwrap();
    assert_eq!(answer.text(), "late");
    assert_eq!(
        answer.headers.get("connection").map(String::as_str),
        Some("close")
    );
    assert!(soon(busy.answer()).await.is_none() && soon(idle.answer()).await.is_none());
    assert_eq!(soon(ending).await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutting_down_cuts_what_does_not_end() {
    let replica = raw_replica(|stream| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let mut client = Client::connect(address).await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(soon(edge.shutdown(Duration::from_millis(300))).await, 1);
    assert!(soon(client.answer()).await.is_none());
}
