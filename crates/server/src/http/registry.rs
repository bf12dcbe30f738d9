//! One table of operations: each is registered once, with its permission, and
//! both the router and the OpenAPI document come of that.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{HeaderMap, header};
use nonna_engine::{Code, Error};
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref,
    RefOr, Required,
};
use utoipa::{PartialSchema, ToSchema};

use super::App;
use super::failure::Refusal;
use crate::auth::{self, Identity, Permission};

/// What an operation is.
pub(crate) struct Operation {
    method: HttpMethod,
    path: &'static str,
    permission: Permission,
    summary: &'static str,
    query: Vec<(String, RefOr<Schema>, bool)>,
    body: Option<(&'static str, Named)>,
    answer: Option<(&'static str, Named)>,
}

/// A schema and what it is called, with those it refers to.
struct Named {
    name: Option<String>,
    schema: RefOr<Schema>,
    others: Vec<(String, RefOr<Schema>)>,
}

impl Named {
    fn of<T: ToSchema>() -> Self {
        let mut others = Vec::new();
        T::schemas(&mut others);
        Self {
            name: Some(T::name().into_owned()),
            schema: T::schema(),
            others,
        }
    }

    fn free() -> Self {
        Self {
            name: None,
            schema: serde_json::Value::schema(),
            others: Vec::new(),
        }
    }
}

/// An operation that reads.
pub(crate) fn get(path: &'static str, permission: Permission, summary: &'static str) -> Operation {
    Operation::new(HttpMethod::Get, path, permission, summary)
}

/// An operation that changes.
pub(crate) fn post(path: &'static str, permission: Permission, summary: &'static str) -> Operation {
    Operation::new(HttpMethod::Post, path, permission, summary)
}

/// An operation that puts something there.
pub(crate) fn put(path: &'static str, permission: Permission, summary: &'static str) -> Operation {
    Operation::new(HttpMethod::Put, path, permission, summary)
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, permission: Permission, summary: &'static str) -> Self {
        Self {
            method,
            path,
            permission,
            summary,
            query: Vec::new(),
            body: None,
            answer: None,
        }
    }

    /// The query is this.
    pub(crate) fn query<T: ToSchema>(mut self) -> Self {
        if let RefOr::T(Schema::Object(object)) = T::schema() {
            for (name, schema) in object.properties {
                let required = object.required.contains(&name);
                self.query.push((name, schema, required));
            }
        }
        self
    }

    /// The query has this one text, which must be there.
    pub(crate) fn query_text(mut self, name: &str) -> Self {
        self.query.push((name.to_owned(), String::schema(), true));
        self
    }

    /// The body is this, as JSON.
    pub(crate) fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(("application/json", Named::of::<T>()));
        self
    }

    /// The body is of this kind.
    pub(crate) fn takes_kind(mut self, kind: &'static str) -> Self {
        self.body = Some((kind, Named::free()));
        self
    }

    /// The answer is this, as JSON.
    pub(crate) fn answers<T: ToSchema>(mut self) -> Self {
        self.answer = Some(("application/json", Named::of::<T>()));
        self
    }

    /// The answer is of this kind.
    pub(crate) fn answers_kind(mut self, kind: &'static str) -> Self {
        self.answer = Some((kind, Named::free()));
        self
    }
}

/// The operations so far.
pub(crate) struct Registry {
    app: Arc<App>,
    router: axum::Router<Arc<App>>,
    paths: PathsBuilder,
    components: ComponentsBuilder,
}

impl Registry {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        Self {
            app,
            router: axum::Router::new(),
            paths: PathsBuilder::new(),
            components: ComponentsBuilder::new().security_scheme("token", scheme),
        }
    }

    /// Adds an operation.
    pub(crate) fn add<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = match operation.method {
            HttpMethod::Post => MethodFilter::POST,
            HttpMethod::Put => MethodFilter::PUT,
            _ => MethodFilter::GET,
        };
        let mut route: MethodRouter<Arc<App>> = on(filter, handler);
        if operation.permission != Permission::Public {
            let guard = Guard {
                app: Arc::clone(&self.app),
                permission: operation.permission,
            };
            route = route.route_layer(from_fn_with_state(guard, authorize));
        }
        self.router = self.router.route(operation.path, route);
        self.describe(operation)
    }

    fn describe(mut self, operation: Operation) -> Self {
        let extensions = ExtensionsBuilder::new()
            .add("x-permission", operation.permission.as_str())
            .build();
        let mut built = OperationBuilder::new()
            .summary(Some(operation.summary))
            .extensions(Some(extensions));
        for name in path_parameters(operation.path) {
            built = built.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(String::schema())),
            );
        }
        for (name, schema, required) in operation.query {
            built = built.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Query)
                    .required(if required { Required::True } else { Required::False })
                    .schema(Some(schema)),
            );
        }
        if let Some((kind, named)) = operation.body {
            let schema = self.keep(named);
            built = built.request_body(Some(
                RequestBodyBuilder::new()
                    .content(kind, ContentBuilder::new().schema(Some(schema)).build())
                    .required(Some(Required::True))
                    .build(),
            ));
        }
        let mut success = ResponseBuilder::new().description("Done.");
        if let Some((kind, named)) = operation.answer {
            let schema = self.keep(named);
            success = success.content(kind, ContentBuilder::new().schema(Some(schema)).build());
        }
        built = built.response("200", success.build());
        let failure = self.keep(Named::of::<nonna_api::Failure>());
        built = built.response(
            "default",
            ResponseBuilder::new()
                .description("What failed, whose fault it is and how to mend it.")
                .content(
                    "application/json",
                    ContentBuilder::new().schema(Some(failure)).build(),
                )
                .build(),
        );
        if operation.permission != Permission::Public {
            built = built.security(SecurityRequirement::new("token", Vec::<String>::new()));
        }
        self.paths = self
            .paths
            .path(operation.path, PathItem::new(operation.method, built.build()));
        self
    }

    /// Puts a schema among the named ones and answers what refers to it.
    fn keep(&mut self, named: Named) -> RefOr<Schema> {
        let mut components = std::mem::take(&mut self.components);
        components = components.schemas_from_iter(named.others);
        let schema = match named.name {
            Some(name) => {
                components = components.schema(name.clone(), named.schema);
                RefOr::Ref(Ref::from_schema_name(name))
            }
            None => named.schema,
        };
        self.components = components;
        schema
    }

    /// The router and the document.
    pub(crate) fn finish(self) -> (axum::Router<Arc<App>>, OpenApi) {
        let document = OpenApiBuilder::new()
            .info(
                InfoBuilder::new()
                    .title("Nonna")
                    .version(env!("CARGO_PKG_VERSION"))
                    .description(Some("The control plane's API."))
                    .build(),
            )
            .paths(self.paths.build())
            .components(Some(self.components.build()))
            .build();
        (self.router, document)
    }
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

#[derive(Clone)]
struct Guard {
    app: Arc<App>,
    permission: Permission,
}

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn authorize(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match check(&guard, request.headers()).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn check(guard: &Guard, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let Some(token) = bearer(headers) else {
        return Err(Error::user(Code::Unauthenticated, "A token is needed.")
            .hint("Log in: `nonna login`. On the server, `nonna server login-code` makes a one-time code.")
            .into());
    };
    let identity = auth::identify(guard.app.store.as_ref(), token).await?;
    if identity.may(guard.permission) {
        Ok(identity)
    } else {
        Err(Error::user(
            Code::Forbidden,
            format!("The token `{}` may not do that.", identity.name),
        )
        .into())
    }
}
