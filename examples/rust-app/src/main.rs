//! A small list of notes, kept in memory.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

/// What stands above the list.
const GREETING: &str = "hello from rust";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    text: String,
}

type Notes = Arc<Mutex<Vec<Note>>>;

async fn page(State(notes): State<Notes>) -> Html<String> {
    let count = notes.lock().unwrap_or_else(PoisonError::into_inner).len();
    Html(format!("<!doctype html><title>Notes</title><h1>{GREETING}</h1><p>{count} notes</p>"))
}

async fn list(State(notes): State<Notes>) -> Json<Vec<Note>> {
    Json(notes.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

async fn add(State(notes): State<Notes>, Json(note): Json<Note>) -> (StatusCode, Json<Note>) {
    notes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(note.clone());
    (StatusCode::CREATED, Json(note))
}

fn app() -> Router {
    Router::new()
        .route("/", get(page))
        .route("/notes", get(list).post(add))
        .with_state(Notes::default())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port.unwrap_or(8080_u16))).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut told = signal(SignalKind::terminate())?;
    axum::serve(listener, app())
        .with_graceful_shutdown(async move {
            told.recv().await;
        })
        .await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_note_that_was_added_is_listed() {
        let app = app();
        let new = Request::post("/notes")
            .header("content-type", "application/json")
            .body(Body::from(r#"{"text":"milk"}"#))
            .unwrap();
        assert_eq!(app.clone().oneshot(new).await.unwrap().status(), StatusCode::CREATED);
        let answer = app
            .oneshot(Request::get("/notes").body(Body::empty()).unwrap())
            .await
            .unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], br#"[{"text":"milk"}]"#);
    }
}
