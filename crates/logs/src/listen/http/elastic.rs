//! Elasticsearch's API, as much of it as senders of logs use: the bulk API,
//! single documents, and what clients ask before they send.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use super::Shared;
use super::body::{Defaults, Refusal, header_text, keep, receive};
use crate::listen::Protocol;
use crate::protocol::elastic;

/// The version whose answers these are.
const VERSION: &str = "8.17.0";
/// Clients end where they do not find this header.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(banner))
        .route("/_bulk", post(bulk).put(bulk))
        .route("/{index}/_bulk", post(bulk_of).put(bulk_of))
        .route("/{index}/_doc", post(document))
        .route("/{index}/_doc/{id}", post(document_of).put(document_of))
        .route("/{index}/_create/{id}", post(document_of).put(document_of))
        .route("/_license", get(license))
        .route("/_xpack", get(xpack))
        .route("/_cluster/health", get(cluster))
        .route("/_nodes/{*what}", get(nodes))
        .route("/{index}", any(set_up))
        .route("/_index_template/{name}", any(set_up))
        .route("/_component_template/{name}", any(set_up))
        .route("/_template/{name}", any(set_up))
        .route("/_ilm/policy/{name}", any(set_up))
        .route("/_ingest/pipeline/{name}", any(set_up))
        .route("/_data_stream/{name}", any(set_up))
}

/// The answer's type is the one that the client asked for.
fn answer(status: StatusCode, body: &Value, accept: &str) -> Response {
    let kind = HeaderValue::from_static(match accept {
        accept if accept.contains("compatible-with=9") => {
            "application/vnd.elasticsearch+json;compatible-with=9"
        }
        accept if accept.contains("vnd.elasticsearch+json") => {
            "application/vnd.elasticsearch+json;compatible-with=8"
        }
        _ => "application/json",
    });
    let product = HeaderValue::from_static("Elasticsearch");
    let headers = [(header::CONTENT_TYPE, kind), (PRODUCT, product)];
    (status, headers, body.to_string()).into_response()
}

fn refused(refusal: &Refusal, accept: &str) -> Response {
    let kind = match refusal.status {
        StatusCode::TOO_MANY_REQUESTS => "es_rejected_execution_exception",
        StatusCode::PAYLOAD_TOO_LARGE => "content_too_long_exception",
        status if status.is_server_error() => "unavailable_shards_exception",
        _ => "illegal_argument_exception",
    };
    let cause = json!({ "type": kind, "reason": refusal.message });
    let body = json!({
        "error": { "root_cause": [cause], "type": kind, "reason": refusal.message },
        "status": refusal.status.as_u16(),
    });
    let mut response = answer(refusal.status, &body, accept);
    response.headers_mut().extend(refusal.headers());
    response
}

fn accept(request: &Request) -> String {
    header_text(request.headers(), header::ACCEPT)
}

async fn banner(request: Request) -> Response {
    let body = json!({
        "name": "nonna", "cluster_name": "nonna", "cluster_uuid": "nonna-logs",
        "version": {
            "number": VERSION, "build_flavor": "default", "build_type": "tar",
            "build_hash": "nonna", "build_date": "2025-01-01T00:00:00Z", "build_snapshot": false,
            "lucene_version": "9.12.0", "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    });
    answer(StatusCode::OK, &body, &accept(&request))
}

async fn license(request: Request) -> Response {
    let body = json!({ "license": {
        "status": "active", "uid": "nonna-logs", "type": "basic", "issue_date_in_millis": 0,
        "issued_to": "nonna", "issuer": "nonna", "start_date_in_millis": -1,
    }});
    answer(StatusCode::OK, &body, &accept(&request))
}

async fn xpack(request: Request) -> Response {
    let body = json!({
        "license": { "uid": "nonna-logs", "type": "basic", "mode": "basic", "status": "active" },
        "features": { "ilm": { "available": false, "enabled": false } },
    });
    answer(StatusCode::OK, &body, &accept(&request))
}

async fn cluster(request: Request) -> Response {
    let body = json!({
        "cluster_name": "nonna", "status": "green", "timed_out": false,
        "number_of_nodes": 1, "number_of_data_nodes": 1,
    });
    answer(StatusCode::OK, &body, &accept(&request))
}

async fn nodes(request: Request) -> Response {
    let body = json!({ "cluster_name": "nonna", "nodes": {} });
    answer(StatusCode::OK, &body, &accept(&request))
}

/// Templates, policies and indices are of no use here: what sets them up is
/// told that they are there.
async fn set_up(request: Request) -> Response {
    let accept = accept(&request);
    match *request.method() {
        Method::HEAD => answer(StatusCode::OK, &Value::Null, &accept),
        Method::PUT | Method::POST => answer(StatusCode::OK, &json!({ "acknowledged": true }), &accept),
        _ => {
            let refusal = Refusal {
                status: StatusCode::NOT_FOUND,
                message: "Nothing of Elasticsearch is here but what takes records.".to_owned(),
                again: None,
            };
            refused(&refusal, &accept)
        }
    }
}

async fn bulk(State(shared): State<Shared>, request: Request) -> Response {
    take(&shared, request, None).await
}

async fn bulk_of(State(shared): State<Shared>, Path(index): Path<String>, request: Request) -> Response {
    take(&shared, request, Some(index)).await
}

/// Makes ids for documents that have none: unlike those of all requests
/// before.
fn prefix() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    crate::store::now().cast_unsigned().wrapping_add(next)
}

async fn take(shared: &Shared, request: Request, index: Option<String>) -> Response {
    let (accept, begun) = (accept(&request), Instant::now());
    let took = async {
        let body = receive(shared, request).await?;
        let parse = move |bytes: &[u8], out: &mut _| elastic::bulk(bytes, index.as_deref(), out);
        keep(shared, Protocol::Elasticsearch, body, Defaults::default(), parse).await
    };
    match took.await {
        Ok(done) => {
            let body = done.json(begun.elapsed().as_millis(), prefix());
            answer(StatusCode::OK, &body, &accept)
        }
        Err(refusal) => refused(&refusal, &accept),
    }
}

async fn document(State(shared): State<Shared>, Path(index): Path<String>, request: Request) -> Response {
    one(&shared, request, index, None).await
}

async fn document_of(
    State(shared): State<Shared>,
    Path((index, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    one(&shared, request, index, Some(id)).await
}

/// A single document: a bulk request of one.
async fn one(shared: &Shared, request: Request, index: String, id: Option<String>) -> Response {
    let accept = accept(&request);
    let name = index.clone();
    let took = async {
        let body = receive(shared, request).await?;
        let parse = move |bytes: &[u8], out: &mut _| elastic::document(bytes, &name, out);
        keep(shared, Protocol::Elasticsearch, body, Defaults::default(), parse).await
    };
    match took.await {
        Ok(()) => {
            let id = id.unwrap_or_else(|| format!("{:x}", prefix()));
            let body = json!({
                "_index": index, "_id": id, "_version": 1, "result": "created",
                "_shards": { "total": 1, "successful": 1, "failed": 0 }, "_seq_no": 0, "_primary_term": 1,
            });
            answer(StatusCode::CREATED, &body, &accept)
        }
        Err(refusal) => refused(&refusal, &accept),
    }
}
