//! `mutt-operator --check`: whether the operator of this cluster works, as `helm test` asks it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ApiResource, GroupVersionKind, ListParams};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Context, Fatal,
    leadership::{OWN_KINDS, OWN_VERSION},
    lease::{Candidate, holder},
    scope::{dynamic_api_in, scopes},
};

/// How long a leader may take to show itself: an installation pulls its image first.
const LEADER_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Bound of one request.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints one line per check to standard output; `Err` names what is wrong.
pub async fn check(context: &Context) -> Result<(), Fatal> {
    let version = asked(context.client.apiserver_version()).await.map_err(finding("the API server does not answer"))?;
    println!("API server {}", version.git_version);
    for kind in OWN_KINDS {
        for scope in scopes(&context.args.watch_namespaces) {
            let listed = readable(context, kind, scope.as_deref()).await;
            let place = scope.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"));
            listed.map_err(finding(format!("{kind} cannot be read in {place}")))?;
            println!("{kind}: readable in {place}");
        }
    }
    match Candidate::of(context) {
        None => println!("no leader election"),
        Some(candidate) => println!("leader: {}", leader(&candidate).await?),
    }
    Ok(())
}

async fn readable(context: &Context, kind: &str, namespace: Option<&str>) -> Result<(), kube::Error> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mutt.dev", OWN_VERSION, kind));
    let api = dynamic_api_in(context.client.clone(), namespace, &resource);
    asked(api.list(&ListParams::default().limit(1))).await.map(drop)
}

/// The holder of a Lease that is being renewed: seen to change, so that no two clocks are compared.
async fn leader(candidate: &Candidate) -> Result<String, Fatal> {
    let until = Instant::now() + LEADER_WITHIN;
    let mut first: Option<Lease> = None;
    let mut trouble = String::new();
    while Instant::now() < until {
        match asked(candidate.api.get_opt(&candidate.name)).await {
            Ok(Some(lease)) => match (holder(&lease), &first) {
                (None, _) => trouble = format!("the Lease {} is held by nobody", candidate.name),
                (Some(leader), Some(seen)) if seen.metadata.resource_version != lease.metadata.resource_version => {
                    return Ok(leader.to_owned());
                }
                (Some(leader), _) => {
                    trouble = format!("the Lease {} is held by {leader}, who does not renew it", candidate.name);
                    first.get_or_insert(lease);
                }
            },
            Ok(None) => trouble = format!("there is no Lease {}; does the operator run?", candidate.name),
            Err(error) => trouble = format!("the Lease {} cannot be read: {error}", candidate.name),
        }
        sleep(LOOK_EVERY).await;
    }
    Err(Fatal::Check(trouble))
}

async fn asked<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    timeout(ASK_TIMEOUT, request).await.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into())))
}

fn finding(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Fatal {
    let what = what.into();
    move |error| Fatal::Check(format!("{what}: {error}"))
}
