//! Nobody is believed but the API server's front proxy and tokens that the API server knows; nobody is answered without a
//! right.

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, api::PostParams};
use mutt_operator::external_metrics::queues::Limits;
use mutt_servers::RedisServer;
use serde_json::{Value, json};

use super::{
    authority::Authority,
    site::{
        Server, accept, admin, apply, client_of, cluster, eventually, identity, make_namespace, make_pipeline, path,
        values,
    },
};

const DISCOVERY: &str = "/apis/external.metrics.k8s.io/v1beta1";
const ROOT: [(&str, &str); 2] = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")];

/// A server, and a pipeline in a namespace of that name.
async fn site(name: &str) -> (Server, RedisServer) {
    let client = admin().await;
    let redis = RedisServer::start().await.unwrap();
    make_namespace(&client, name).await;
    make_pipeline(&client, name, "core", &redis, None).await;
    accept(&redis, name, "core", 3).await;
    let server = Server::start(client, name, "mutt-system", Limits::default()).await;
    server.ready().await;
    (server, redis)
}

fn message(body: &Value) -> &str {
    body["message"].as_str().unwrap()
}

#[tokio::test]
async fn headers_are_believed_only_of_the_front_proxy() {
    let (server, _redis) = site("impostors").await;
    let depth = path("impostors", "mutt_queue_depth", "pipeline=core");
    let (front_proxy, mallory) = (identity("front-proxy").await, identity("mallory").await);
    let other = Authority::new().client("front-proxy");
    for (who, identity, said) in [
        ("no certificate", None, "neither the API server's front proxy"),
        ("the right CA, another name", Some(&mallory), "\"mallory\" is not among"),
        ("another CA, the right name", Some(&other), "none of the API server's front proxy"),
    ] {
        let client = server.client(identity.map(String::as_str));
        for path in [depth.as_str(), DISCOVERY, "/apis", "/openapi/v2", "/version", "/", "/nothing"] {
            let (code, body) = server.get(&client, path, &ROOT).await;
            assert!(code == 401 && message(&body).contains(said), "{who}, {path}: {code} {body}");
        }
        for path in ["/healthz", "/livez", "/readyz"] {
            assert_eq!(server.get(&client, path, &[]).await.0, 200, "{who}, {path}");
        }
    }
    let client = server.client(Some(&front_proxy));
    let (code, body) = server.get(&client, &depth, &ROOT).await;
    assert_eq!((code, values(&body).len()), (200, 4), "{body}");
    let (code, body) = server.get(&client, &depth, &[("X-Remote-Group", "system:masters")]).await;
    assert_eq!(code, 401, "a group is nobody: {body}");
    // Whom it names has their own rights, no more.
    let (code, body) = server.get(&client, &depth, &[("X-Remote-User", "mallory")]).await;
    assert_eq!(code, 403, "{body}");
    assert!(message(&body).contains(r#"User "mallory" cannot list resource "mutt_queue_depth""#), "{body}");
    let (code, body) = server.get(&client, DISCOVERY, &[("X-Remote-User", "mallory")]).await;
    assert_eq!((code, &body["resources"][0]["name"]), (200, &json!("mutt_queue_depth")), "known to all who are known");
    let unknown = [("X-Remote-User", "system:anonymous"), ("X-Remote-Group", "system:unauthenticated")];
    assert_eq!(server.get(&client, DISCOVERY, &unknown).await.0, 403);
    let text = server.metrics();
    for code in [200, 401, 403] {
        let series = format!("mutt_operator_external_metrics_requests_total{{code=\"{code}\"}}");
        assert!(text.contains(&series), "{series} in {text}");
    }
}

#[tokio::test]
async fn a_token_is_its_accounts_and_rights_are_the_api_servers_to_grant() {
    let (server, _redis) = site("tokens").await;
    let client = admin().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "tokens");
    apply(
        &client,
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader", "namespace": "tokens"}}),
    )
    .await;
    let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
    let answer = accounts.create_token_request("reader", &PostParams::default(), &request).await.unwrap();
    let bearer = format!("Bearer {}", answer.status.unwrap().token);
    let plain = server.client(None);
    let authorization = [("Authorization", bearer.as_str())];
    let depth = path("tokens", "mutt_queue_depth", "queue=ingest,state=waiting");
    let (code, body) = server.get(&plain, &depth, &authorization).await;
    assert_eq!(code, 403, "{body}");
    assert!(message(&body).contains("system:serviceaccount:tokens:reader"), "{body}");
    let rbac = "rbac.authorization.k8s.io";
    for object in [
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": "reader", "namespace": "tokens"},
               "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["mutt_queue_depth"], "verbs": ["list"]}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": "reader", "namespace": "tokens"},
               "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
               "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "tokens"}]}),
    ] {
        apply(&client, &object).await;
    }
    // The refusal is believed for at most ten seconds.
    let list = eventually(async || match server.get(&plain, &depth, &authorization).await {
        (200, body) => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    })
    .await;
    assert_eq!(values(&list), [("core/ingest/waiting".to_owned(), "3".to_owned())]);
    // That right is for this metric in this namespace.
    for path in [path("tokens", "mutt_queue_oldest_age_seconds", ""), path("default", "mutt_queue_depth", "")] {
        assert_eq!(server.get(&plain, &path, &authorization).await.0, 403, "{path}");
    }
    for made_up in ["Bearer abc", "Bearer a.b.c", "Basic abc"] {
        assert_eq!(server.get(&plain, &depth, &[("Authorization", made_up)]).await.0, 401, "{made_up}");
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_apart() {
    let (server, _redis) = site("errors").await;
    let client = server.client(Some(&identity("front-proxy").await));
    for (path, code, said) in [
        (path("errors", "mutt_queue_depth", "pipeline in (core"), 400, "label selector cannot be read"),
        (path("errors", "mutt_queue_length", ""), 404, "there are mutt_queue_depth and mutt_queue_oldest_age_seconds"),
        (path("errors", "mutt_queue_depth", "pipeline=edge"), 404, "there are the MuttPipelines core"),
        (path("default", "mutt_queue_depth", "pipeline=core"), 404, "there is no MuttPipeline"),
        ("/apis/external.metrics.k8s.io/v1".to_owned(), 404, "nothing under this path"),
        (path("errors", "mutt_queue_depth", "") + "&watch=true", 405, "cannot be watched"),
    ] {
        let (is, body) = server.get(&client, &path, &ROOT).await;
        assert!(is == code && message(&body).contains(said), "{path}: {is} {body}");
    }
    let deleted = client.delete(server.url("/apis")).header(ROOT[0].0, ROOT[0].1).header(ROOT[1].0, ROOT[1].1);
    assert_eq!(deleted.send().await.unwrap().status(), 405);
    let aggregated =
        [ROOT[0], ROOT[1], ("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    assert_eq!(server.get(&client, "/apis", &aggregated).await.0, 406);
}

#[tokio::test]
async fn an_operator_that_cannot_ask_believes_nobody() {
    let stranger = cluster().await.kubeconfig_of("stranger", None).unwrap();
    let server = Server::start(client_of(&stranger).await, "stranger", "mutt-system", Limits::default()).await;
    let front_proxy = server.client(Some(&identity("front-proxy").await));
    let plain = server.client(None);
    eventually(async || {
        let (code, body) = server.get(&front_proxy, DISCOVERY, &ROOT).await;
        let is_said = code == 503 && message(&body).contains("extension-apiserver-authentication, by which");
        assert_eq!(code, 503, "{body}");
        if is_said && message(&body).contains("forbidden") { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    let (code, body) = server.get(&plain, DISCOVERY, &[("Authorization", "Bearer abc")]).await;
    assert!(code == 503 && message(&body).contains("whose the bearer token is"), "{code} {body}");
    let (code, body) = server.get(&plain, "/readyz", &[]).await;
    assert!(code == 503 && body.as_str().unwrap().contains("MuttPipelines are not listed yet"), "{code} {body}");
    assert_eq!(server.get(&plain, "/livez", &[]).await.0, 200);
    let (code, body) = server.scaling("default", "core").await;
    assert!(code == 503 && body["error"].as_str().unwrap().contains("not been listed yet"), "{code} {body}");
}
