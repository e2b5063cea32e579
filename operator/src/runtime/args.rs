//! Flags and environment variables, in two stages: texts as given, then values, with all faults reported at once.

use std::{fmt, time::Duration};

use clap::Parser;
use tracing_subscriber::EnvFilter;

use super::telemetry::LogFormat;

/// What the operator was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Only these namespaces are looked at; empty = all.
    pub watch_namespaces: Vec<String>,
    /// `None` = this process writes without asking, so it must be the only one.
    pub election: Option<Election>,
    /// This process, as Events and the Lease name it.
    pub pod_name: String,
    /// Where this process runs; `None` = as the kubeconfig says.
    pub pod_namespace: Option<String>,
    /// The worker image of pipelines that name none.
    pub worker_image: String,
    /// Port of `/live`, `/ready` and `/metrics`; 0 = a free one.
    pub http_port: u16,
    /// `tracing` filter.
    pub log_filter: String,
    /// `None` = text on a terminal, JSON else.
    pub log_format: Option<LogFormat>,
    /// Reconciles of different pipelines at the same time.
    pub concurrency: u16,
    /// How `external.metrics.k8s.io` is served.
    pub external_metrics: ExternalMetricsArgs,
    /// The Service in front of `http_port`, in the pod's namespace; KEDA asks it for the queues. `None` = there is none.
    pub service: Option<String>,
    /// Where the files of MUTT's repository are to be read, without `/` at the end: alerts lead there.
    pub runbook_base_url: Option<String>,
    /// Only look whether the operator in the cluster works, print it, and end.
    pub check: bool,
}

/// How `external.metrics.k8s.io` is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalMetricsArgs {
    /// `false` = told not to.
    pub enabled: bool,
    /// TLS port; 0 = a free one.
    pub port: u16,
    /// The Service in front of `port`, in the pod's namespace. `None` = the API server has no way here: not served.
    pub service: Option<String>,
    /// This ClusterRole owns the APIService, so that it goes with the installation. There is one wherever there is a Service.
    pub cluster_role: Option<String>,
    /// Who makes the serving certificate.
    pub certificate: CertificateSource,
    /// The Secret of the serving certificate, in the pod's namespace. `None` = named like the Service.
    pub secret: Option<String>,
}

impl Default for ExternalMetricsArgs {
    fn default() -> Self {
        let certificate = CertificateSource::default();
        Self { enabled: true, port: 8443, service: None, cluster_role: None, certificate, secret: None }
    }
}

impl ExternalMetricsArgs {
    /// `Err` = this operator does not serve it, with the reason.
    pub fn service(&self) -> Result<&str, String> {
        if !self.enabled {
            return Err(
                "the operator is told not to serve external.metrics.k8s.io (--external-metrics=false; externalMetrics.enabled in its chart, which is off by default where not all namespaces are served)".to_owned()
            );
        }
        self.service.as_deref().ok_or_else(|| {
            "the operator has no Service for external.metrics.k8s.io (--external-metrics-service)".to_owned()
        })
    }
}

/// Who makes the serving certificate of `external.metrics.k8s.io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateSource {
    /// The operator, with a CA of its own.
    #[default]
    Own,
    /// cert-manager, by a Certificate of the chart.
    CertManager,
    /// OpenShift's service CA, by an annotation of the Service.
    OpenShift,
}

impl CertificateSource {
    /// As flag and value of the chart.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::CertManager => "cert-manager",
            Self::OpenShift => "openshift",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Own, Self::CertManager, Self::OpenShift].into_iter().find(|source| source.name() == name)
    }
}

/// Which Lease decides which replica writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// The Lease's name.
    pub lease_name: String,
    /// The Lease's namespace; `None` = the pod's.
    pub lease_namespace: Option<String>,
    /// How long a leader that is not heard of keeps the others waiting.
    pub lease_duration: Duration,
}

/// Everything that is wrong with the arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// The operator of MUTT: turns MuttPipelines into running pipelines and carries AlertRules to their alerters.
#[derive(Clone, Debug, Parser)]
#[command(name = "mutt-operator", version, about)]
pub struct Given {
    /// Look only at this namespace; may be repeated (in the variable: separated by commas); none = all namespaces
    #[arg(long = "watch-namespace", env = "WATCH_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Write only while holding the Lease; `false` only where there is never a second replica
    #[arg(long, env = "LEADER_ELECTION", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true")]
    leader_election: String,
    /// Name of the Lease
    #[arg(long, env = "LEASE_NAME", value_name = "NAME", default_value = "mutt-operator")]
    lease_name: String,
    /// Namespace of the Lease [default: the pod's]
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Seconds after which a silent leader is replaced; it renews every third of them
    #[arg(long, env = "LEASE_DURATION_SECONDS", value_name = "SECONDS", default_value = "15")]
    lease_duration_seconds: String,
    /// Name of this pod, for Events and the Lease [default: the host's name]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// Namespace of this pod [default: as the service account or the kubeconfig says]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pod_namespace: Option<String>,
    /// Worker image of pipelines without `spec.image`
    #[arg(long, env = "WORKER_IMAGE", value_name = "IMAGE", default_value = concat!("mutt-worker:", env!("CARGO_PKG_VERSION")))]
    worker_image: String,
    /// Port of /live, /ready and /metrics; 0 = a free one
    #[arg(long, env = "HTTP_PORT", value_name = "PORT", default_value = "8080")]
    http_port: String,
    /// error, warn, info, debug or trace, or a filter such as `info,kube=debug`
    #[arg(long, env = "LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    log_level: String,
    /// text or json [default: text on a terminal, json else]
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// Reconciles of different pipelines at the same time, 1 to 64
    #[arg(long, env = "CONCURRENCY", value_name = "COUNT", default_value = "8")]
    concurrency: String,
    /// Serve external.metrics.k8s.io, the API with which HorizontalPodAutoscalers ask for the depth of queues
    #[arg(long, env = "EXTERNAL_METRICS", value_name = "BOOL", default_value = "true", num_args = 0..=1, default_missing_value = "true")]
    external_metrics: String,
    /// TLS port of external.metrics.k8s.io; 0 = a free one
    #[arg(long, env = "EXTERNAL_METRICS_PORT", value_name = "PORT", default_value = "8443")]
    external_metrics_port: String,
    /// Service in front of that port, in the pod's namespace [default: none, external.metrics.k8s.io is not served]
    #[arg(long, env = "EXTERNAL_METRICS_SERVICE", value_name = "NAME")]
    external_metrics_service: Option<String>,
    /// ClusterRole that owns the APIService, so that it goes when the operator is uninstalled
    #[arg(long, env = "EXTERNAL_METRICS_CLUSTER_ROLE", value_name = "NAME")]
    external_metrics_cluster_role: Option<String>,
    /// Who makes the serving certificate: own (a CA of the operator's own), cert-manager or openshift
    #[arg(long, env = "EXTERNAL_METRICS_CERTIFICATE", value_name = "SOURCE", default_value = "own")]
    external_metrics_certificate: String,
    /// Secret of the serving certificate, in the pod's namespace [default: named like the Service]
    #[arg(long, env = "EXTERNAL_METRICS_SECRET", value_name = "NAME")]
    external_metrics_secret: Option<String>,
    /// Service in front of the port of /metrics, in the pod's namespace: KEDA asks it for the depth of queues
    #[arg(long, env = "HTTP_SERVICE", value_name = "NAME")]
    service: Option<String>,
    /// Where MUTT's repository is to be read: alerts of pipelines lead to its manifests/prometheus/runbooks.md [default: they name that file]
    #[arg(long, env = "RUNBOOK_BASE_URL", value_name = "URL")]
    runbook_base_url: Option<String>,
    /// Look whether the operator in the cluster works: CRDs there and readable, a leader alive; exit code 0 = yes, 1 = no
    #[arg(long)]
    check: bool,
}

impl Args {
    /// The values, or every fault.
    pub fn new(given: Given) -> Result<Self, Faults> {
        let mut faults = Reader(Vec::new());
        let election = faults.flag("--leader-election", &given.leader_election);
        let lease_seconds: u64 = faults.number(
            "--lease-duration-seconds",
            &given.lease_duration_seconds,
            LEASE_SECONDS_MIN,
            LEASE_SECONDS_MAX,
        );
        let http_port = faults.number("--http-port", &given.http_port, 0, u64::from(u16::MAX));
        let concurrency = faults.number("--concurrency", &given.concurrency, 1, CONCURRENCY_MAX);
        let log_format = given.log_format.as_deref().and_then(|text| faults.log_format(text));
        faults.check_filter(&given.log_level);
        let watch_namespaces: Vec<String> =
            given.watch_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
        for namespace in &watch_namespaces {
            faults.check_label("--watch-namespace", namespace);
        }
        faults.check_name("--lease-name", &given.lease_name);
        for (flag, value) in [("--lease-namespace", &given.lease_namespace), ("--pod-namespace", &given.pod_namespace)]
        {
            if let Some(namespace) = value {
                faults.check_label(flag, namespace);
            }
        }
        if given.worker_image.trim().is_empty() {
            faults.0.push("--worker-image: an image is needed".to_owned());
        }
        let external_metrics = faults.external_metrics(&given);
        let service = faults.service_name("--service", given.service.as_deref());
        let runbook_base_url = faults.base_url("--runbook-base-url", given.runbook_base_url.as_deref());
        if !faults.0.is_empty() {
            return Err(Faults(faults.0));
        }
        let election = election.then(|| Election {
            lease_name: given.lease_name,
            lease_namespace: given.lease_namespace,
            lease_duration: Duration::from_secs(lease_seconds),
        });
        Ok(Self {
            watch_namespaces,
            election,
            pod_name: given.pod_name.filter(|name| !name.is_empty()).unwrap_or_else(host_name),
            pod_namespace: given.pod_namespace,
            worker_image: given.worker_image,
            http_port: http_port as u16,
            log_filter: given.log_level,
            log_format,
            concurrency: concurrency as u16,
            external_metrics,
            service,
            runbook_base_url,
            check: given.check,
        })
    }
}

/// Below 3 s a third, in which a renewal has to succeed, is shorter than a slow answer of the API server.
const LEASE_SECONDS_MIN: u64 = 3;
/// Above five minutes nobody would call it failing over.
const LEASE_SECONDS_MAX: u64 = 300;
/// More would only queue at the API server's fairness limits.
const CONCURRENCY_MAX: u64 = 64;

/// Collects faults while texts become values; a faulty text gives a value that is never used.
struct Reader(Vec<String>);

impl Reader {
    fn flag(&mut self, flag: &str, text: &str) -> bool {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => {
                self.0.push(format!("{flag}: {text:?} is neither true nor false"));
                false
            }
        }
    }

    fn number(&mut self, flag: &str, text: &str, least: u64, most: u64) -> u64 {
        match text.trim().parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.0.push(format!("{flag}: {text:?} is not a whole number from {least} to {most}"));
                least
            }
        }
    }

    fn log_format(&mut self, text: &str) -> Option<LogFormat> {
        let format = LogFormat::from_name(text);
        if format.is_none() && !text.is_empty() {
            self.0.push(format!("--log-format: {text:?} is neither text nor json"));
        }
        format
    }

    fn check_filter(&mut self, text: &str) {
        if let Err(error) = EnvFilter::try_new(text) {
            self.0.push(format!("--log-level: {text:?} is no filter: {error}"));
        }
    }

    fn external_metrics(&mut self, given: &Given) -> ExternalMetricsArgs {
        let port = self.number("--external-metrics-port", &given.external_metrics_port, 0, u64::from(u16::MAX));
        let certificate = CertificateSource::from_name(given.external_metrics_certificate.trim());
        if certificate.is_none() {
            let text = &given.external_metrics_certificate;
            self.0.push(format!("--external-metrics-certificate: {text:?} is none of own, cert-manager and openshift"));
        }
        let args = ExternalMetricsArgs {
            enabled: self.flag("--external-metrics", &given.external_metrics),
            port: port as u16,
            service: self.service_name("--external-metrics-service", given.external_metrics_service.as_deref()),
            cluster_role: given.external_metrics_cluster_role.clone().filter(|name| !name.is_empty()),
            certificate: certificate.unwrap_or_default(),
            secret: self.object_name("--external-metrics-secret", given.external_metrics_secret.as_deref()),
        };
        if args.service().is_ok() && args.cluster_role.is_none() {
            self.0.push(
                "--external-metrics-cluster-role: needed beside --external-metrics-service, as owner of the APIService, which would outlive the operator else"
                    .to_owned(),
            );
        }
        args
    }

    /// An empty text is no name, and no fault.
    fn object_name(&mut self, flag: &str, text: Option<&str>) -> Option<String> {
        let name = text.filter(|text| !text.is_empty())?;
        self.check_name(flag, name);
        Some(name.to_owned())
    }

    /// An empty text is none, and no fault. Passwords do not belong into alerts.
    fn base_url(&mut self, flag: &str, text: Option<&str>) -> Option<String> {
        let text = text.filter(|text| !text.is_empty())?;
        let usable = |url: &url::Url| {
            let bare = url.username().is_empty() && url.password().is_none();
            ["http", "https"].contains(&url.scheme()) && bare && url.query().is_none() && url.fragment().is_none()
        };
        let Some(url) = url::Url::parse(text).ok().filter(usable) else {
            self.0.push(format!("{flag}: no http or https URL without user, query and fragment"));
            return None;
        };
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    /// RFC 1035 label: what a Service is called.
    fn service_name(&mut self, flag: &str, text: Option<&str>) -> Option<String> {
        let name = text.filter(|text| !text.is_empty())?;
        let begins = name.starts_with(|first: char| first.is_ascii_lowercase());
        if name.len() > 63 || name.contains('.') || !begins || !is_subdomain(name) {
            self.0.push(format!(
                "{flag}: {name:?} is no name of a Service (at most 63 of a-z, 0-9 and -, a letter first, no - at the end)"
            ));
        }
        Some(name.to_owned())
    }

    /// RFC 1123 label: what a namespace is called.
    fn check_label(&mut self, flag: &str, text: &str) {
        if text.len() > 63 || text.contains('.') || !is_subdomain(text) {
            self.0.push(format!(
                "{flag}: {text:?} is no name of a namespace (at most 63 of a-z, 0-9 and -, no - at either end)"
            ));
        }
    }

    /// RFC 1123 subdomain: what most objects are called.
    fn check_name(&mut self, flag: &str, text: &str) {
        if text.len() > 253 || !is_subdomain(text) {
            self.0.push(format!(
                "{flag}: {text:?} is no name of an object (at most 253 of a-z, 0-9, - and ., each part beginning and ending with a letter or digit)"
            ));
        }
    }
}

fn is_subdomain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-'))
}

/// The kernel's name of this host, which in a pod is the pod's name.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "mutt-operator".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, Faults> {
        Args::new(Given::try_parse_from(std::iter::once(&"mutt-operator").chain(flags)).expect("known flags"))
    }

    #[test]
    fn the_flags_of_the_chart_are_understood() {
        let args = parse(&[
            "--watch-namespace=a",
            "--watch-namespace=b,c",
            "--leader-election=true",
            "--lease-name=rel-mutt-operator",
            "--lease-namespace=mutt",
            "--worker-image=registry/worker:3",
            "--http-port=9000",
            "--log-level=info,kube=warn",
            "--log-format=json",
            "--concurrency=4",
            "--pod-name=rel-0",
            "--pod-namespace=mutt",
            "--external-metrics=true",
            "--external-metrics-port=9443",
            "--external-metrics-service=rel-external-metrics",
            "--external-metrics-cluster-role=rel:external-metrics",
            "--external-metrics-certificate=cert-manager",
            "--external-metrics-secret=rel-external-metrics",
            "--service=rel-metrics",
            "--runbook-base-url=https://git.example.net/mutt/",
        ])
        .unwrap();
        assert_eq!(args.watch_namespaces, ["a", "b", "c"]);
        let election = args.election.unwrap();
        assert_eq!(
            (election.lease_name.as_str(), election.lease_namespace.as_deref()),
            ("rel-mutt-operator", Some("mutt"))
        );
        assert_eq!(election.lease_duration, Duration::from_secs(15));
        assert_eq!((args.http_port, args.concurrency, args.log_format), (9000, 4, Some(LogFormat::Json)));
        assert_eq!((args.pod_name.as_str(), args.pod_namespace.as_deref()), ("rel-0", Some("mutt")));
        assert_eq!(args.service.as_deref(), Some("rel-metrics"));
        assert_eq!(args.runbook_base_url.as_deref(), Some("https://git.example.net/mutt"));
        let external_metrics = ExternalMetricsArgs {
            enabled: true,
            port: 9443,
            service: Some("rel-external-metrics".to_owned()),
            cluster_role: Some("rel:external-metrics".to_owned()),
            certificate: CertificateSource::CertManager,
            secret: Some("rel-external-metrics".to_owned()),
        };
        assert_eq!(args.external_metrics, external_metrics);
    }

    #[test]
    fn all_faults_are_said_at_once() {
        let faults = parse(&[
            "--watch-namespace=Not_A_Name",
            "--leader-election=maybe",
            "--lease-name=-x",
            "--lease-duration-seconds=1",
            "--http-port=65536",
            "--log-level=info,,=",
            "--log-format=xml",
            "--concurrency=0",
            "--worker-image= ",
            "--external-metrics=perhaps",
            "--external-metrics-port=-1",
            "--external-metrics-service=9.9",
            "--external-metrics-certificate=found",
            "--external-metrics-secret=a_b",
            "--service=-",
            "--runbook-base-url=https://user:secret@git.example.net",
        ])
        .unwrap_err()
        .to_string();
        for flag in [
            "--watch-namespace",
            "--leader-election",
            "--lease-name",
            "--lease-duration-seconds",
            "--http-port",
            "--log-level",
            "--log-format",
            "--concurrency",
            "--worker-image",
            "--external-metrics:",
            "--external-metrics-port",
            "--external-metrics-service",
            "--external-metrics-certificate",
            "--external-metrics-secret",
            "--service",
            "--runbook-base-url",
        ] {
            assert!(faults.lines().any(|line| line.starts_with(flag)), "{flag} is missing in:\n{faults}");
        }
        assert!(!faults.contains("secret@"), "{faults}");
    }

    #[test]
    fn without_election_there_is_no_lease() {
        assert_eq!(parse(&["--leader-election=false"]).unwrap().election, None);
        assert!(parse(&["--leader-election"]).unwrap().election.is_some());
    }

    #[test]
    fn external_metrics_need_a_service_and_an_owner_or_say_why_they_are_off() {
        let by_hand = parse(&[]).unwrap().external_metrics;
        assert_eq!(by_hand, ExternalMetricsArgs::default());
        assert!(by_hand.service().unwrap_err().contains("--external-metrics-service"));
        let off = parse(&["--external-metrics=false", "--external-metrics-service=s"]).unwrap().external_metrics;
        assert!(off.service().unwrap_err().contains("--external-metrics=false"));
        let faults = parse(&["--external-metrics-service=s"]).unwrap_err().to_string();
        assert!(faults.starts_with("--external-metrics-cluster-role: "), "{faults}");
    }
}
