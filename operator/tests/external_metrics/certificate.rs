//! The serving certificate: made once however many begin, renewed without a gap, put right when it is broken.

use std::collections::BTreeSet;

use axum::http::Request;
use kube::api::{DeleteParams, Patch, PatchParams};
use mutt_operator::{external_metrics::certificate::Pace, runtime::args::CertificateSource};
use serde_json::json;
use tokio::time::Duration;

use super::{
    replica::{API_SERVICE, Installation, SERVICE, alone, bundle_of, quick},
    site::eventually,
};

#[tokio::test]
async fn of_many_replicas_that_begin_at_once_one_makes_it() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "many").await;
    let mut replicas = Vec::new();
    for _ in 0..5 {
        replicas.push(installation.replica(false, CertificateSource::Own, quick()).await);
    }
    let mut shown = BTreeSet::new();
    for replica in &replicas {
        shown.insert(replica.shows().await);
    }
    assert_eq!(shown.len(), 1);
    let secret = installation.secrets().get(SERVICE).await.unwrap();
    let writers: Vec<_> = secret.metadata.managed_fields.unwrap().into_iter().map(|entry| entry.manager).collect();
    assert_eq!(writers, [Some("mutt-operator".to_owned())]);
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_broken_is_put_back_as_it_was() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "broken").await;
    let replica = installation.replica(false, CertificateSource::Own, quick()).await;
    let shown = replica.shows().await;
    let secrets = installation.secrets();
    let before = secrets.get(SERVICE).await.unwrap();
    let back = async |uid: Option<&String>| {
        eventually(async || match secrets.get_opt(SERVICE).await.unwrap() {
            Some(now) if now.data == before.data && uid.is_none_or(|uid| now.metadata.uid.as_ref() == Some(uid)) => {
                Ok(())
            }
            _ => Err("it is not as it was".to_owned()),
        })
        .await;
    };
    secrets.delete(SERVICE, &DeleteParams::default()).await.unwrap();
    back(None).await;
    let broken = json!({"data": {"tls.crt": "YnJva2Vu", "ca.crt": null}});
    let broken = secrets.patch(SERVICE, &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    back(broken.metadata.uid.as_ref()).await;
    assert_eq!(replica.shows().await, shown);
    // A replica that begins with a broken one, and holds none, makes another.
    drop(replica);
    let broken = json!({"data": {"tls.crt": "YnJva2Vu"}});
    secrets.patch(SERVICE, &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    let replica = installation.replica(false, CertificateSource::Own, quick()).await;
    let other = replica.shows().await;
    assert_ne!(other, shown);
    let bundle = secrets.get(SERVICE).await.unwrap().data.unwrap()["ca.crt"].clone();
    replica.ask(&bundle.0).await.unwrap();
}

#[tokio::test]
async fn an_expired_certificate_is_followed_by_another_though_nobody_leads() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "expired").await;
    let pace = Pace { valid_for: Duration::from_secs(2), renew_before: Duration::ZERO, ..quick() };
    let replica = installation.replica(false, CertificateSource::Own, pace).await;
    let first = replica.shows().await;
    eventually(async || match replica.certificate() {
        Some(now) if now != first => Ok(()),
        _ => Err("the same is shown".to_owned()),
    })
    .await;
}

/// The API server itself asks both replicas, and so does a client that trusts the APIService's `caBundle` and nothing else, again and
/// again, while the certificate is renewed every few seconds.
#[tokio::test]
async fn a_renewal_refuses_nobody_at_any_moment() {
    const RENEWALS: usize = 1;
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "renewed").await;
    let pace = Pace {
        valid_for: Duration::from_secs(24 * 3600),
        // Two seconds after it was made.
        renew_before: Duration::from_secs(24 * 3600 - 2),
        settle: Duration::from_secs(15),
        ..quick()
    };
    let leader = installation.replica(true, CertificateSource::Own, pace).await;
    let standby = installation.replica(false, CertificateSource::Own, pace).await;
    installation.publish(&[&leader, &standby]).await;
    leader.want(true);
    installation.taken().await;
    leader.shows().await;
    standby.shows().await;
    let mut shown = [BTreeSet::new(), BTreeSet::new()];
    let mut reached = 0;
    eventually(async || {
        let service = installation.services().get(API_SERVICE).await.unwrap();
        let bundle = bundle_of(&service);
        for (replica, shown) in [&leader, &standby].into_iter().zip(&mut shown) {
            replica.ask(&bundle).await.unwrap();
            shown.insert(replica.certificate());
        }
        let discovery = Request::get("/apis/external.metrics.k8s.io/v1beta1").body(Vec::new()).unwrap();
        match client.request_text(discovery).await {
            Ok(_) => reached += 1,
            // On a busy machine it may be late; what it may never be is mistrustful.
            Err(error) => assert!(!error.to_string().contains("x509"), "{error}"),
        }
        let status = format!("{:?}", service.status);
        assert!(!status.contains("x509"), "{status}");
        let fewest = shown.iter().map(BTreeSet::len).min().unwrap_or_default();
        if fewest > RENEWALS && reached > 0 {
            Ok(())
        } else {
            Err(format!("{fewest} certificates, {reached} answers; {status}"))
        }
    })
    .await;
    eventually(async || match leader.context.metrics.exposition(std::iter::empty()) {
        text if text.contains("mutt_operator_external_metrics_serving 1") => Ok(()),
        text => Err(text),
    })
    .await;
    leader.want(false);
    installation.free().await;
}
