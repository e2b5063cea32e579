//! Nothing needs a restart: neither another request-header CA, nor another certificate of the server's own.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mutt_operator::external_metrics::queues::Limits;
use serde_json::json;

use super::{
    authority::Authority,
    site::{Server, admin, eventually, identity},
};

const CA: &str = "requestheader-client-ca-file";
const DISCOVERY: &str = "/apis/external.metrics.k8s.io/v1beta1";

#[tokio::test]
async fn another_request_header_ca_is_followed() {
    let admin = admin().await;
    let server = Server::start(admin.clone(), "rotation", "mutt-system", Limits::default()).await;
    server.ready().await;
    let next = Authority::new();
    // Its connection stays open over the rotation: each request is judged anew.
    let (old, new) =
        (server.client(Some(&identity("front-proxy").await)), server.client(Some(&next.client("front-proxy"))));
    let maps: Api<ConfigMap> = Api::namespaced(admin, "kube-system");
    let before = maps.get("extension-apiserver-authentication").await.unwrap().data.unwrap()[CA].clone();
    let code = async |client: &reqwest::Client| server.get(client, DISCOVERY, &[("X-Remote-User", "somebody")]).await.0;
    let write = async |bundle: &str| {
        let patch = json!({"data": {CA: bundle}});
        maps.patch("extension-apiserver-authentication", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    assert_eq!((code(&old).await, code(&new).await), (200, 401));
    write(&format!("{before}\n{}", next.pem)).await;
    let becomes = async |client: &reqwest::Client, expected: u16| {
        eventually(async || match code(client).await {
            is if is == expected => Ok(()),
            is => Err(format!("{is} instead of {expected}")),
        })
        .await;
    };
    becomes(&new, 200).await;
    assert_eq!(code(&old).await, 200);
    write(&before).await;
    becomes(&new, 401).await;
    assert_eq!(code(&old).await, 200);
}

#[tokio::test]
async fn the_servers_certificate_is_swapped_and_an_orderly_end_finishes_what_is_under_way() {
    let mut server = Server::start(admin().await, "swapped", "mutt-system", Limits::default()).await;
    server.ready().await;
    server.context.external_metrics.set_certificate(None);
    let refused = server.client(None).get(server.url("/livez")).send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let before = std::mem::replace(&mut server.authority, Authority::new());
    server.context.external_metrics.set_certificate(Some(server.authority.server(&server.host)));
    let client = server.client(None);
    assert_eq!(server.get(&client, "/livez", &[]).await.0, 200);
    server.authority = before;
    assert!(server.client(None).get(server.url("/livez")).send().await.unwrap_err().is_connect());
    server.end.request();
    // The client's connection is idle and open: it does not keep the server.
    server.task.await.unwrap().unwrap();
    assert!(client.get(format!("https://{}:{}/livez", server.host, server.port)).send().await.is_err());
}
