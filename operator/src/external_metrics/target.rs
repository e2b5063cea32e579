//! What a request is about, by its path.

/// The API's group.
pub(super) const GROUP: &str = "external.metrics.k8s.io";
/// The version that is served.
pub(super) const VERSION: &str = "v1beta1";

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/healthz`, `/livez`: the server answers.
    Live,
    /// `/readyz`: it can answer questions for metrics.
    Ready,
    /// `/version`.
    Version,
    /// `/apis`: all groups.
    Groups,
    /// `/apis/external.metrics.k8s.io`.
    Group,
    /// `/apis/external.metrics.k8s.io/v1beta1`: its resources, each a metric.
    Resources,
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`: which documents there are.
    OpenApiV3,
    /// `/openapi/v3/apis/external.metrics.k8s.io/v1beta1`.
    OpenApiV3Document,
    /// `/apis/external.metrics.k8s.io/v1beta1/namespaces/<namespace>/<metric>`.
    Metric {
        /// The namespace, in which alone pipelines are looked for.
        namespace: &'a str,
        /// Perhaps a name that nobody has.
        metric: &'a str,
    },
    /// Nothing.
    Nothing,
}

impl<'a> Target<'a> {
    /// Where this path, percent-encoding and all, leads. Namespaces and metrics need no encoding, so an encoded one is
    /// the name of none.
    pub(super) fn of(path: &'a str) -> Self {
        let path = path.strip_prefix('/').unwrap_or_default();
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).splitn(8, '/').collect();
        match parts.as_slice() {
            ["healthz" | "livez"] => Self::Live,
            ["readyz"] => Self::Ready,
            ["version"] => Self::Version,
            ["apis"] => Self::Groups,
            ["apis", GROUP] => Self::Group,
            ["apis", GROUP, VERSION] => Self::Resources,
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3"] => Self::OpenApiV3,
            ["openapi", "v3", "apis", GROUP, VERSION] => Self::OpenApiV3Document,
            ["apis", GROUP, VERSION, "namespaces", namespace, metric]
                if !namespace.is_empty() && !metric.is_empty() =>
            {
                Self::Metric { namespace, metric }
            }
            _ => Self::Nothing,
        }
    }

    /// Probes are answered whoever asks: they come before anybody can be known.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }

    /// The target as messages call it.
    pub(super) fn word(&self, path: &str) -> String {
        match self {
            Self::Metric { metric, .. } => format!("{metric}.{GROUP}"),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_thing() {
        let metric = Target::Metric { namespace: "netops", metric: "mutt_queue_depth" };
        for (path, target) in [
            ("/healthz", Target::Live),
            ("/livez", Target::Live),
            ("/readyz", Target::Ready),
            ("/apis", Target::Groups),
            ("/apis/", Target::Groups),
            ("/apis/external.metrics.k8s.io", Target::Group),
            ("/apis/external.metrics.k8s.io/v1beta1", Target::Resources),
            ("/apis/external.metrics.k8s.io/v1beta1/", Target::Resources),
            ("/openapi/v2", Target::OpenApiV2),
            ("/openapi/v3", Target::OpenApiV3),
            ("/openapi/v3/apis/external.metrics.k8s.io/v1beta1", Target::OpenApiV3Document),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/netops/mutt_queue_depth", metric),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces//mutt_queue_depth", Target::Nothing),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/netops/", Target::Nothing),
            ("/apis/external.metrics.k8s.io/v1beta1/namespaces/netops/mutt_queue_depth/core", Target::Nothing),
            ("/apis/external.metrics.k8s.io/v1/namespaces/netops/mutt_queue_depth", Target::Nothing),
            ("/apis/custom.metrics.k8s.io", Target::Nothing),
            ("//healthz", Target::Nothing),
            ("/healthz/x", Target::Nothing),
            ("/", Target::Nothing),
            ("*", Target::Nothing),
            ("", Target::Nothing),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
            assert_eq!(target.is_public(), ["/healthz", "/livez", "/readyz"].contains(&path), "{path}");
        }
    }
}
