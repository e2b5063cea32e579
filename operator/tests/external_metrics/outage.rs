//! Redis goes away, or its password changes: the last value is held, then an error, never 0.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use mutt_crds::MuttPipeline;
use mutt_operator::external_metrics::queues::Limits;
use mutt_servers::{RedisOptions, RedisServer};
use serde_json::json;

use super::site::{Server, accept, admin, eventually, identity, make_namespace, make_pipeline, path, values};

const ROOT: [(&str, &str); 2] = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")];

fn limits(hold: Duration) -> Limits {
    Limits { hold, ..Limits::default() }
}

async fn eventually_reads(server: &Server, ask: &reqwest::Client, expected: u16) {
    let depth = path("outage", "mutt_queue_depth", "pipeline=core");
    eventually(async || match server.get(ask, &depth, &ROOT).await {
        (code, _) if code == expected => Ok(()),
        (code, body) => Err(format!("{code} instead of {expected}: {body}")),
    })
    .await;
}

#[tokio::test]
async fn without_redis_the_last_value_is_held_and_then_an_error() {
    let client = admin().await;
    make_namespace(&client, "outage").await;
    let (redis, other) = (RedisServer::start().await.unwrap(), RedisServer::start().await.unwrap());
    make_pipeline(&client, "outage", "core", &redis, None).await;
    make_pipeline(&client, "outage", "edge", &other, None).await;
    accept(&redis, "outage", "core", 7).await;
    // One that holds for longer than this test, and one that does not hold.
    let holds = Server::start(client.clone(), "holds", "mutt-system", limits(Duration::from_secs(3_600))).await;
    let tells = Server::start(client.clone(), "tells", "mutt-system", limits(Duration::ZERO)).await;
    let front_proxy = identity("front-proxy").await;
    let of_core = path("outage", "mutt_queue_depth", "pipeline=core,queue=ingest");
    let seven =
        [("core/ingest/waiting".to_owned(), "7".to_owned()), ("core/ingest/processing".to_owned(), "0".to_owned())];
    let (ask_holds, ask_tells) = (holds.client(Some(&front_proxy)), tells.client(Some(&front_proxy)));
    for (server, ask) in [(&holds, &ask_holds), (&tells, &ask_tells)] {
        server.ready().await;
        let (code, body) = server.get(ask, &of_core, &ROOT).await;
        assert_eq!((code, values(&body)), (200, seven.to_vec()), "{body}");
        let (code, body) = server.scaling("outage", "core").await;
        assert_eq!(code, 200, "{body}");
        assert_eq!(
            (&body["ingest"]["depth"], &body["ingest"]["waiting"], &body["ingest"]["processing"]),
            (&json!(7), &json!(7), &json!(0))
        );
        assert!(body["ingest"]["oldestAgeSeconds"].as_f64().unwrap() > 7e8, "{body}");
        assert_eq!(body["alert"], json!({"depth": 0, "waiting": 0, "processing": 0, "oldestAgeSeconds": 0.0}));
        assert_eq!(server.scaling("outage", "none").await.0, 404);
    }
    redis.stop().await.unwrap();
    let away = eventually(async || match tells.get(&ask_tells, &of_core, &ROOT).await {
        (503, body) => Ok(body["message"].as_str().unwrap().to_owned()),
        (code, body) => Err(format!("{code} {body}")),
    })
    .await;
    assert!(
        away.contains("pipeline outage/core") && away.contains(&format!("redis at 127.0.0.1:{}", redis.port())),
        "{away}"
    );
    // A sum that lacks one of its terms is none.
    assert_eq!(tells.get(&ask_tells, &path("outage", "mutt_queue_depth", "queue=ingest"), &ROOT).await.0, 503);
    assert_eq!(tells.get(&ask_tells, &path("outage", "mutt_queue_depth", "pipeline=edge"), &ROOT).await.0, 200);
    let (code, body) = tells.scaling("outage", "core").await;
    assert!(code == 503 && body["error"].as_str().unwrap().contains("outage/core"), "{code} {body}");
    eventually(async || {
        let (code, body) = holds.get(&ask_holds, &of_core, &ROOT).await;
        assert_eq!((code, values(&body)), (200, seven.to_vec()), "{body}");
        let stale = r#"reads_total{namespace="outage",outcome="stale",pipeline="core"}"#;
        if holds.metrics().contains(stale) { Ok(()) } else { Err(holds.metrics()) }
    })
    .await;
    assert!(tells.metrics().contains(r#"reads_total{namespace="outage",outcome="error",pipeline="core"}"#));
    tells.ready().await;

    redis.restart().await.unwrap();
    accept(&redis, "outage", "core", 9).await;
    // One that is frozen is away, too, and its connection is not waited for again when it goes on.
    eventually_reads(&tells, &ask_tells, 200).await;
    redis.pause().unwrap();
    eventually_reads(&tells, &ask_tells, 503).await;
    redis.resume().unwrap();
    for (server, ask) in [(&holds, &ask_holds), (&tells, &ask_tells)] {
        eventually(async || {
            match server
                .get(ask, &path("outage", "mutt_queue_depth", "pipeline=core,state=waiting,queue=ingest"), &ROOT)
                .await
            {
                (200, body) if values(&body)[0].1 != "7" => Ok(()),
                (code, body) => Err(format!("{code} {body}")),
            }
        })
        .await;
    }
    // A pipeline that is deleted is forgotten, with its series.
    Api::<MuttPipeline>::namespaced(client, "outage").delete("core", &DeleteParams::default()).await.unwrap();
    eventually(async || match holds.scaling("outage", "core").await {
        (404, _) => Ok(()),
        (code, body) => Err(format!("{code} {body}")),
    })
    .await;
    assert!(!holds.metrics().contains(r#"pipeline="core""#), "{}", holds.metrics());
}

#[tokio::test]
async fn a_new_password_is_read_when_the_old_one_is_refused() {
    let client = admin().await;
    make_namespace(&client, "password").await;
    let redis = RedisOptions::new().password("first").start().await.unwrap();
    make_pipeline(&client, "password", "core", &redis, Some("redis")).await;
    let server = Server::start(client.clone(), "password", "mutt-system", limits(Duration::ZERO)).await;
    server.ready().await;
    let ask = server.client(Some(&identity("front-proxy").await));
    let depth = path("password", "mutt_queue_depth", "pipeline=core");
    let answers = async |code: u16, said: &str| {
        eventually(async || match server.get(&ask, &depth, &ROOT).await {
            (is, body) if is == code && body.to_string().contains(said) => Ok(()),
            (is, body) => Err(format!("{is} {body}")),
        })
        .await;
    };
    let secrets: Api<Secret> = Api::namespaced(client, "password");
    let write = async |password: &str| {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"}, "stringData": {"REDIS_PASS": password}});
        secrets.patch("redis", &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    };
    answers(503, "Secret password/redis does not exist").await;
    write("wrong").await;
    answers(503, "check REDIS_PASS in the Secret redis").await;
    // Whoever asks on the plain port is not asked who they are: why is not for them.
    let (code, body) = server.scaling("password", "core").await;
    assert!(code == 503 && !body.to_string().contains("redis"), "{code} {body}");
    write("first").await;
    answers(200, "mutt_queue_depth").await;
}
