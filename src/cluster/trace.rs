//! Requests as `--verbose` shows them: method, path and status. Headers and bodies may hold secrets and are
//! never shown.

use std::time::Instant;

use http::{Request, Uri};
use kube::Client;
use kube::client::Body;
use tower::BoxError;

use crate::metrics::Tell;

/// A client that tells of each of its requests when it is answered.
pub(super) fn traced(client: Client, tell: Tell) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, tell) = (client.clone(), tell.clone());
        async move {
            let (method, place) = (request.method().clone(), place(request.uri()));
            let begun = Instant::now();
            let answer = client.send(request).await;
            let how = match &answer {
                Ok(response) => response.status().as_u16().to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let took = begun.elapsed().as_millis();
            tell(format!("request: {method} {place} {how} in {took} ms"));
            answer.map_err(BoxError::from)
        }
    });
    Client::new(service, namespace)
}

/// What is asked for, without the server: its address may hold a password. Queries that go through the service
/// proxy are told of as queries.
fn place(uri: &Uri) -> String {
    match uri.query() {
        Some(query) if !uri.path().contains("/proxy/") => format!("{}?{query}", uri.path()),
        _ => uri.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_path_and_parameters_are_shown() {
        for (uri, expected) in [
            (
                "https://me:secret@host:6443/api/v1/pods?limit=5",
                "/api/v1/pods?limit=5",
            ),
            (
                "/api/v1/namespaces/m/services/p:9090/proxy/api/v1/query?query=up",
                "/api/v1/namespaces/m/services/p:9090/proxy/api/v1/query",
            ),
            ("/version", "/version"),
        ] {
            assert_eq!(place(&uri.parse().unwrap()), expected);
        }
    }
}
