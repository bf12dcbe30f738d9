//! HTTP/2 without TLS, on both sides: what gRPC needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use nonna_edge::Protocol;
use support::*;
use tokio::net::{TcpListener, TcpStream};

/// A replica that echoes each message as it comes, then says how it went in a
/// trailer, as gRPC does.
async fn grpc_replica() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let mut response = Response::new(());
                        let headers = response.headers_mut();
                        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
                        for name in ["te", "x-forwarded-for", "x-forwarded-host"] {
                            if let Some(value) = request.headers().get(name) {
                                headers.insert(
                                    http::HeaderName::from_static(match name {
                                        "te" => "seen-te",
                                        "x-forwarded-for" => "seen-for",
                                        _ => "seen-host",
                                    }),
                                    value.clone(),
                                );
                            }
                        }
                        let mut send = respond.send_response(response, false).unwrap();
                        let mut body = request.into_body();
                        while let Some(Ok(data)) = body.data().await {
                            let _ = body.flow_control().release_capacity(data.len());
                            if send.send_data(data, false).is_err() {
                                return;
                            }
                        }
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        let _ = send.send_trailers(trailers);
                    });
                }
            });
        }
    });
    address
}

async fn client(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn grpc_streams_pass_both_ways_with_trailers() {
    let upstream = grpc_replica().await;
    let (edge, address) = edge(|_| {});
    let mut config = service(&[upstream]);
    config.protocol = Protocol::H2c;
    edge.set_service("grpc", &config).unwrap();
    let mut sender = client(address).await;
    for _ in 0..3 {
        let request = Request::post("http://app.test/pkg.Service/Method")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("x-forwarded-for", "6.6.6.6")
            .body(())
            .unwrap();
        let (answer, mut send) = sender.send_request(request, false).unwrap();
        let answer = soon(answer).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        assert_eq!(answer.headers()["seen-te"], "trailers");
        assert_eq!(answer.headers()["seen-for"], "127.0.0.1");
        assert_eq!(answer.headers()["seen-host"], "app.test");
        let mut body = answer.into_body();
        for i in 0..5 {
            let message = Bytes::from(format!("message {i}"));
            send.send_data(message.clone(), false).unwrap();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), message);
        }
        send.send_data(Bytes::new(), true).unwrap();
        assert!(soon(body.data()).await.is_none());
        let trailers = soon(body.trailers()).await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
    }
    // The connection to the replica is nothing in flight.
    assert_eq!(edge.drain(&[upstream], Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn an_http1_client_reaches_an_http2_replica() {
    let upstream = grpc_replica().await;
    let (edge, address) = edge(|_| {});
    let mut config = service(&[upstream]);
    config.protocol = Protocol::H2c;
    edge.set_service("grpc", &config).unwrap();
    let answer = ask(
        address,
        "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

#[tokio::test]
async fn an_http2_replica_that_is_gone_is_replaced() {
    let (edge, address) = edge(|_| {});
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut config = service(&[gone]);
    config.protocol = Protocol::H2c;
    edge.set_service("grpc", &config).unwrap();
    assert_eq!(get(address, "/").await.status, 502);
    edge.switch("grpc", &[grpc_replica().await]).unwrap();
    assert_eq!(get(address, "/").await.status, 200);
}

#[tokio::test]
async fn a_large_head_is_refused_and_the_connection_goes_on() {
    let replica = replica(|_| ok("fine")).await;
    let (edge, address) = edge(|config| config.limits.header_bytes = 4096);
    edge.set_service("web", &service(&[replica.address])).unwrap();
    let mut sender = client(address).await;
    let request = Request::get("http://app.test/")
        .header("x", "y".repeat(8000))
        .body(())
        .unwrap();
    assert_eq!(
        soon(sender.send_request(request, true).unwrap().0)
            .await
            .unwrap()
            .status(),
        431
    );
    let request = Request::get("http://app.test/").body(()).unwrap();
    assert_eq!(
        soon(sender.send_request(request, true).unwrap().0)
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn shutting_down_tells_http2_clients_to_go_away() {
    let replica = raw_replica(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let mut buffer = Vec::new();
        read_request(&mut stream, &mut buffer).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        stream.write_all(&ok("late").unwrap()).await.unwrap();
    })
    .await;
    let (edge, address) = edge_to(&[replica.address]);
    let mut sender = client(address).await;
    let request = Request::get("http://app.test/").body(()).unwrap();
    let answer = sender.send_request(request, true).unwrap().0;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ending = tokio::spawn(async move { edge.shutdown(Duration::from_secs(10)).await });
    let answer = soon(answer).await.unwrap();
    assert_eq!(soon(answer.into_body().data()).await.unwrap().unwrap(), "late");
    assert_eq!(soon(ending).await.unwrap(), 0);
    let late = Request::get("http://app.test/").body(()).unwrap();
    let refused = match sender.ready().await {
        Ok(mut sender) => match sender.send_request(late, true) {
            Ok((answer, _)) => soon(answer).await.is_err(),
            Err(_) => true,
        },
        Err(_) => true,
    };
    assert!(refused);
}
