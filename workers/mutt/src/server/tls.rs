//! TLS of the HTTP ports. Certificates are read again when their files change: new connections use the new ones, open
//! ones live on.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
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
}

impl Tls {
    /// Reads the files; a fault in them is one of the settings.
    pub(crate) fn load(files: &ServerTls) -> Result<Self, Fatal> {
        let config = server_config(files)?;
        Ok(Self { files: files.clone(), config: Arc::new(ArcSwap::from_pointee(config)) })
    }

    /// [`Tls::load`] where TLS is configured.
    pub(crate) fn load_optional(files: Option<&ServerTls>) -> Result<Option<Self>, Fatal> {
        files.map(Self::load).transpose()
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
                Ok(config) => {
                    self.config.store(Arc::new(config));
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

fn server_config(files: &ServerTls) -> Result<ServerConfig, Fatal> {
    let bad = |name: &str, path: &Path, error: Box<dyn std::error::Error + Send + Sync>| {
        Fatal::failed(format!("{name}: cannot use {}", path.display()), error)
    };
    let chain = certificates(&files.certificate).map_err(|e| bad("SERVER_TLS_CERT_PATH", &files.certificate, e))?;
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
    Ok(config)
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
