//! Keys, unknown paths and methods, bodies, health.

use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, PATIENCE, Site, assert_refused, read};

#[tokio::test]
async fn only_a_good_key_opens_the_api() {
    let site = Site::start_with(&[("WEBUI_API_KEY_NEXT", "the-next-key")]).await;
    for path in ["/api/v1/rules", "/api/v2/rules", "/api/v2/nothing", "/nothing", "/api/v2/slo"] {
        assert_refused(&read(site.bare(Method::GET, path).send().await.unwrap()).await, 401, "Unauthorized");
    }
    for key in ["", "wrong", "key-of-the-tes", "key-of-the-test ", "KEY-OF-THE-TEST", "schl\u{fc}ssel"] {
        let request = site.bare(Method::GET, "/api/v2/rules").header("X-API-KEY", key.as_bytes());
        // Whitespace at the end of a header's value is none of the value (RFC 9110, section 5.5).
        let expected = if key.trim() == KEY { 200 } else { 401 };
        assert_eq!(read(request.send().await.unwrap()).await.0, expected, "{key}");
    }
    let in_url = site.bare(Method::GET, &format!("/api/v2/rules?api_key={KEY}"));
    assert_eq!(in_url.send().await.unwrap().status(), 401);
    for (key, name) in [(KEY, "WEBUI_API_KEY"), ("the-next-key", "WEBUI_API_KEY_NEXT")] {
        let request = site.bare(Method::POST, "/api/v1/dev-hosts").header("X-API-KEY", key);
        assert_eq!(request.json(&json!({"hostname": name})).send().await.unwrap().status(), 201);
        let logs = site.get(&format!("/audit?changed_by={name}")).await.1;
        assert_eq!(logs["logs"][0]["record_id"], name);
    }
    site.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json() {
    let site = Site::start().await;
    for path in ["/slos", "/nothing", "/rules/1/2", "/", "/config/history/x", "/audit-logs/"] {
        assert_refused(&site.get(path).await, 404, "path");
    }
    for (method, path) in [
        (Method::DELETE, "/rules"),
        (Method::POST, "/rules/1"),
        (Method::PATCH, "/rules/1"),
        (Method::POST, "/audit-logs"),
        (Method::GET, "/dev-hosts/a"),
        (Method::GET, "/config/moog_rate_limit"),
        (Method::POST, "/config"),
    ] {
        let response = site.request(method.clone(), path).send().await.unwrap();
        assert!(response.headers().contains_key("allow"), "{method} {path}");
        assert_refused(&read(response).await, 405, "method");
    }
    site.stop().await;
}

#[tokio::test]
async fn bodies_are_json_of_a_bounded_size() {
    let site = Site::start().await;
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = site.request(Method::POST, "/dev-hosts").header("content-type", content_type).body(body);
        read(request.send().await.unwrap()).await
    };
    let good = || br#"{"hostname":"a"}"#.to_vec();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
    {
        assert_refused(&send(content_type, good()).await, 415, "application/json");
    }
    assert_eq!(send("application/json; charset=utf-8", good()).await.0, 201);
    let large = format!(r#"{{"hostname":"{}"}}"#, "x".repeat(1024 * 1024)).into_bytes();
    assert_refused(&send("application/json", large).await, 413, "bytes");
    for body in
        [&b""[..], b"{", b"[]", b"null", b"3", b"\"a\"", b"{\"hostname\":\"a\"} x", b"\xff\xfe", b"{\"hostname\":NaN}"]
    {
        assert_refused(&send("application/json", body.to_vec()).await, 400, "");
    }
    let deep = [b"{\"hostname\":".to_vec(), vec![b'['; 100_000]].concat();
    assert_refused(&send("application/json", deep).await, 400, "JSON");
    site.stop().await;
}

#[tokio::test]
async fn without_a_key_there_are_health_version_document_and_a_signpost() {
    let site = Site::start().await;
    let ready = async {
        while site.bare(Method::GET, "/ready").send().await.unwrap().status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("ready");
    for path in ["/live", "/ready", "/health"] {
        assert_eq!(read(site.bare(Method::GET, path).send().await.unwrap()).await.0, 200, "{path}");
    }
    let health = read(site.bare(Method::GET, "/health").send().await.unwrap()).await.1;
    assert_eq!((health["status"].as_str(), health["service"].as_str()), (Some("healthy"), Some("mutt-webui")));
    assert_eq!((health["redis"].as_str(), health["database"].as_str()), (Some("connected"), Some("connected")));
    for version in ["v1", "v2"] {
        let answer = site.bare(Method::GET, &format!("/api/{version}/version")).send().await.unwrap();
        assert_eq!(read(answer).await.1["version"], env!("CARGO_PKG_VERSION"));
    }
    let document = read(site.bare(Method::GET, "/api/openapi.json").send().await.unwrap()).await.1;
    assert!(document["paths"]["/api/v2/rules/{id}"]["put"].is_object());
    let signpost = site.bare(Method::GET, "/").send().await.unwrap();
    assert!(signpost.text().await.unwrap().contains("/api/openapi.json"));
    site.stop().await;
}

#[tokio::test]
async fn answers_carry_the_correlation_id() {
    let site = Site::start().await;
    for (sent, kept) in [("abc-1.2_3", true), ("with space", false), (&"x".repeat(129), false)] {
        let request = site.request(Method::GET, "/teams").header("X-Correlation-ID", sent);
        let response = request.send().await.unwrap();
        let got = response.headers()["x-correlation-id"].to_str().unwrap().to_owned();
        assert_eq!(got == sent, kept, "{sent}: {got}");
        assert!(!got.is_empty());
        assert_eq!(read(response).await.1, json!({"teams": []}));
    }
    site.stop().await;
}

/// Every documented operation exists, and every one but `version` needs the key.
#[tokio::test]
async fn the_document_and_the_routes_agree() {
    let site = Site::start().await;
    let document: Value = serde_json::from_str(&super::super::openapi::document().unwrap()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let path = path.replace("{id}", "1").replace("{hostname}", "h").replace("{key}", "k");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let (status, _) = read(site.bare(method.clone(), &path).send().await.unwrap()).await;
            assert_eq!(status, if path.ends_with("/version") { 200 } else { 401 }, "{method} {path}");
            let (status, body) =
                read(site.bare(method.clone(), &path).header("X-API-KEY", KEY).send().await.unwrap()).await;
            let unknown = body["error"].as_str().is_some_and(|error| error.contains("no such path"));
            assert!(status != 405 && !unknown, "{method} {path}: {status} {body}");
        }
    }
    site.stop().await;
}
