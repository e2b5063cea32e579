//! TLS of the HTTP ports. Certificates are read again when their files change: new connections use the new ones, open
//! ones live on.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use prometheus::{IntGauge, Registry};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpStream, time::sleep};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    settings::ServerTls,
    worker::{Fatal, Shutdown},
};

/// Kubelet swaps certificate files by a symbolic link; polling their times sees that and survives lost notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The TLS side of a listener.
#[derive(Clone)]
pub(crate) struct Tls {
    files: ServerTls,
    config: Arc<ArcSwap<ServerConfig>>,
    expiry: IntGauge,
}

impl Tls {
    /// Reads the files; a fault in them is one of the settings. `registry` is told when the certificate ends.
    pub(crate) fn load(files: &ServerTls, registry: &Registry) -> Result<Self, Fatal> {
        let (config, ends_s) = server_config(files)?;
        let help = "Unix time at which the first certificate of this server's chain ends";
        let expiry = IntGauge::new("mutt_tls_certificate_expiry_timestamp_seconds", help)
            .and_then(|gauge| registry.register(Box::new(gauge.clone())).map(|()| gauge))
            .map_err(|error| Fatal::failed("cannot register metrics", error))?;
        expiry.set(ends_s);
        Ok(Self { files: files.clone(), config: Arc::new(ArcSwap::from_pointee(config)), expiry })
    }

    /// [`Tls::load`] where TLS is configured.
    pub(crate) fn load_optional(files: Option<&ServerTls>, registry: &Registry) -> Result<Option<Self>, Fatal> {
        files.map(|files| Self::load(files, registry)).transpose()
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }

    /// Re-reads the files when they change, until the end is asked for. Files that are no good leave the old in use.
    pub(crate) async fn watch(self, shutdown: Shutdown) {
        let mut seen = modified(&self.files);
        loop {
            tokio::select! {
                () = sleep(POLL_INTERVAL) => {}
                () = shutdown.requested() => return,
            }
            let now = modified(&self.files);
            if now == seen {
                continue;
            }
            match server_config(&self.files) {
                Ok((config, ends_s)) => {
                    self.config.store(Arc::new(config));
                    self.expiry.set(ends_s);
                    seen = now;
                    tracing::info!(certificate = %self.files.certificate.display(), "certificate re-read");
                }
                Err(error) => tracing::warn!(%error, "certificate not re-read; the last good one stays in use"),
            }
        }
    }
}

fn modified(files: &ServerTls) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    paths.into_iter().flatten().map(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok()).collect()
}

/// What the port serves with, and the unix time at which its chain ends.
fn server_config(files: &ServerTls) -> Result<(ServerConfig, i64), Fatal> {
    let bad = |name: &str, path: &Path, error: Box<dyn std::error::Error + Send + Sync>| {
        Fatal::failed(format!("{name}: cannot use {}", path.display()), error)
    };
    let chain = certificates(&files.certificate).map_err(|e| bad("SERVER_TLS_CERT_PATH", &files.certificate, e))?;
    let ends_s = chain_ends_s(&chain).map_err(|e| bad("SERVER_TLS_CERT_PATH", &files.certificate, e))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad("SERVER_TLS_KEY_PATH", &files.key, e.into()))?;
    let builder = match &files.client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(path) => {
            let roots = roots(path).map_err(|e| bad("SERVER_TLS_CLIENT_CA_PATH", path, e))?;
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            let verifier = verifier.map_err(|e| bad("SERVER_TLS_CLIENT_CA_PATH", path, e.into()))?;
            ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|e| bad("SERVER_TLS_CERT_PATH", &files.certificate, e.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, ends_s))
}

/// The end of the certificate that ends first: clients then refuse the whole chain.
fn chain_ends_s(chain: &[CertificateDer<'_>]) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
    let mut ends_s = i64::MAX;
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)?;
        ends_s = ends_s.min(parsed.validity().not_after.timestamp());
    }
    Ok(ends_s)
}

/// The certificates of a PEM file; none is a fault.
pub(crate) fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Box<dyn std::error::Error + Send + Sync>> {
    let certificates = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err("no certificate in the file".into()) } else { Ok(certificates) }
}

/// A store of the CAs of a PEM file.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_metric_says_when_the_first_certificate_of_the_chain_ends() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        // One in UTCTime, one in GeneralizedTime (RFC 5280, 4.1.2.5).
        let chain = [2051, 2031].map(|year| {
            let mut certificate = CertificateParams::new(vec!["mutt".to_owned()]).unwrap();
            certificate.not_after = date_time_ymd(year, 1, 2);
            certificate.self_signed(&key).unwrap().pem()
        });
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = ServerTls {
            certificate: file("server.crt", chain.concat()),
            key: file("server.key", key.serialize_pem()),
            client_ca: None,
        };
        let registry = Registry::new();
        Tls::load(&files, &registry).unwrap();
        let text = crate::telemetry::exposition(&registry);
        assert!(text.contains("\nmutt_tls_certificate_expiry_timestamp_seconds 1925078400\n"), "{text}");
    }
}
